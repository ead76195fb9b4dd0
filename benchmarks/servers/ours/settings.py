"""Settings of the measured project; what differs between runs comes from the environment.

``BENCH_DATABASE``: ``sqlite:<path>`` or a PostgreSQL connection string. ``BENCH_MODE``: the server's mode.
``BENCH_AUTHENTICATION``: ``token`` to ask for one. ``BENCH_MAX_SESSIONS``: the limit. ``REDIS_URL``: wake-ups as in
the set-up with Redis.
"""

from __future__ import annotations

import os
from typing import Any

from psycopg import conninfo

from tests import setups


def database(name: str) -> dict[str, Any]:
    """Return Django's settings for a database."""
    if name.startswith("sqlite:"):
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": name.removeprefix("sqlite:"),
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            },
        }
    parts = conninfo.conninfo_to_dict(name)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts["dbname"],
        "USER": parts.get("user", ""),
        "PASSWORD": parts.get("password", ""),
        "HOST": parts.get("host", ""),
        "PORT": str(parts.get("port", "")),
    }


SECRET_KEY = "benchmarks"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "benchmarks.servers.ours.urls"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "rest_framework",
    "rest_framework.authtoken",
    "streamable_http",
    "benchmarks.servers.ours",
]
DATABASES = {"default": database(os.environ["BENCH_DATABASE"])}
STREAMABLE_HTTP: dict[str, Any] = {"MODE": os.environ.get("BENCH_MODE", "sessions"), "DATABASE": "default"}
if "BENCH_MAX_SESSIONS" in os.environ:
    STREAMABLE_HTTP["MAX_SESSIONS"] = int(os.environ["BENCH_MAX_SESSIONS"])
if os.environ.get("REDIS_URL"):
    os.environ.setdefault("DATABASE_PASSWORD", "")
    chosen = setups.REDIS.written()
    CACHES, CHANNEL_LAYERS = chosen["CACHES"], chosen["CHANNEL_LAYERS"]
    STREAMABLE_HTTP |= chosen["STREAMABLE_HTTP"]
if os.environ.get("BENCH_AUTHENTICATION") == "token":
    STREAMABLE_HTTP["AUTHENTICATION_CLASSES"] = ["rest_framework.authentication.TokenAuthentication"]
    STREAMABLE_HTTP["ALLOW_ANONYMOUS"] = False
    # One user opens all sessions of the run.
    STREAMABLE_HTTP["MAX_SESSIONS_PER_PRINCIPAL"] = 10_000
