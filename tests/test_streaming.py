"""Pieces that come when they are due, and files, under ASGI and WSGI."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.http import HttpRequest
from django.test import AsyncRequestFactory, RequestFactory
from rest_framework.request import Request

from streamable_http import streaming

# Connections are looked at before a pause.
pytestmark = pytest.mark.django_db(transaction=True)


def wsgi() -> HttpRequest:
    return RequestFactory().get("/")


def asgi() -> HttpRequest:
    return AsyncRequestFactory().get("/")


def test_what_is_due_at_once_goes_out_together() -> None:
    pieces = iter([(0.0, b"a"), (0.0, b"b"), (0.01, b"c"), (0.0, b"d")])
    response = streaming.response(wsgi(), pieces, "text/plain")
    assert list(response) == [b"ab", b"cd"]


def test_a_chunk_is_bounded() -> None:
    pieces = ((0.0, b"x" * 1_000) for _ in range(1_000))
    sizes = [len(chunk) for chunk in streaming.response(wsgi(), pieces, "text/plain")]
    assert sum(sizes) == 1_000_000
    assert max(sizes) < streaming.CHUNK_BYTES + 1_000


def test_nothing_is_an_answer_without_a_body() -> None:
    assert b"".join(streaming.response(wsgi(), iter(()), "text/plain")) == b""


def test_what_the_first_piece_raises_is_raised_before_anything_is_sent() -> None:
    def pieces() -> Iterator[streaming.Piece]:
        raise LookupError
        yield

    with pytest.raises(LookupError):
        streaming.response(wsgi(), pieces(), "text/plain")


def test_under_wsgi_a_pause_is_slept() -> None:
    began_at = time.monotonic()
    response = streaming.response(wsgi(), iter([(0.0, b"a"), (0.1, b"b")]), "text/plain")
    assert list(response) == [b"a", b"b"]
    assert time.monotonic() - began_at >= 0.1


def test_no_connection_to_a_database_is_held_during_a_pause() -> None:
    def pieces() -> Iterator[streaming.Piece]:
        for pause in (0.0, 0.01, 0.01):
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
            yield pause, b"x"

    response = streaming.response(wsgi(), pieces(), "text/plain")
    assert [connection.connection is not None for _ in response] == [True, False, False]


def test_an_answer_is_neither_kept_nor_sniffed() -> None:
    response = streaming.response(wsgi(), iter(()), "text/plain")
    assert dict(response.headers) == {
        "Content-Type": "text/plain",
        "Cache-Control": "no-store",
        "X-Accel-Buffering": "no",
        "X-Content-Type-Options": "nosniff",
    }


def test_a_download_is_a_file_of_lines() -> None:
    response = streaming.download_lines(wsgi(), ["{}", "[]\n"], "a.jsonl")
    assert b"".join(response) == b"{}\n[]\n"
    assert response["Content-Type"] == "application/jsonl"
    assert response["Content-Disposition"] == 'attachment; filename="a.jsonl"'


async def test_a_request_of_drf_is_one_under_asgi_too() -> None:
    response = streaming.response(Request(asgi()), iter([(0.0, b"a")]), "text/plain")
    assert [chunk async for chunk in response] == [b"a"]


async def test_under_asgi_a_pause_leaves_the_loop_to_others() -> None:
    response = streaming.response(asgi(), iter([(0.0, b"a"), (0.2, b"b")]), "text/plain")
    chunks, turns = [], 0

    async def read() -> None:
        chunks.extend([chunk async for chunk in response])

    reading = asyncio.create_task(read())
    while not reading.done():
        await asyncio.sleep(0.01)
        turns += 1
    assert chunks == [b"a", b"b"]
    assert turns > 2


async def test_under_asgi_pieces_are_made_outside_of_the_loop_and_closed_when_nobody_reads_on() -> None:
    loops, closed = [], []

    def pieces() -> Iterator[streaming.Piece]:
        try:
            for _ in range(1_000):
                loops.append(asyncio._get_running_loop())
                yield 0.001, b"x"
        finally:
            closed.append(True)

    response = await sync_to_async(streaming.response)(asgi(), pieces(), "text/plain")
    taken = aiter(response)
    assert await anext(taken) == b"x"
    await taken.aclose()
    assert set(loops) == {None}
    assert closed == [True]


async def test_a_download_is_closed_when_its_reader_goes_away() -> None:
    closed = []

    def chunks() -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * streaming.CHUNK_BYTES
        finally:
            closed.append(True)

    response = await sync_to_async(streaming.download)(asgi(), chunks(), "text/plain", "a.txt")
    taken = aiter(response)
    assert await anext(taken) == b"x" * streaming.CHUNK_BYTES
    assert closed == []
    await taken.aclose()
    assert closed == [True]
