"""Answers in pieces: what comes when it is due, and files of any length; under ASGI and WSGI.

Pieces may block, for they are made outside of the event loop; and they are closed when the reader has gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterable, Iterator
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.db import close_old_connections
from django.http import HttpRequest, StreamingHttpResponse

CHUNK_BYTES: Final = 65_536

JSON_LINES: Final = "application/jsonl"
"""Media type of a JSON object a line."""

Piece = tuple[float, bytes]
"""A pause in seconds, and what is to be sent after it."""


def response(
    request: HttpRequest, pieces: Iterator[Piece], media_type: str, *, filename: str = ""
) -> StreamingHttpResponse:
    """Return an answer that is sent as its pieces become due.

    The first of them is made at once, so that what it raises can still be answered. ``filename`` is plain ASCII.
    """
    chunks = _joined(pieces)
    first = next(chunks, (0.0, b""))
    following = _resumed(first, chunks)
    headers = {
        "Content-Type": media_type,
        "Cache-Control": "no-store",
        "X-Accel-Buffering": "no",
        # Whatever came from a client is in it.
        "X-Content-Type-Options": "nosniff",
    }
    if filename:
        headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    if hasattr(request, "scope"):
        # ASGI.
        return ClosingResponse(_awaiting(following), headers=headers)
    return StreamingHttpResponse(_sleeping(following), headers=headers)


def download(request: HttpRequest, chunks: Iterable[bytes], media_type: str, filename: str) -> StreamingHttpResponse:
    """Return a file that is sent while it is made."""
    return response(request, ((0.0, chunk) for chunk in chunks), media_type, filename=filename)


def download_lines(request: HttpRequest, lines: Iterable[str], filename: str) -> StreamingHttpResponse:
    """Return a file of JSON lines, with or without their ends."""
    chunks = (line.rstrip("\n").encode() + b"\n" for line in lines)
    return download(request, chunks, JSON_LINES, filename)


class ClosingResponse(StreamingHttpResponse):
    """Closes its chunks when Django has done with it, and not when they are collected as garbage."""

    def __init__(self, chunks: AsyncGenerator[bytes, None], **options: Any) -> None:
        super().__init__(chunks, **options)
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async with contextlib.aclosing(self._chunks):
            async for chunk in super().__aiter__():
                yield chunk


def _joined(pieces: Iterator[Piece]) -> Generator[Piece, None, None]:
    """Yield what is due at the same time together, for each turn of the loop costs a change of threads."""
    pause, size = 0.0, 0
    waiting: list[bytes] = []
    for next_pause, data in pieces:
        if waiting and (next_pause > 0 or size >= CHUNK_BYTES):
            yield pause, b"".join(waiting)
            pause, waiting, size = 0.0, [], 0
        pause += next_pause
        waiting.append(data)
        size += len(data)
    if waiting:
        yield pause, b"".join(waiting)


def _resumed(first: Piece, rest: Generator[Piece, None, None]) -> Generator[Piece, None, None]:
    with contextlib.closing(rest):
        yield first
        yield from rest


def _take(chunks: Generator[Piece, None, None]) -> Piece | None:
    """Return the next piece, or ``None`` behind the last; while it is waited for, nobody needs a connection."""
    piece = next(chunks, None)
    if piece is not None and piece[0] > 0:
        close_old_connections()
    return piece


def _sleeping(chunks: Generator[Piece, None, None]) -> Generator[bytes, None, None]:
    with contextlib.closing(chunks):
        while (piece := _take(chunks)) is not None:
            pause, data = piece
            if pause > 0:
                time.sleep(pause)
            yield data


async def _awaiting(chunks: Generator[Piece, None, None]) -> AsyncGenerator[bytes, None]:
    # In the request's own thread, which has the database connections that Django closes after it.
    take = sync_to_async(_take)
    close = sync_to_async(chunks.close)
    try:
        while (piece := await take(chunks)) is not None:
            pause, data = piece
            if pause > 0:
                await asyncio.sleep(pause)
            yield data
    finally:
        await close()
