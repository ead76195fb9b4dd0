"""Operators of several rights, and something to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from rest_framework.test import APIClient

from streamable_http import shells
from streamable_http.models import StreamState
from streamable_http.operations import permissions
from streamable_http.stores.db import DatabaseStore
from tests.stores import writing

ALL = (
    permissions.VIEW_SESSIONS,
    permissions.VIEW_PAYLOADS,
    permissions.REPLAY,
    permissions.RESEND,
    permissions.TERMINATE,
    permissions.PURGE,
)

SECRET = "hunter2-is-a-secret"

Operator = Callable[..., APIClient]


@pytest.fixture
def store(transactional_db: None) -> Iterator[DatabaseStore]:
    """The log, in Django's own database."""
    yield DatabaseStore("default")
    shells.end_behind()


@pytest.fixture
def operator(transactional_db: None) -> Operator:
    """A function that logs somebody of the staff in, with the permissions that are named."""
    names = iter(range(1_000))

    def log_in(*rights: str) -> APIClient:
        user = User.objects.create_user(f"operator-{next(names)}", is_staff=True)
        codenames = [right.partition(".")[2] for right in rights]
        ours = Permission.objects.filter(content_type__app_label="streamable_http")
        user.user_permissions.set(ours.filter(codename__in=codenames))
        assert user.user_permissions.count() == len(rights)
        client = APIClient()
        client.force_login(user)
        return client

    return log_in


@dataclass(frozen=True)
class Recorded:
    """A session with a call that was answered, one that runs, and a call without a session."""

    session_id: int
    answered: int
    running: int
    sessionless: int


@pytest.fixture
def recorded(store: DatabaseStore) -> Recorded:
    session_id = writing.session_of(store, "user:alice", server="bookshop")
    progress = '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}'
    answer = f'{{"jsonrpc":"2.0","id":1,"result":{{"content":[],"password":"{SECRET}"}}}}'
    answered = writing.stream(store, session_id, progress, answer, end=StreamState.ANSWERED, record=request())
    running = writing.stream(
        store, session_id, progress, request_id="2", arguments=f'{{"api_key":"{SECRET}"}}', record=request(2)
    )
    sessionless = writing.stream(store, None, answer, end=StreamState.ANSWERED, method="tools/list", name="")
    return Recorded(session_id, answered, running, sessionless)


def request(request_id: int = 1) -> Any:
    payload = (
        f'{{"jsonrpc":"2.0","id":{request_id},"method":"tools/call","params":{{"name":"tool","arguments":{{}}}}}}'
    )
    return writing.record(method="tools/call", payload=payload)
