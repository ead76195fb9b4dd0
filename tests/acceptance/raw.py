"""A client that sends any bytes: what no HTTP library would let out, and what it reads of the answers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import httpx
import psutil

from tests.acceptance.conftest import SHELLS, RunningSite
from tests.acceptance.waiting import until
from tests.acceptance.wire import Wire

READ_SECONDS = 10

FAULTS = ("a request failed", "the call tools/call failed", "Traceback", "Exception in ASGI application")
"""What a server logs about faults of its own."""


@dataclass(frozen=True)
class Answer:
    """One HTTP response."""

    status: int
    headers: Mapping[str, str]
    """With names in lower case."""

    body: bytes


class RawConnection:
    """One TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Send bytes; a server that has closed already is no error, for its answer is still to be read."""
        with contextlib.suppress(ConnectionError):
            self._writer.write(data)
            await self._writer.drain()

    def end(self) -> None:
        """Send no more: half of the connection is closed."""
        self._writer.write_eof()

    def reset(self) -> None:
        """Break the connection off."""
        self._writer.transport.abort()

    async def read(self, size: int = 65_536) -> bytes:
        """Read what there is; nothing once it is closed."""
        try:
            return await asyncio.wait_for(self._reader.read(size), READ_SECONDS)
        except ConnectionError:
            return b""

    async def answer(self) -> Answer | None:
        """Read one response; ``None`` if the server closed instead."""
        async with asyncio.timeout(READ_SECONDS):
            try:
                return await self._answer()
            except (asyncio.IncompleteReadError, ConnectionError):
                return None

    async def answers(self) -> list[Answer]:
        """Read responses until the server closes, or says nothing more for a second."""
        found = []
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(1):
                    one = await self.answer()
                if one is None:
                    break
                found.append(one)
        return found

    async def _answer(self) -> Answer:
        status_line, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(status_line.split()[1])
        if headers.get("transfer-encoding") == "chunked":
            body = await self._chunked()
        elif "content-length" in headers:
            body = await self._reader.readexactly(int(headers["content-length"]))
        else:
            body = b"" if status in (100, 204) else await self._reader.read()
        return Answer(status, headers, body)

    async def _chunked(self) -> bytes:
        body = b""
        while size := int(await self._reader.readline(), 16):
            body += await self._reader.readexactly(size)
            await self._reader.readline()
        await self._reader.readline()
        return body


@contextlib.asynccontextmanager
async def connected(url: str, *, receive_bytes: int | None = None) -> AsyncIterator[RawConnection]:
    """Connect to the server of a URL. ``receive_bytes`` makes the buffer of what was not read small."""
    parts = httpx.URL(url)
    plain = socket.socket()
    if receive_bytes is not None:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    plain.setblocking(False)
    await asyncio.get_running_loop().sock_connect(plain, (parts.host, parts.port))
    reader, writer = await asyncio.open_connection(sock=plain)
    try:
        yield RawConnection(reader, writer)
    finally:
        writer.transport.abort()


def request(
    wire: Wire,
    body: bytes = b"",
    *lines: bytes,
    method: str = "POST",
    target: str | None = None,
    without: Sequence[str] = (),
    length: bool = True,
) -> bytes:
    """Return a request with a session's headers, those in ``without`` left out, and more header lines as they are.

    ``length``: with a ``Content-Length`` that is true.
    """
    url = httpx.URL(wire.url)
    named = {"host": url.netloc.decode(), **wire.headers}
    if length:
        named["content-length"] = str(len(body))
    head = [f"{method} {target or url.path} HTTP/1.1".encode()]
    head += [f"{name}: {value}".encode() for name, value in named.items() if name not in without]
    return b"\r\n".join([*head, *lines, b"", body])


async def exchange(wire: Wire, data: bytes) -> Answer | None:
    """Send bytes and read one response."""
    async with connected(wire.url) as connection:
        await connection.send(data)
        return await connection.answer()


# The server behind


def resident_bytes(pids: Sequence[int]) -> int:
    """Return the memory that processes hold."""
    return sum(psutil.Process(pid).memory_info().rss for pid in pids)


@contextlib.asynccontextmanager
async def surviving(site: RunningSite, path: str = "/mcp", revision: str = "2025-11-25") -> AsyncIterator[Wire]:
    """Give a session; whatever is done with it, a good request is answered afterwards, and nothing failed inside."""
    printed = len(site.server.output)
    wire = Wire(site.server.url + path, revision=revision)
    await wire.initialize(capabilities={"elicitation": {}})
    yield wire
    await assert_serving(wire)
    await wire.delete()
    output = site.server.output[printed:]
    assert not [fault for fault in FAULTS if fault in output], output


def path_on(site: RunningSite) -> str:
    """Return one shell on SQLite and the other on PostgreSQL: what is refused early meets no database."""
    return SHELLS["mount" if site.url.startswith("sqlite") else "view"]


async def assert_serving(wire: Wire) -> None:
    """Make good requests, in the session and in a new one."""
    response = await wire.post(wire.call("add", a=2, b=3), headers={"accept": "application/json"})
    assert response.status_code == 200, response.text
    assert response.json()["result"]["content"] == [{"type": "text", "text": "5"}]
    stranger = Wire(
        wire.url, headers={name: wire.headers[name] for name in ("authorization",) if name in wire.headers}
    )
    await stranger.initialize()
    assert (await stranger.post(stranger.request("ping"))).json()["result"] == {}
    await stranger.delete()


async def recovered(wire: Wire) -> None:
    """Wait until the server answers calls again."""

    async def answers() -> bool:
        response = await wire.post(wire.call("add", a=2, b=3))
        return response.status_code == 200 and '"isError":true' not in response.text

    await until(answers, timeout_seconds=30)
