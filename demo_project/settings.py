"""Settings of the demo project; everything has a default that runs on a fresh machine.

Environment: ``DATABASE_URL``, ``LOG_DATABASE_URL``, ``REDIS_URL``, ``DEMO_DATA_DIR``, ``SECRET_KEY``,
``ALLOWED_HOSTS`` (separated by commas), ``DEBUG`` (``1`` is on).
"""

import os
from pathlib import Path
from typing import Any

import dj_database_url

from demo_project import secret_key

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(os.environ.get("DEMO_DATA_DIR") or BASE_DIR / "demo_data").absolute()
DATA_DIR.mkdir(parents=True, exist_ok=True)

DEBUG = os.environ.get("DEBUG") == "1"
SECRET_KEY = os.environ.get("SECRET_KEY") or secret_key.read_or_make(DATA_DIR / "secret_key")
ALLOWED_HOSTS = (os.environ.get("ALLOWED_HOSTS") or "localhost,127.0.0.1,[::1]").split(",")

# With "daphne" in front, runserver would serve /mcp, too; it costs every other server a second and 30 MiB a process.
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "rest_framework.authtoken",
    "channels",
    "streamable_http",
    "demo_project.bookshop",
    "demo_project.conformance",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "demo_project.urls"
ASGI_APPLICATION = "demo_project.asgi.application"
WSGI_APPLICATION = "demo_project.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# Databases

SQLITE_OPTIONS: dict[str, Any] = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
}


def _database(url: str) -> dict[str, Any]:
    config: dict[str, Any] = {**dj_database_url.parse(url)}
    if config["ENGINE"] == "django.db.backends.sqlite3":
        config["OPTIONS"] = SQLITE_OPTIONS
    return config


DATABASE_URL = os.environ.get("DATABASE_URL")
LOG_DATABASE_URL = os.environ.get("LOG_DATABASE_URL")

DATABASES = {"default": _database(DATABASE_URL or f"sqlite:///{DATA_DIR}/shop.sqlite3")}
if LOG_DATABASE_URL or not DATABASE_URL:
    DATABASES["log"] = _database(LOG_DATABASE_URL or f"sqlite:///{DATA_DIR}/log.sqlite3")

DATABASE_ROUTERS = ["streamable_http.stores.routers.LogRouter"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# MCP

STREAMABLE_HTTP: dict[str, Any] = {
    "DATABASE": "log" if "log" in DATABASES else "default",
    # Everybody may look around; a token of the staff opens what only they may do.
    "ALLOW_ANONYMOUS": True,
    "AUTHENTICATION_CLASSES": ["rest_framework.authentication.TokenAuthentication"],
}

# The REST API: a browser that has logged in to the admin, or a token

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework.authentication.SessionAuthentication",
        "rest_framework.authentication.TokenAuthentication",
    ],
}

# Redis: workers wake each other at once, instead of at the next poll

if REDIS_URL := os.environ.get("REDIS_URL"):
    CACHES = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": REDIS_URL,
            "OPTIONS": {
                "IGNORE_EXCEPTIONS": True,
                "SOCKET_CONNECT_TIMEOUT": 1,
                "SOCKET_TIMEOUT": 1,
                "CONNECTION_POOL_KWARGS": {"max_connections": 32},
            },
        },
    }
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [REDIS_URL]},
        },
    }
    STREAMABLE_HTTP["WAKEUPS"] = {"BACKEND": "streamable_http.delivery.wakeups.channel_layer.ChannelLayerWakeups"}

# The usual rest

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"
