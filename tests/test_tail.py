"""The live tail, by Channels' own communicator: who may hear it, what it says, and when it ends."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

import pytest
from asgiref.testing import ApplicationCommunicator
from channels.auth import AuthMiddlewareStack
from channels.db import database_sync_to_async
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from streamable_http import tail
from streamable_http.operations import permissions
from streamable_http.routing import websocket_urlpatterns
from streamable_http.stores.db import DatabaseStore
from tests.admin import recorded
from tests.admin.recorded import SECRET, Recorded
from tests.stores import writing

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE_SECONDS = 30.0

application = AuthMiddlewareStack(URLRouter(websocket_urlpatterns))


@pytest.fixture
def session() -> Recorded:
    return recorded.session(DatabaseStore("default"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often, so that nobody waits."""
    monkeypatch.setattr(tail, "READ_SECONDS", 0.01)


@pytest.fixture(autouse=True)
def _is_quick(quick: None) -> None:
    pass


class Communicator(WebsocketCommunicator):
    """Lets database connections be closed, as servers do; Channels' own keeps them for tests in a transaction."""

    send_input = ApplicationCommunicator.send_input
    receive_output = ApplicationCommunicator.receive_output


class Tail:
    """A page that follows a session."""

    def __init__(self, login: Client | None, session: str, *, origin: str = "http://testserver", **query: str) -> None:
        cookies = "" if login is None else f"sessionid={login.cookies['sessionid'].value}"
        headers = [(b"host", b"testserver"), (b"cookie", cookies.encode())]
        if origin:
            headers.append((b"origin", origin.encode()))
        path = f"/ws/streamable_http/sessions/{session}/?{urlencode(query)}"
        self._connection = Communicator(application, path, headers)

    async def open(self) -> int | None:
        """Connect; the code that it was closed with, or ``None``."""
        is_open, code = await self._connection.connect(timeout=PATIENCE_SECONDS)
        return None if is_open else code

    async def hear(self) -> dict[str, Any]:
        news: dict[str, Any] = await self._connection.receive_json_from(timeout=PATIENCE_SECONDS)
        return news

    async def acknowledge(self) -> None:
        await self._connection.send_to(text_data="{}")

    async def closing(self) -> int:
        """Wait until it is closed; the code."""
        while (message := await self._connection.receive_output(timeout=PATIENCE_SECONDS))[
            "type"
        ] != "websocket.close":
            pass
        code: int = message["code"]
        return code

    async def leave(self) -> None:
        await self._connection.disconnect(timeout=PATIENCE_SECONDS)


def login(*granted: str, is_staff: bool = True) -> tuple[Client, User]:
    client, user = Client(), recorded.person(*granted, is_staff=is_staff)
    client.force_login(user)
    return client, user


@pytest.fixture
def sees_all() -> tuple[Client, User]:
    return login(permissions.VIEW_SESSIONS, permissions.VIEW_PAYLOADS)


def keys(news: dict[str, Any]) -> list[str]:
    return [entry["key"] for entry in news["entries"]]


async def test_it_tells_what_is_new_once(sees_all: tuple[Client, User], session: Recorded) -> None:
    page = Tail(sees_all[0], f"{session.session_id:x}", since=timezone.now().isoformat())
    assert await page.open() is None
    first = await page.hear()
    assert f"{session.call_id:x}.3" in keys(first)
    await page.acknowledge()
    added = await database_sync_to_async(writing.stream)(
        session.store, session.session_id, recorded.message(id=5, result={}), request_id="5"
    )
    assert keys(await page.hear()) == [f"{added:x}.1"]
    await page.leave()


async def test_it_sends_rows_with_messages_redacted_and_escaped(
    sees_all: tuple[Client, User], session: Recorded
) -> None:
    page = Tail(sees_all[0], f"{session.session_id:x}")
    assert await page.open() is None
    html = "".join(entry["html"] for entry in (await page.hear())["entries"])
    assert "Sure?" in html
    assert "&lt;script&gt;" in html
    assert "<script" not in html
    assert SECRET not in html
    await page.leave()


async def test_whoever_may_not_see_messages_hears_who_spoke(session: Recorded) -> None:
    client, _ = await database_sync_to_async(login)(permissions.VIEW_SESSIONS)
    page = Tail(client, f"{session.session_id:x}")
    assert await page.open() is None
    html = "".join(entry["html"] for entry in (await page.hear())["entries"])
    assert "tools/call" in html
    assert "Sure?" not in html
    await page.leave()


async def test_the_next_batch_waits_for_the_page(sees_all: tuple[Client, User], session: Recorded) -> None:
    page = Tail(sees_all[0], f"{session.session_id:x}")
    assert await page.open() is None
    await page.hear()
    await database_sync_to_async(writing.stream)(session.store, session.session_id, "{}", request_id="5")
    await database_sync_to_async(writing.stream)(session.store, session.session_id, "{}", request_id="6")
    assert await page._connection.receive_nothing(timeout=0.5)
    await page.acknowledge()
    assert len(keys(await page.hear())) == 2
    await page.leave()


async def test_a_page_that_does_not_keep_up_is_closed(
    sees_all: tuple[Client, User], session: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "ACKNOWLEDGE_SECONDS", 0.05)
    page = Tail(sees_all[0], f"{session.session_id:x}")
    assert await page.open() is None
    assert await page.closing() == tail.TOO_SLOW


@pytest.mark.parametrize(
    "origin", ["", "http://evil.example", "null", "http://testserver.evil.example", "file://testserver"]
)
async def test_pages_of_other_sites_are_refused(sees_all: tuple[Client, User], session: Recorded, origin: str) -> None:
    assert await Tail(sees_all[0], f"{session.session_id:x}", origin=origin).open() == tail.FORBIDDEN


async def test_a_trusted_origin_is_welcome(
    sees_all: tuple[Client, User], session: Recorded, settings: Settings
) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://ops.example"]
    page = Tail(sees_all[0], f"{session.session_id:x}", origin="https://ops.example")
    assert await page.open() is None
    await page.leave()


@pytest.mark.parametrize("granted", [(), (permissions.VIEW_PAYLOADS, permissions.REPLAY)])
async def test_whoever_may_not_view_sessions_is_refused(session: Recorded, granted: tuple[str, ...]) -> None:
    client, _ = await database_sync_to_async(login)(*granted)
    assert await Tail(client, f"{session.session_id:x}").open() == tail.FORBIDDEN


async def test_whoever_is_no_staff_or_not_logged_in_is_refused(session: Recorded) -> None:
    client, _ = await database_sync_to_async(login)(permissions.VIEW_SESSIONS, is_staff=False)
    assert await Tail(client, f"{session.session_id:x}").open() == tail.FORBIDDEN
    assert await Tail(None, f"{session.session_id:x}").open() == tail.FORBIDDEN


@pytest.mark.parametrize("session_id", ["1", "f" * 16])
async def test_a_session_that_is_none_is_not_found(sees_all: tuple[Client, User], session_id: str) -> None:
    assert await Tail(sees_all[0], session_id).open() == tail.UNKNOWN


async def test_since_no_time_is_refused(sees_all: tuple[Client, User], session: Recorded) -> None:
    assert await Tail(sees_all[0], f"{session.session_id:x}", since="2026").open() == tail.BAD_TIME


async def test_it_ends_when_the_permission_is_taken_away(
    sees_all: tuple[Client, User], session: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "CHECK_SECONDS", 0.0)
    client, user = sees_all
    page = Tail(client, f"{session.session_id:x}")
    assert await page.open() is None
    await page.hear()
    await database_sync_to_async(user.user_permissions.clear)()
    await page.acknowledge()
    assert await page.closing() == tail.FORBIDDEN


async def test_it_ends_after_the_logout(
    sees_all: tuple[Client, User], session: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "CHECK_SECONDS", 0.0)
    client, _ = sees_all
    page = Tail(client, f"{session.session_id:x}")
    assert await page.open() is None
    await page.hear()
    # A copy: the communicator's cookie stays, as a browser's connection does.
    await database_sync_to_async(client.logout)()
    await page.acknowledge()
    assert await page.closing() == tail.FORBIDDEN


@pytest.mark.parametrize(("language", "unit"), [("de", "Bytes"), ("en", "bytes"), ("../etc", "bytes")])
async def test_it_speaks_the_language_of_the_page(
    sees_all: tuple[Client, User], session: Recorded, language: str, unit: str
) -> None:
    page = Tail(sees_all[0], f"{session.session_id:x}", language=language)
    assert await page.open() is None
    html = "".join(entry["html"] for entry in (await page.hear())["entries"])
    assert set(re.findall(r"\d\s(bytes)\b", html, re.IGNORECASE)) == {unit}
    await page.leave()
