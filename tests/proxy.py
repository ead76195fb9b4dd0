"""A TCP proxy between this process and PostgreSQL that cuts connections where a test says.

It reads the client's messages, so that it knows a COMMIT when it sees one. Connections must be without encryption.
"""

from __future__ import annotations

import contextlib
import enum
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit, urlunsplit

from psycopg import conninfo

HOST = "127.0.0.1"

COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
"""The simple query, with its length (PostgreSQL, Message Formats)."""


class Cut(enum.Enum):
    """What becomes of a connection at a COMMIT."""

    NOT = enum.auto()
    BEFORE = enum.auto()
    """The server never sees it, so nothing is committed."""

    AFTER = enum.auto()
    """The server has answered it, so everything is committed, and the client never learns."""


class Proxy:
    """Forwards to one PostgreSQL server; ``at_commit`` decides about each COMMIT, in the connection's own thread."""

    def __init__(self, url: str) -> None:
        self.at_commit: Callable[[], Cut] = lambda: Cut.NOT
        self._target = url
        self._listener = socket.create_server((HOST, 0))
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._is_up = True
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    @property
    def url(self) -> str:
        """The URL of the same database through the proxy."""
        parts = urlsplit(self._target)
        user = parts.netloc.rpartition("@")[0]
        netloc = f"{user}@{HOST}:{self._listener.getsockname()[1]}"
        return urlunsplit(parts._replace(netloc=netloc, query="sslmode=disable&gssencmode=disable"))

    def go_down(self) -> None:
        """Cut every connection, and every new one at once."""
        with self._lock:
            self._is_up = False
            for connection in self._open:
                _shut(connection)

    def come_up(self) -> None:
        """Forward again."""
        with self._lock:
            self._is_up = True

    def close(self) -> None:
        """End, with every connection."""
        self.go_down()
        _shut(self._listener)
        self._accepting.join()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with self._lock:
                    if not self._is_up:
                        client.close()
                        continue
                    self._open.add(client)
                thread = threading.Thread(target=self._serve, args=(client,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        # What a cut leaves behind is errors of one socket or the other.
        with client, _connect(self._target) as server, contextlib.suppress(OSError):
            _send_at_once(client)
            _send_at_once(server)
            with self._lock:
                self._open.add(server)
            try:
                self._forward(client, server)
            finally:
                with self._lock:
                    self._open -= {client, server}

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        messages = _messages(client)
        while True:
            ready, _, _ = select.select([client, server], [], [])
            if server in ready:
                data = server.recv(65_536)
                if not data:
                    return
                client.sendall(data)
            if client in ready:
                for message in next(messages):
                    cut = self.at_commit() if message == COMMIT else Cut.NOT
                    if cut is not Cut.BEFORE:
                        server.sendall(message)
                    if cut is Cut.AFTER:
                        server.recv(65_536)
                    if cut is not Cut.NOT:
                        return


@contextlib.contextmanager
def proxied(url: str) -> Iterator[Proxy]:
    """Give a proxy to the server of a database's URL."""
    proxy = Proxy(url)
    try:
        yield proxy
    finally:
        proxy.close()


def _connect(url: str) -> socket.socket:
    target = conninfo.conninfo_to_dict(url)
    host, port = str(target.get("host") or HOST), int(target.get("port") or 5432)
    if not host.startswith("/"):
        return socket.create_connection((host, port))
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(f"{host}/.s.PGSQL.{port}")
    return connection


def _messages(client: socket.socket) -> Iterator[list[bytes]]:
    """Yield the messages that each chunk from the client completes.

    Raises:
        ConnectionResetError: the client is gone.
    """
    waiting = b""
    # The first message has no type (PostgreSQL, Message Formats: StartupMessage).
    type_bytes = 0
    while True:
        data = client.recv(65_536)
        if not data:
            raise ConnectionResetError
        waiting += data
        complete = []
        while len(waiting) >= type_bytes + 4:
            (length,) = struct.unpack_from("!I", waiting, type_bytes)
            if len(waiting) < type_bytes + length:
                break
            complete.append(waiting[: type_bytes + length])
            waiting = waiting[type_bytes + length :]
            type_bytes = 1
        yield complete


def _send_at_once(connection: socket.socket) -> None:
    # A message each: collected, they would wait 40 ms for the acknowledgement of the one before.
    if connection.family == socket.AF_INET:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
