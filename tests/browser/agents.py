"""Clients that give a person something to look at."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
from mcp import Client

from streamable_http.protocol import sse

REVISION = "2025-11-25"


def call(url: str, *calls: tuple[str, dict[str, Any]]) -> None:
    """Call tools with the official client, one after the other, in a session of their own."""

    async def run() -> None:
        async with Client(url) as client:
            for name, arguments in calls:
                await client.call_tool(name, arguments)

    # Playwright has an event loop in this thread.
    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    thread.join()


class OpenClient:
    """The official client in a session that stays open, driven from a test's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, client: Client) -> None:
        self._loop = loop
        self._client = client

    def call(self, name: str, arguments: dict[str, Any]) -> None:
        asyncio.run_coroutine_threadsafe(self._client.call_tool(name, arguments), self._loop).result(60)


@contextlib.contextmanager
def opened(url: str) -> Iterator[OpenClient]:
    """Open a session with the official client, and close it in the end."""
    started, done = threading.Event(), threading.Event()
    made: list[OpenClient] = []

    async def run() -> None:
        async with Client(url) as client:
            made.append(OpenClient(asyncio.get_running_loop(), client))
            started.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        assert started.wait(60)
        yield made[0]
    finally:
        done.set()
        thread.join()


class RawClient:
    """A client that does exactly what it is told, such as to hang up in the middle."""

    def __init__(self, url: str, client_info: dict[str, str]) -> None:
        self._url = url
        self._http = httpx.Client(timeout=60)
        self._headers = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
        params = {"protocolVersion": REVISION, "capabilities": {}, "clientInfo": client_info}
        response = self._http.post(url, json=request("initialize", params), headers=self._headers)
        self._headers |= {"mcp-session-id": response.headers["mcp-session-id"], "mcp-protocol-version": REVISION}

    def close(self) -> None:
        self._http.close()

    def post(self, method: str, params: dict[str, Any]) -> httpx.Response:
        return self._http.post(self._url, json=request(method, params), headers=self._headers)

    def hang_up_after(self, events: int, method: str, params: dict[str, Any]) -> str:
        """Read so many events of a call, then cut the connection; the cursor."""
        body = request(method, params)
        with self._http.stream("POST", self._url, json=body, headers=self._headers) as response:
            return _read(response, lambda seen: len(seen) >= events)[-1].id

    def resume(self, cursor: str) -> list[dict[str, Any]]:
        """Go on from a cursor to the end; the messages."""
        headers = {**self._headers, "last-event-id": cursor}
        with self._http.stream("GET", self._url, headers=headers) as response:
            return [json.loads(event.data) for event in _read(response, lambda seen: '"result"' in seen[-1].data)]


def request(method: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def _read(response: httpx.Response, is_enough: Callable[[list[sse.Event]], bool]) -> list[sse.Event]:
    decoder = sse.Decoder()
    seen: list[sse.Event] = []
    for chunk in response.iter_bytes():
        for event in decoder.decode(chunk):
            if event.data:
                seen.append(event)
                if is_enough(seen):
                    return seen
    return seen
