"""What a call needs that runs again after its worker's death: its request, its caller with the rights of now."""

from __future__ import annotations

import math
from typing import Final

from streamable_http import redaction
from streamable_http.delivery import appender, engine, poller
from streamable_http.endpoint import calls, principals
from streamable_http.models import StreamState
from streamable_http.protocol import http, jsonrpc, revisions, server
from streamable_http.stores import base

_PROGRESS: Final = '"notifications/progress"'

_ANY_DEPTH: Final = 1_000
"""For what we stored ourselves."""


async def recall(
    core: engine.Engine, orphan: base.Orphan, authenticator: principals.Authenticator, policy: server.Policy
) -> calls.Call | None:
    """Make a call again; ``None`` where its caller is gone, or may not call any more.

    Raises:
        ProtocolError: the request would not be admitted any more.
        StoreUnavailable: the store does not answer.
    """
    session = orphan.session
    request = _request(orphan)
    principal = await authenticator.recall(session.principal, request)
    if principal is None:
        return None
    return calls.Call(
        core,
        request,
        server.readmit(request, policy, revision=session.revision),
        principal,
        revisions.FACTS[session.revision, policy.mode],
        session,
        is_rerun=True,
        progress=await _highest_progress(core, orphan),
    )


def lose(core: engine.Engine, orphan: base.Orphan) -> None:
    """End a call that cannot run again, with the same error as any other whose worker was lost."""
    closing = poller.worker_lost(jsonrpc.loads(orphan.request_id.encode(), max_depth=1))
    stream = appender.Appender.of_orphan(core.log, orphan, on_failure=appender.do_nothing)
    stream.end(closing.encode(), StreamState.LOST)
    core.note_lost(orphan.stream_id)


def _request(orphan: base.Orphan) -> http.Request:
    """Return the request as far as it was kept: the message whole, of the headers those that are no secrets."""
    facts = jsonrpc.loads(orphan.facts.encode(), max_depth=_ANY_DEPTH) if orphan.facts else {}
    headers = [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in facts.get("headers", {}).items()
        if redaction.MASK not in value
    ]
    kept = (orphan.request_id.encode(), jsonrpc.dumps(orphan.method), orphan.arguments.encode())
    return http.Request(
        method="POST",
        path=facts.get("path", "/"),
        scheme="http",
        headers=http.Headers(headers),
        body=b'{"jsonrpc":"2.0","id":%b,"method":%b,"params":%b}' % kept,
        client=facts.get("client", ""),
    )


async def _highest_progress(core: engine.Engine, orphan: base.Orphan) -> float:
    """Return the highest progress that the client was, or will be, told of by what is committed already."""
    highest = -math.inf
    after = orphan.earliest - 1
    while after < orphan.head:
        page = await core.read(core.store.read, orphan.stream_id, after, base.PAGE_EVENTS)
        if page is None or not page.events:
            break
        after = page.events[-1].sequence
        highest = max(highest, *map(_progress, page.events))
    return highest


def _progress(event: base.Event) -> float:
    if _PROGRESS not in event.payload:
        return -math.inf
    message = jsonrpc.loads(event.payload.encode(), max_depth=_ANY_DEPTH)
    if message.get("method") != "notifications/progress":
        return -math.inf
    progress: float = message["params"]["progress"]
    return progress
