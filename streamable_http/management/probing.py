"""A look at the endpoint from outside, through all that stands before it: do events come as they are sent?

A proxy that buffers lets short answers pass, and holds back a stream until it ends or fills a buffer. So the probe
opens the session's listening stream, whose first bytes the server sends at once, and then is silent until the
keep-alive comment: both must come when they are due.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from typing import Final

import httpx

from streamable_http import conf
from streamable_http.management.findings import Finding, failed, ok, warning
from streamable_http.protocol import http
from streamable_http.replay import sending

FIRST_BYTE_SECONDS: Final = 5.0
"""The server sends the first bytes of a stream at once; later than this they were held back."""

LATE_SECONDS: Final = 1.0
"""Beyond what a short answer takes, this is worth a warning."""

MARGIN_SECONDS: Final = 5.0
"""That a keep-alive comment may be late."""

PINGS: Final = 8
"""On connections of their own, so that several workers get some."""

BUFFERED: Final = (
    "nginx: proxy_buffering off; and no gzip for text/event-stream. Apache: ProxyPass … flushpackets=on, and "
    "no mod_deflate for it. Clouds: switch off response buffering, or set "
    f"{conf.SETTING}['MAX_CONNECTION_SECONDS'] = 0, and every answer is a short one."
)

STREAM: Final = "stream"
PROXIES: Final = "proxies"


def probe(url: str, headers: dict[str, str], *, waits_for_keep_alive: bool) -> Iterator[Finding]:
    """Yield what is found at a URL."""
    try:
        with sending.Target(url, headers=headers, timeout_seconds=30) as target:
            begun_at = time.monotonic()
            target.open()
            short_seconds = time.monotonic() - begun_at
            yield ok(
                "endpoint",
                f"{target.shown_url} speaks MCP {target.revision}; opening took {short_seconds * 1_000:.0f} ms",
            )
            if target.session_id is None:
                yield ok(
                    STREAM,
                    "the server keeps no sessions, so there is no stream to listen to",
                    f"With {conf.SETTING}['MODE'] = 'sessions' there is more to see.",
                )
                return
            yield _find_session(target)
            yield from _listen(target, short_seconds, waits_for_keep_alive=waits_for_keep_alive)
    except sending.TargetFailed as error:
        yield failed("endpoint", str(error), "Look whether the URL is the endpoint's, and whether the server runs.")


def _find_session(target: sending.Target) -> Finding:
    """Ask for the session on several connections: each may reach another worker."""
    lost = 0
    for number in range(PINGS):
        # A kept connection would lead to the same worker again.
        target.client.headers["connection"] = "close"
        [*_, answer] = target.call({"jsonrpc": "2.0", "id": f"ping-{number}", "method": "ping"})
        lost += "error" in answer
    del target.client.headers["connection"]
    if lost:
        return failed(
            "session",
            f"{lost} of {PINGS} requests found no session: they reached workers that do not share it",
            "Have all workers use one database, and let the proxy lead to servers of this project alone.",
        )
    return ok("session", f"{PINGS} requests on connections of their own found the session")


def _listen(target: sending.Target, short_seconds: float, *, waits_for_keep_alive: bool) -> Iterator[Finding]:
    # In a thread: the proxy may hold even the headers back, and the connection has to be left without them.
    heard: queue.SimpleQueue[_Heard] = queue.SimpleQueue()
    listening = threading.Thread(target=_read, args=(target, heard), daemon=True)
    begun_at = time.monotonic()
    listening.start()
    headers = _next(heard, FIRST_BYTE_SECONDS)
    if headers is None:
        yield failed(
            STREAM,
            f"no header of the stream came within {FIRST_BYTE_SECONDS:g} s: something between holds it back",
            BUFFERED,
        )
        return
    if isinstance(headers, str):
        yield failed(STREAM, headers, "See what stands between, and its log.")
        return
    assert isinstance(headers, httpx.Headers)
    yield from _examine_headers(headers)
    first = _next(heard, max(0.0, FIRST_BYTE_SECONDS - (time.monotonic() - begun_at)))
    took_seconds = time.monotonic() - begun_at
    if not isinstance(first, bytes):
        what = first if isinstance(first, str) else f"no byte of the stream came within {FIRST_BYTE_SECONDS:g} s"
        yield failed(STREAM, f"{what}: something between holds it back", BUFFERED)
        return
    if took_seconds > short_seconds + LATE_SECONDS:
        yield warning(STREAM, f"the first byte came after {took_seconds:.1f} s, and should come at once", BUFFERED)
    else:
        yield ok(STREAM, f"the first byte came after {took_seconds * 1_000:.0f} ms")
    if waits_for_keep_alive:
        yield _keep_alive(heard)


def _examine_headers(headers: httpx.Headers) -> Iterator[Finding]:
    encoding = headers.get(http.CONTENT_ENCODING, "identity")
    if encoding != "identity":
        yield warning(
            PROXIES,
            f"the stream is compressed on its way ({encoding[:32]}): a compressor holds bytes back",
            "Do not compress text/event-stream: in nginx, leave it out of gzip_types.",
        )
    buffering = headers.get("x-accel-buffering")
    via = headers.get("via")
    passed = f"; it came through {via[:128]}" if via else ""
    if buffering is None:
        yield ok(PROXIES, f"X-Accel-Buffering was taken on the way, as nginx does{passed}")
    else:
        yield ok(PROXIES, f"X-Accel-Buffering: {buffering[:32]} arrived, so no nginx stands right here{passed}")


def _keep_alive(heard: queue.SimpleQueue[_Heard]) -> Finding:
    due_seconds = conf.settings.KEEP_ALIVE_SECONDS
    begun_at = time.monotonic()
    comment = _next(heard, due_seconds + MARGIN_SECONDS)
    took_seconds = time.monotonic() - begun_at
    if isinstance(comment, bytes):
        return ok("keep-alive", f"the stream stayed open in silence, and a comment came after {took_seconds:.1f} s")
    if isinstance(comment, str):
        return failed(
            "keep-alive",
            f"the stream was cut after {took_seconds:.1f} s of silence: {comment}",
            f"Something between has a shorter time-out. Raise it (nginx: proxy_read_timeout), or lower "
            f"{conf.SETTING}['KEEP_ALIVE_SECONDS'], which is {due_seconds:g}.",
        )
    return failed(
        "keep-alive", f"no comment came within {due_seconds + MARGIN_SECONDS:g} s: something holds it back", BUFFERED
    )


_Heard = httpx.Headers | bytes | str
"""Headers, then chunks, in the end a sentence that says why there is no more."""


def _read(target: sending.Target, heard: queue.SimpleQueue[_Heard]) -> None:
    """Read the listening stream until it ends, or the session does."""
    try:
        with target.connected("GET") as response:
            heard.put(response.headers)
            for chunk in response.iter_raw():
                heard.put(chunk)
        heard.put("the connection was closed")
    except (sending.TargetFailed, RuntimeError) as error:
        # A client that is closed meanwhile raises RuntimeError.
        heard.put(str(error))


def _next(heard: queue.SimpleQueue[_Heard], timeout_seconds: float) -> _Heard | None:
    try:
        return heard.get(timeout=timeout_seconds)
    except queue.Empty:
        return None
