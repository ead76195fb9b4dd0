"""Settings of the test project; the environment says which database, and overrides settings of ours as JSON.

``SETUP`` names one of the supported set-ups, whose settings then count.
"""

import json
import os

import dj_database_url

from tests import setups

SECRET_KEY = "only for tests"
DEBUG = False
USE_TZ = True
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "rest_framework",
    "rest_framework.authtoken",  # used only where AUTHENTICATION_CLASSES says so
    "streamable_http",
    "tests.site",
]
# Used only where THROTTLE_CLASSES says so.
REST_FRAMEWORK = {"DEFAULT_THROTTLE_RATES": {"anon": "1000000/min", "user": "1000000/min"}}
ROOT_URLCONF = "tests.site.urls"

SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": float(os.environ.get("SQLITE_BUSY_SECONDS", "20")),
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
}
DATABASES = {"default": dj_database_url.parse(os.environ["DATABASE_URL"])}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["OPTIONS"] = SQLITE_OPTIONS

STREAMABLE_HTTP = {}
if SETUP := os.environ.get("SETUP"):
    globals().update(setups.SETUPS[SETUP].settings())
DATABASES["default"].setdefault("OPTIONS", {}).update(json.loads(os.environ.get("DATABASE_OPTIONS", "{}")))
STREAMABLE_HTTP |= json.loads(os.environ.get("STREAMABLE_HTTP", "{}"))
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,  # uvicorn's
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}
