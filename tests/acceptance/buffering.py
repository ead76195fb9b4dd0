"""An HTTP proxy that holds bodies back, as careless ones do."""

from __future__ import annotations

import contextlib
import enum
import http.client
import http.server
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

HOST = "127.0.0.1"

HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}


class Holds(enum.Enum):
    """What a proxy does to an answer whose end is not known."""

    NOTHING = enum.auto()
    BODY = enum.auto()
    """Headers pass, the body comes when it is complete."""

    EVERYTHING = enum.auto()
    """Headers come with the complete body."""

    SILENCE = enum.auto()
    """Nothing, but a connection that is silent for :data:`SILENT_SECONDS` is cut."""


SILENT_SECONDS = 1.0


@contextlib.contextmanager
def buffering(target: str, holds: Holds, headers: dict[str, str] | None = None) -> Iterator[str]:
    """Give the URL of a proxy to a server; ``headers`` are added to each answer, or taken away where empty."""
    parts = urlsplit(target)

    class Handler(_Handler):
        address = (str(parts.hostname), parts.port)
        mode = holds
        changed = headers or {}

    with http.server.ThreadingHTTPServer((HOST, 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            yield f"http://{HOST}:{server.server_port}"
        finally:
            server.shutdown()
            serving.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    address: tuple[str, int | None]
    mode: Holds
    changed: dict[str, str]

    def do_POST(self) -> None:
        self._forward(self.rfile.read(int(self.headers.get("content-length", 0))))

    def do_GET(self) -> None:
        self._forward(b"")

    def do_DELETE(self) -> None:
        self._forward(b"")

    def _forward(self, body: bytes) -> None:
        timeout = SILENT_SECONDS if self.mode is Holds.SILENCE else 60
        connection = http.client.HTTPConnection(*self.address, timeout=timeout)
        # A client that has gone, or a server that is silent.
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            sent = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
            connection.request(self.command, self.path, body, sent)
            response = connection.getresponse()
            if response.getheader("content-length") is not None or response.status in (202, 204):
                self._answer(response, response.read())
            else:
                self._stream(response)

    def _stream(self, response: http.client.HTTPResponse) -> None:
        self.close_connection = True
        if self.mode is Holds.EVERYTHING:
            self._answer(response, response.read())
            return
        self._head(response)
        self.end_headers()
        if self.mode is Holds.BODY:
            self.wfile.write(response.read())
            return
        while chunk := response.read1(65_536):
            self.wfile.write(chunk)

    def _answer(self, response: http.client.HTTPResponse, body: bytes) -> None:
        self._head(response)
        if response.status != 204:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _head(self, response: http.client.HTTPResponse) -> None:
        self.send_response(response.status)
        for name, value in response.getheaders():
            if name.lower() not in HOP_BY_HOP and name.lower() not in self.changed:
                self.send_header(name, value)
        for name, value in self.changed.items():
            if value:
                self.send_header(name, value)

    def log_message(self, *arguments: object) -> None:
        pass
