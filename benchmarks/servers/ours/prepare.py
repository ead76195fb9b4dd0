"""Make the tables and one user with a token: ``python -m benchmarks.servers.ours.prepare <token>``."""

from __future__ import annotations

import os
import sys

import django
from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.management import call_command


def prepare(token: str) -> None:
    """Fill an empty database."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.servers.ours.settings")
    django.setup()
    call_command("migrate", verbosity=0)
    user = get_user_model().objects.create(username="bench")
    apps.get_model("authtoken", "Token").objects.create(key=token, user=user)


if __name__ == "__main__":
    prepare(sys.argv[1])
