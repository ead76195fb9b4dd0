"""What every Python client does, whoever wrote it. ``typescript_sdk.mjs`` does the same in its own language.

A driver is started as ``DRIVER SCENARIO URL``. It prints one JSON object a line: ``{"ready": true}`` when a test may
do harm, and in the end what it saw. Results have the shape that they have on the wire; an error is
``{"error": {"code": …, "message": …}}``.

Runs in environments that have nothing of ours: the standard library alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

GREETING = "site://greeting"

WATCHED = f"site://lines/{os.getpid()}"
"""Of this process alone, so that others who use the same server change nothing here."""

LINE = "site://lines/7"
NAME = {"name": "Ada"}
ROOT = "file:///home/ada"

CALL_BEFORE_HARM = 20
"""A test may do harm once so many events of a call have arrived."""

QUIET_SECONDS = 2
"""How long a client is watched that has nothing to do."""

WAIT_SECONDS = 20
"""For what the listening stream brings."""


class Seen:
    """What came by itself, and what was asked."""

    def __init__(self) -> None:
        self.progress: list[list[float | None]] = []
        self.elicitations: list[dict[str, Any]] = []
        self.samplings: list[dict[str, Any]] = []
        self.logs: list[Any] = []
        self.updated: list[str] = []

    async def see_progress(self, progress: float, total: float | None, message: str | None) -> None:
        self.progress.append([progress, total])

    async def see_message(self, message: Any) -> None:
        """Take what a client of the official SDK hands to its message handler; its 1.x wraps each in a ``root``."""
        message = wire(getattr(message, "root", message)) if not isinstance(message, Exception) else {}
        if message.get("method") == "notifications/resources/updated":
            self.updated.append(message["params"]["uri"])

    async def see_log(self, params: Any) -> None:
        self.logs.append(params.data)


class Client(Protocol):
    """One connected client. Every result is as on the wire."""

    initialized: dict[str, Any]
    """The result of ``initialize``, as far as the client shows it."""

    async def list(self, method: str) -> dict[str, Any]: ...

    async def call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]: ...

    async def read(self, uri: str) -> dict[str, Any]: ...

    async def subscribe(self, uri: str) -> dict[str, Any]: ...

    async def unsubscribe(self, uri: str) -> dict[str, Any]: ...

    async def prompt(self, name: str, arguments: dict[str, str]) -> dict[str, Any]: ...

    async def complete(self, prompt: str, argument: str, value: str) -> dict[str, Any]: ...


Connect = Callable[[str, Seen], contextlib.AbstractAsyncContextManager[Client]]


def wire(model: Any) -> dict[str, Any]:
    """Return a pydantic model of the client as it was on the wire."""
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


async def tour(client: Client, seen: Seen) -> dict[str, Any]:
    """Use everything once."""
    saw: dict[str, Any] = {"initialize": client.initialized}
    for method in ("tools/list", "resources/list", "resources/templates/list", "prompts/list"):
        saw[method] = await outcome(client.list(method))

    saw["call"] = await outcome(client.call("add", {"a": 2, "b": 3}))
    saw["call with progress"] = await outcome(client.call("count", {"n": 5}))
    saw["call with wrong arguments"] = await outcome(client.call("add", {"a": "two", "b": 3}))
    saw["call of an unknown tool"] = await outcome(client.call("nonesuch", {}))
    saw["elicitation"] = await outcome(client.call("ask", {}))
    saw["sampling"] = await outcome(client.call("sample", {"prompt": "Say hello"}))
    saw["roots"] = await outcome(client.call("roots", {}))

    saw["read"] = await outcome(client.read(GREETING))
    saw["read a template"] = await outcome(client.read(LINE))
    saw["read an unknown resource"] = await outcome(client.read("site://nowhere"))
    saw["prompt"] = await outcome(client.prompt("greet", NAME))
    saw["completion"] = await outcome(client.complete("greet", "name", "A"))

    saw["subscribe"] = await outcome(client.subscribe(WATCHED))
    saw["touch"] = await outcome(client.call("touch", {"uri": WATCHED}))
    await _until(lambda: bool(seen.updated))
    saw["unsubscribe"] = await outcome(client.unsubscribe(WATCHED))
    await outcome(client.call("touch", {"uri": WATCHED}))
    # What comes after the second touch on the same stream shows that nothing came of it.
    await outcome(client.call("announce", {"n": 2}))
    await _until(lambda: len(seen.logs) == 2)
    return saw


async def refused(client: Client, seen: Seen) -> dict[str, Any]:
    """Have a call fail, and go on listening for as long as many reconnections take."""
    saw = {"call of an unknown tool": await outcome(client.call("nonesuch", {}))}
    await asyncio.sleep(QUIET_SECONDS)
    return saw


async def cut(client: Client, seen: Seen) -> dict[str, Any]:
    """Lose every connection in the middle of a call that takes three seconds."""
    return await _interrupted(client, seen, n=150)


async def killed(client: Client, seen: Seen) -> dict[str, Any]:
    """Lose the server in the middle of a call that would take half an hour."""
    return await _interrupted(client, seen, n=100_000)


async def _interrupted(client: Client, seen: Seen, *, n: int) -> dict[str, Any]:
    """Be in the middle of a call, with a subscription, when harm is done; then see what is left."""
    saw: dict[str, Any] = {"subscribe": await outcome(client.subscribe(WATCHED))}
    call = asyncio.ensure_future(outcome(client.call("count", {"n": n, "delay_ms": 20})))
    await _until(lambda: len(seen.progress) >= CALL_BEFORE_HARM)
    say({"ready": True})
    saw["interrupted call"] = await call
    saw["call"] = await outcome(client.call("add", {"a": 2, "b": 3}))
    saw["touch"] = await outcome(client.call("touch", {"uri": WATCHED}))
    await _until(lambda: bool(seen.updated))
    return saw


SCENARIOS = {"tour": tour, "refused": refused, "cut": cut, "killed": killed}


def main(connect: Connect) -> None:
    """Run the scenario that the command line names."""
    scenario, url = sys.argv[1:]
    asyncio.run(_run(connect, scenario, url))


async def _run(connect: Connect, scenario: str, url: str) -> None:
    seen = Seen()
    async with connect(url, seen) as client:
        saw = await SCENARIOS[scenario](client, seen)
    say({**saw, "seen": vars(seen)})


async def outcome(step: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    """Return the result of a step, or its error."""
    try:
        return await step
    except Exception as error:  # whatever class this client has for it
        facts = getattr(error, "error", None)
        return {"error": wire(facts) if hasattr(facts, "model_dump") else {"message": repr(error)}}


def say(fact: dict[str, Any]) -> None:
    """Print a line for the test."""
    sys.stdout.write(json.dumps(fact) + "\n")
    sys.stdout.flush()


async def _until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; the test sees what is missing."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        if condition() or time.monotonic() > deadline:
            return
        await asyncio.sleep(0.02)
