"""Sessions: open, find, end.

The id on the wire is a 256-bit secret; the store holds its digest, and a public id names the session elsewhere.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import secrets
from collections.abc import Callable
from typing import Any, Final

from streamable_http import conf, exceptions, ids, models, redaction, signals
from streamable_http.delivery import engine
from streamable_http.endpoint import principals
from streamable_http.protocol import jsonrpc
from streamable_http.stores import base

WARM: Final = 10_000
"""Sessions whose facts are kept in the process. They never change; whether one is still open is always asked."""

MAX_SAID_BYTES: Final = 4_096
"""What is kept of a client's ``clientInfo``, and of its capabilities."""


class Sessions:
    """The sessions of one endpoint."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._warm: dict[str, base.SessionFacts] = {}
        self._room = 0
        """Sessions that may be opened before they are counted again."""

        self._opening = 0
        """Sessions that are being opened, so that no count may know them yet."""

        self._counting = asyncio.Lock()

    async def open(
        self,
        core: engine.Engine,
        principal: principals.Principal,
        *,
        revision: str,
        params: dict[str, Any],
        record: Callable[[int], base.NewRecord | None],
    ) -> tuple[str, base.SessionFacts]:
        """Open a session for ``initialize``; its secret id, for the client alone, and its facts.

        ``record`` makes the record of the request from the session's public id.

        Raises:
            StoreUnavailable: the store did not answer.
            InvalidParams: the client says more of itself than is kept.
            TooManyRequests: there are too many sessions, all of them in use.
        """
        secret = secrets.token_urlsafe(32)
        facts = base.SessionFacts(
            id=ids.new(),
            server=self._server,
            principal=principal.key,
            revision=revision,
            client_info=_bounded(params["clientInfo"], "clientInfo"),
            capabilities=_bounded(params["capabilities"], "capabilities"),
        )
        digest = _digest(secret)
        work = functools.partial(core.store.open_session, facts, digest, record(facts.id))
        if principal.key or self._room <= 0:
            # One after the other, for what is counted must not change before it is used.
            async with self._counting:
                await self._make_room(core, principal)
                await self._store(core, work)
        else:
            await self._store(core, work)
        self._keep(digest, facts)
        core.announce(
            signals.session_opened,
            session_id=facts.id,
            server=facts.server,
            principal=facts.principal,
            revision=facts.revision,
            client_info=facts.client_info,
        )
        return secret, facts

    async def find(self, core: engine.Engine, secret: str, principal: principals.Principal) -> base.SessionFacts:
        """Return the facts of a session of this principal. It may have ended meanwhile: see :meth:`require_open`.

        Raises:
            UnknownSession: there is none, or it is somebody else's.
        """
        digest = _digest(secret)
        facts = self._warm.get(digest)
        if facts is None:
            facts = await core.read(core.store.find_session, digest)
            if facts is not None:
                self._keep(digest, facts)
        if facts is None or facts.server != self._server or facts.principal != principal.key:
            raise exceptions.UnknownSession
        core.touch(facts.id)
        return facts

    async def require_open(self, core: engine.Engine, session: base.SessionFacts) -> None:
        """Refuse a session that has ended.

        Raises:
            UnknownSession: it has.
        """
        if not await core.read(core.store.is_open, session.id):
            raise exceptions.UnknownSession

    async def end(self, core: engine.Engine, session: base.SessionFacts) -> None:
        """Terminate a session and its streams.

        Raises:
            UnknownSession: it was over already.
        """
        ended = await core.command(core.store.end_session, session.id, models.SessionState.TERMINATED)
        if not ended:
            raise exceptions.UnknownSession
        for stream_id in ended:
            core.end_stream(stream_id)
        core.note_session_ended(session.id, models.SessionState.TERMINATED)

    async def _store(self, core: engine.Engine, open_session: Callable[[], None]) -> None:
        self._room -= 1
        self._opening += 1
        try:
            await core.command(open_session)
        finally:
            self._opening -= 1

    async def _make_room(self, core: engine.Engine, principal: principals.Principal) -> None:
        settings = conf.settings
        if principal.key:
            open_sessions = await core.read(core.store.count_sessions, principal.key)
            if open_sessions >= settings.MAX_SESSIONS_PER_PRINCIPAL:
                await self._expire_one(core, principal.key)
        if self._room <= 0:
            # Far from the limit it is not counted each time; close to it, it is.
            left = settings.MAX_SESSIONS - await core.read(core.store.count_sessions) - self._opening
            if left <= 0:
                await self._expire_one(core, None)
            self._room = max(1, left // 8)

    async def _expire_one(self, core: engine.Engine, principal: str | None) -> None:
        # What was noted here and is not written yet would look idle.
        await core.flush_noted()
        ended = await core.command(core.store.make_room, principal)
        if not ended:
            raise exceptions.TooManyRequests(
                "too many sessions are in use", retry_after_seconds=int(base.GIVE_WAY_SECONDS)
            )
        core.end_expired(ended)

    def _keep(self, digest: str, facts: base.SessionFacts) -> None:
        if len(self._warm) >= WARM:
            del self._warm[next(iter(self._warm))]
        self._warm[digest] = facts


def _bounded(said: dict[str, Any], member: str) -> dict[str, Any]:
    """Return what a client says of itself: redacted, and without its pictures, which nobody here looks at."""
    kept = {key: value for key, value in said.items() if key != "icons"}
    # Measured before anything looks at its names.
    if len(jsonrpc.dumps(kept)) > MAX_SAID_BYTES:
        raise exceptions.InvalidParams(f'"{member}" is larger than {MAX_SAID_BYTES} bytes')
    redacted: dict[str, Any] = redaction.redact(kept)
    return redacted


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
