"""A TCP proxy that cuts connections when it is told to, or harms them in other ways."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator

HOST = "127.0.0.1"

RESET_AT_CLOSE = struct.pack("ii", 1, 0)
"""Of SO_LINGER: send no orderly end (socket(7))."""


class Link:
    """One connection through the proxy."""

    def __init__(self, client: asyncio.StreamWriter, upstream: asyncio.StreamWriter) -> None:
        self.lost_bytes = 0
        """What vanished since :meth:`lose`."""

        self.held_bytes = 0
        """What the server had sent when it was held back by :meth:`stall`."""

        self._client = client
        self._upstream = upstream
        self._is_lost = False
        self._flows = asyncio.Event()
        self._flows.set()

    def reset(self) -> None:
        """Break it in the middle of whatever it carries: both ends see a reset."""
        self._flows.set()
        for writer in (self._client, self._upstream):
            with contextlib.suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
            writer.transport.abort()

    def lose(self) -> None:
        """Leave it half-open: neither end hears of the other again, not even of its end."""
        self._is_lost = True

    def stall(self) -> None:
        """Read nothing more from the server."""
        self._flows.clear()

    def go_on(self) -> None:
        """Read again."""
        self._flows.set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one direction until its end."""
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65_536):
                if writer is self._client and not self._flows.is_set():
                    self.held_bytes += len(chunk)
                    await self._flows.wait()
                if self._is_lost:
                    self.lost_bytes += len(chunk)
                    continue
                writer.write(chunk)
                await writer.drain()
        if not self._is_lost:
            writer.close()


class CuttingProxy:
    """Forwards bytes to a port of this machine, until :meth:`cut`; each connection to any of several."""

    def __init__(self, *target_ports: int, receive_bytes: int | None = None) -> None:
        """``receive_bytes`` makes the buffer of what a server has sent and nobody has read small."""
        self._target_ports = target_ports
        self._receive_bytes = receive_bytes
        self._tasks: set[asyncio.Task[None]] = set()
        self.links: dict[int, Link] = {}
        """The open connections, by the port that the client's end has."""

        self.url = ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[CuttingProxy]:
        """Accept connections."""
        server = await asyncio.start_server(self._serve, HOST, 0)
        self.url = f"http://{HOST}:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            self.cut()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Break all connections in the middle of whatever they carry: the client sees a reset."""
        for link in list(self.links.values()):
            link.reset()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            upstream_reader, upstream = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        port = writer.get_extra_info("peername")[1]
        link = self.links[port] = Link(writer, upstream)
        try:
            await asyncio.gather(link.carry(reader, upstream), link.carry(upstream_reader, writer))
        finally:
            # The port may have been used again.
            if self.links.get(port) is link:
                del self.links[port]
            for each in (writer, upstream):
                each.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        plain = socket.socket()
        try:
            if self._receive_bytes is not None:
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_bytes)
            plain.setblocking(False)
            target = (HOST, random.choice(self._target_ports))
            await asyncio.get_running_loop().sock_connect(plain, target)
        except BaseException:
            plain.close()
            raise
        return await asyncio.open_connection(sock=plain, limit=self._receive_bytes or 65_536)
