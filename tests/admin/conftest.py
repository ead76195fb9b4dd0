"""The admin in front of a log in a database of its own, SQLite and PostgreSQL, and people with permissions."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from streamable_http import shells
from streamable_http.operations import permissions
from streamable_http.stores.db import DatabaseStore

Person = Callable[..., Client]
"""Makes somebody of the staff who has these permissions and no others, and logs in."""


@pytest.fixture
def store(db: None, log_alias: str) -> Iterator[DatabaseStore]:
    """The log; users are in the default database, in a transaction that is rolled back."""
    yield DatabaseStore(log_alias)
    shells.end_behind()


@pytest.fixture
def person(db: None) -> Person:
    numbers = itertools.count()

    def make(*allowed: str, enforce_csrf_checks: bool = False) -> Client:
        user = User.objects.create_user(f"person-{next(numbers)}", is_staff=True)
        for permission in allowed:
            app_label, _, codename = permission.partition(".")
            user.user_permissions.add(Permission.objects.get(content_type__app_label=app_label, codename=codename))
        client = Client(enforce_csrf_checks=enforce_csrf_checks)
        client.force_login(user)
        return client

    return make


@pytest.fixture
def viewer(person: Person) -> Client:
    """Somebody who may see sessions, and nothing of what was said."""
    return person(permissions.VIEW_SESSIONS)
