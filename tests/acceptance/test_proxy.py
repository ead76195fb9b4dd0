"""Whether the proxy does to connections what it says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest

from tests.acceptance.proxy import CuttingProxy, Link
from tests.acceptance.waiting import until

RECEIVE_BYTES = 4_096
MUCH = 16 * 1024 * 1024
"""More than any buffer takes."""


@dataclass
class Ends:
    """A connection through the proxy, from both sides."""

    link: Link
    client: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    server: tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def connected() -> AsyncIterator[Ends]:
    accepted: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    server = await asyncio.start_server(lambda *ends: accepted.put_nowait(ends), "127.0.0.1", 0)
    async with CuttingProxy(server.sockets[0].getsockname()[1], receive_bytes=RECEIVE_BYTES).running() as proxy:
        url = httpx.URL(proxy.url)
        client = await asyncio.open_connection(url.host, url.port)
        at_server = await asyncio.wait_for(accepted.get(), 10)
        port = client[1].get_extra_info("sockname")[1]
        await until(lambda: port in proxy.links)
        try:
            yield Ends(proxy.links[port], client, at_server)
        finally:
            for _, writer in (client, at_server):
                writer.transport.abort()
            server.close()


async def test_bytes_go_both_ways_and_so_does_the_end() -> None:
    async with connected() as ends:
        ends.client[1].write(b"ping")
        assert await ends.server[0].readexactly(4) == b"ping"
        ends.server[1].write(b"pong")
        ends.server[1].close()
        assert await ends.client[0].read() == b"pong"


async def test_a_reset_is_a_reset_at_both_ends() -> None:
    async with connected() as ends:
        ends.link.reset()
        for reader, _ in (ends.client, ends.server):
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(), 10)


async def test_half_open_connections_lose_everything_even_their_ends() -> None:
    async with connected() as ends:
        ends.link.lose()
        ends.server[1].write(b"lost")
        await until(lambda: ends.link.lost_bytes == 4)
        ends.server[1].close()
        ends.client[1].write(b"lost too")
        await until(lambda: ends.link.lost_bytes == 12)
        assert not ends.client[0].at_eof()


async def test_a_stalled_reader_is_felt_by_the_server_and_loses_nothing() -> None:
    async with connected() as ends:
        ends.link.stall()
        reader, writer = ends.server
        writer.write(bytes(MUCH))
        await until(lambda: ends.link.held_bytes > 0)
        assert writer.transport.get_write_buffer_size() > 0
        draining = asyncio.ensure_future(writer.drain())
        ends.link.go_on()
        assert len(await asyncio.wait_for(ends.client[0].readexactly(MUCH), 60)) == MUCH
        await draining
        assert not reader.at_eof()
