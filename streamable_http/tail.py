"""The live tail of a session: a WebSocket on which the admin's page hears what is new.

For staff who may view sessions, and from the admin's own pages only. What is new is read from the log, as everybody
reads it. The page asks for each batch by acknowledging the one before: so nothing piles up for a page that does not
keep up.

Close codes: 4400 for a time that is none, 4403 for whoever may not see it, or not any longer, 4404 for a session
that does not exist, 4408 for a page that acknowledged nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest
from django.utils import timezone, translation

from streamable_http import models, replay
from streamable_http.operations import permissions
from streamable_http.protocol import cursors, jsonrpc
from streamable_http.tables import rows_of

logger = logging.getLogger(__name__)

READ_SECONDS: Final = 0.5
"""Between two looks at the log."""

CHECK_SECONDS: Final = 30.0
"""How long somebody hears on who was logged out, or lost the permission."""

ACKNOWLEDGE_SECONDS: Final = 30.0
"""How long a page may take for a batch."""

BAD_TIME: Final = 4400
FORBIDDEN: Final = 4403
UNKNOWN: Final = 4404
TOO_SLOW: Final = 4408
FAILED: Final = 1011


class SessionTail(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels has no types
    """Serves ``ws/streamable_http/sessions/<short id>/?since=…&language=…``."""

    _task: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Accept whoever may see the session."""
        self._acknowledged = asyncio.Event()
        code = await self._refusal()
        if code is not None:
            await self.close(code)
            return
        await self.accept()
        self._task = asyncio.create_task(self._run())

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Take whatever comes as the acknowledgment of the last batch."""
        self._acknowledged.set()

    async def disconnect(self, code: int) -> None:
        """End the reading."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _refusal(self) -> int | None:
        """Return the code to close with; ``None`` for whoever is welcome."""
        query = parse_qs(self.scope["query_string"].decode("latin-1"))
        self._language = _language(query.get("language", [""])[0])
        if not is_own_origin(self.scope["headers"]):
            return FORBIDDEN
        self._rights = await _in_thread(_rights, self._login())
        if self._rights is None:
            return FORBIDDEN
        written = query.get("since", [""])[0]
        since = replay.parse_moment(written) if written else timezone.now()
        if since is None:
            return BAD_TIME
        self._session_id = int(self.scope["url_route"]["kwargs"]["session"], 16)
        self._recent = replay.Recent(self._session_id, since)
        return None if await _in_thread(_exists, self._session_id) else UNKNOWN

    def _login(self) -> str | None:
        """Return the key of Django's session, whose user is looked up anew each time."""
        session = self.scope.get("session")
        return None if session is None else session.session_key

    async def _run(self) -> None:
        try:
            code = await self._tail()
        except Exception:
            # Whatever it was: a connection that stays open and says nothing would look like a session without news.
            logger.exception("the live tail of session %x failed", self._session_id)
            code = FAILED
        await self.close(code)

    async def _tail(self) -> int:
        """Send what is new until somebody may not hear it any more; returns the close code."""
        checked_at = time.monotonic()
        while True:
            if time.monotonic() - checked_at >= CHECK_SECONDS:
                self._rights = await _in_thread(_rights, self._login())
                checked_at = time.monotonic()
            if self._rights is None:
                return FORBIDDEN
            batch = await _in_thread(self._read)
            if batch is not None:
                self._acknowledged.clear()
                await self.send(text_data=batch)
                try:
                    await asyncio.wait_for(self._acknowledged.wait(), ACKNOWLEDGE_SECONDS)
                except TimeoutError:
                    return TOO_SLOW
            await asyncio.sleep(READ_SECONDS)

    def _read(self) -> str | None:
        """Return what is new; ``None`` without news."""
        news = self._recent.look(with_payloads=self._rights == _WITH_PAYLOADS)
        if not news.entries:
            return None
        with translation.override(self._language):
            return jsonrpc.dumps(_rendering()(news)).decode()


def is_own_origin(headers: list[tuple[bytes, bytes]]) -> bool:
    """Tell whether a page of this very site asks, or one of ``CSRF_TRUSTED_ORIGINS``.

    Browsers send cookies with a WebSocket of any site, and say whose it is.
    """
    given = dict(headers)
    origin = given.get(b"origin", b"").decode("latin-1").lower()
    host = given.get(b"host", b"").decode("latin-1").lower()
    parts = urlsplit(origin)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        return False
    return parts.netloc == host or origin in (trusted.lower() for trusted in settings.CSRF_TRUSTED_ORIGINS)


_WITHOUT_PAYLOADS: Final = "sessions"
_WITH_PAYLOADS: Final = "payloads"


def _rights(login: str | None) -> str | None:
    """Return what whoever is logged in may see now; ``None`` for nothing."""
    if login is None:
        return None
    request = HttpRequest()
    # Read anew: the connection's own copy would never notice a logout.
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(login)
    user = get_user(request)
    if not (user.is_active and user.is_staff and user.has_perm(permissions.VIEW_SESSIONS)):
        return None
    return _WITH_PAYLOADS if user.has_perm(permissions.VIEW_PAYLOADS) else _WITHOUT_PAYLOADS


def _exists(session_id: int) -> bool:
    sessions = rows_of(models.Session)
    return session_id <= cursors.MAX and sessions.filter(pk=session_id).exists()


async def _in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    # Not in the one thread that all such code of a process would share.
    return await database_sync_to_async(function, thread_sensitive=False)(*arguments)


def _rendering() -> Callable[..., dict[str, Any]]:
    """Return what renders the rows of the page: the admin's, which a project need not have."""
    news: Callable[..., dict[str, Any]] = import_module("streamable_http.admin.markup").news
    return news


def _language(written: str) -> str:
    """Return a language that the project has."""
    try:
        return translation.get_supported_language_variant(written)
    except LookupError:
        return settings.LANGUAGE_CODE
