"""Injects the planned faults, and counts only those that hit an open exchange.

How it is known that one did:

- of a worker: the database names calls of this process that were open when it was hit;
- of a connection: a client was reading a stream over it; beyond that, of one left half-open that bytes vanished on it,
  and of a stalled reader that the server's bytes were held back;
- two that resume: the second was let in while the first was reading;
- of the store and Redis: calls were open, and connections of workers were killed, or were there;
- wake-ups: some were dropped while calls were open.

One that did not hit is injected again until it does.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final

from tests.acceptance.proxy import CuttingProxy, Link
from tests.acceptance.waiting import until
from tests.faults import clients, facts, schedule, setups
from tests.services import HOST, ServerProcess

AGAIN_SECONDS: Final = 0.3
HIT_SECONDS: Final = 300
"""A fault that has not hit by then never will."""

WATCH_SECONDS: Final = 0.2
WATCHED_SECONDS: Final = 60
"""How long ended calls are waited for: longer than they may take, so that it is known by how much."""


class Injector:
    """Harms one set-up."""

    def __init__(
        self, setup: setups.Setup, proxy: CuttingProxy, population: clients.Clients, found: facts.Facts
    ) -> None:
        self._setup = setup
        self._proxy = proxy
        self._clients = population
        self._facts = found
        # One worker at a time, so that another one is there if there is another one.
        self._workers = asyncio.Lock()
        self._redis = asyncio.Lock()
        self._watches: list[asyncio.Task[None]] = []

    async def inject(self, faults: Sequence[schedule.Fault]) -> None:
        """Inject all of them, and wait until everything is whole again."""
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                await asyncio.sleep(fault.gap_seconds)
                group.create_task(self._until_it_hits(fault))

    async def watched(self) -> None:
        """Wait until it is known when the calls of dead workers ended."""
        await asyncio.gather(*self._watches)

    async def _until_it_hits(self, fault: schedule.Fault) -> None:
        async with asyncio.timeout(HIT_SECONDS):
            evidence = await INJECT[fault.kind](self, fault)
            while evidence is None:
                await asyncio.sleep(AGAIN_SECONDS)
                evidence = await INJECT[fault.kind](self, fault)
        at, what = evidence
        self._facts.faults.append(facts.Injected(fault.kind, at, what))

    # Workers

    async def _kill(self, fault: schedule.Fault) -> Evidence | None:
        async with self._victim(fault) as (index, worker), self._outage():
            await asyncio.to_thread(worker.kill)
            at = time.monotonic()
            calls = await self._died(worker, at)
            await asyncio.to_thread(self._setup.replace(index).start)
        return _hit(at, calls, f"process {worker.pid}")

    async def _pause(self, fault: schedule.Fault) -> Evidence | None:
        async with self._victim(fault) as (_, worker), self._outage():
            worker.pause()
            try:
                at = time.monotonic()
                calls = await self._open_calls(worker)
                if fault.seconds > setups.LEASE_SECONDS:
                    self._watch(at, calls)
                await asyncio.sleep(fault.seconds)
            finally:
                worker.resume()
        return _hit(at, calls, f"process {worker.pid} for {fault.seconds:.1f} s")

    async def _restart(self, fault: schedule.Fault) -> Evidence | None:
        async with self._victim(fault) as (index, worker), self._outage():
            calls = await self._open_calls(worker)
            at = time.monotonic()
            stopping = asyncio.create_task(asyncio.to_thread(worker.stop))
            # It takes no more connections, and the next one may have the port.
            await until(lambda: not _listens(worker.port), timeout_seconds=30)
            await asyncio.to_thread(self._setup.replace(index).start)
        status = await stopping
        await self._died(worker, time.monotonic())
        return _hit(at, calls, f"process {worker.pid}, which ended with {status}")

    @contextlib.asynccontextmanager
    async def _victim(self, fault: schedule.Fault) -> AsyncIterator[tuple[int, ServerProcess]]:
        """Give a worker with open calls, whom nobody else harms meanwhile."""
        async with self._workers:
            index = fault.choose(len(self._setup.workers))
            worker = self._setup.workers[index]

            async def has_calls() -> bool:
                return bool(await self._open_calls(worker))

            await until(has_calls, timeout_seconds=60)
            yield index, worker

    @contextlib.asynccontextmanager
    async def _outage(self) -> AsyncIterator[None]:
        """Note the time when the only worker does not serve."""
        since = time.monotonic()
        yield
        if len(self._setup.workers) == 1:
            self._facts.outages.append((since, time.monotonic()))

    async def _open_calls(self, worker: ServerProcess | None = None) -> list[int]:
        return await asyncio.to_thread(self._setup.open_calls, worker)

    async def _died(self, worker: ServerProcess, at: float) -> list[int]:
        """Return the calls that a dead worker has left open, and watch for their ends."""
        calls = await self._open_calls(worker)
        self._watch(at, calls)
        return calls

    def _watch(self, at: float, calls: list[int]) -> None:
        death = facts.Death(at, calls)
        self._facts.deaths.append(death)
        if calls:
            self._watches.append(asyncio.create_task(self._await_ends(death)))

    async def _await_ends(self, death: facts.Death) -> None:
        waiting = set(death.streams)
        while waiting and time.monotonic() < death.at + WATCHED_SECONDS:
            left = await asyncio.to_thread(self._setup.still_open, sorted(waiting))
            death.ended |= dict.fromkeys(waiting - left, time.monotonic())
            waiting = left
            await asyncio.sleep(WATCH_SECONDS)

    # Connections

    async def _reset(self, fault: schedule.Fault) -> Evidence | None:
        exchange, link = self._exchange(fault)
        if link is None:
            return None
        link.reset()
        return self._tampered(exchange, f"port {exchange.port}")

    async def _lose(self, fault: schedule.Fault) -> Evidence | None:
        exchange, link = self._exchange(fault)
        if link is None:
            return None
        link.lose()
        at, what = self._tampered(exchange, f"port {exchange.port}")
        # Until its client gives it up.
        await until(lambda: exchange not in self._clients.open, timeout_seconds=60)
        if not link.lost_bytes:
            return None
        return at, f"{what}, {link.lost_bytes} bytes lost"

    async def _stall(self, fault: schedule.Fault) -> Evidence | None:
        exchange, link = self._exchange(fault, bulky=True)
        if link is None:
            return None
        link.stall()
        at, what = self._tampered(exchange, f"port {exchange.port} for {fault.seconds:.1f} s")
        await asyncio.sleep(fault.seconds)
        link.go_on()
        self._tampered(exchange, "")
        if not link.held_bytes:
            return None
        return at, f"{what}, {'much' if exchange.is_bulky else 'little'} to read"

    async def _rival(self, fault: schedule.Fault) -> Evidence | None:
        exchange, link = self._exchange(fault)
        if link is None:
            return None
        at = time.monotonic()
        has_hit = await exchange.session.rival(exchange.reader, fault.seconds)
        return (at, _stream(exchange)) if has_hit else None

    def _exchange(self, fault: schedule.Fault, *, bulky: bool = False) -> tuple[Any, Link | None]:
        """Return one of the connections on which clients read streams whose cursors they have."""
        candidates = [
            exchange
            for exchange in self._clients.open
            if exchange.reader.stream is not None
            and exchange.port in self._proxy.links
            and exchange.reader.ended_at is None
            and not exchange.reader.is_rival
        ]
        if bulky:
            candidates = [exchange for exchange in candidates if exchange.is_bulky] or candidates
        if not candidates:
            return None, None
        exchange = candidates[fault.choose(len(candidates))]
        return exchange, self._proxy.links[exchange.port]

    def _tampered(self, exchange: clients.Exchange, what: str) -> Evidence:
        at = exchange.reader.held_up_until = time.monotonic()
        exchange.reader.held_up_by = "a fault"
        return at, f"{_stream(exchange)} on {what}"

    # The store and Redis

    async def _kill_connections(self, fault: schedule.Fault) -> Evidence | None:
        calls = await self._open_calls()
        query = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND backend_type = 'client backend' AND application_name <> ?"
        )
        at = time.monotonic()
        killed = await asyncio.to_thread(self._setup.database.rows, query, setups.OBSERVER)
        return _hit(at, calls, f"{len(killed)} connections") if killed else None

    async def _flush(self, fault: schedule.Fault) -> Evidence | None:
        redis = self._redis_server()
        async with self._redis:
            calls = await self._open_calls()
            at = time.monotonic()
            connections = await asyncio.to_thread(redis.connections)
            await asyncio.to_thread(redis.flush)
        return _hit(at, calls, f"{connections} connections") if connections else None

    async def _restart_redis(self, fault: schedule.Fault) -> Evidence | None:
        redis = self._redis_server()
        async with self._redis:
            calls = await self._open_calls()
            connections = await asyncio.to_thread(redis.connections)
            at = time.monotonic()
            await asyncio.to_thread(redis.stop)
            await asyncio.sleep(fault.seconds)
            await asyncio.to_thread(redis.start)
        return _hit(at, calls, f"{connections} connections, {fault.seconds:.1f} s") if connections else None

    async def _drop(self, fault: schedule.Fault) -> Evidence | None:
        async with self._redis:
            calls = await self._open_calls()
            at = time.monotonic()
            self._setup.switch.touch()
            await asyncio.sleep(fault.seconds)
            dropped = self._setup.switch.stat().st_size
            self._setup.switch.unlink()
        return _hit(at, calls, f"{dropped} wake-ups") if dropped else None

    def _redis_server(self) -> setups.Redis:
        assert self._setup.redis is not None
        return self._setup.redis


Evidence = tuple[float, str]
"""When, and what was hit."""

INJECT: Final[dict[str, Callable[[Injector, schedule.Fault], Awaitable[Evidence | None]]]] = {
    "kill -9": Injector._kill,
    "pause": Injector._pause,
    "graceful restart": Injector._restart,
    "reset": Injector._reset,
    "half-open": Injector._lose,
    "stalled reader": Injector._stall,
    "two resume": Injector._rival,
    "database connections killed": Injector._kill_connections,
    "Redis flushed": Injector._flush,
    "Redis restarted": Injector._restart_redis,
    "wake-ups dropped": Injector._drop,
}


def _hit(at: float, calls: list[int], what: str) -> Evidence | None:
    """Return the evidence of a fault, unless no call was open."""
    return (at, f"{what}, {len(calls)} open calls") if calls else None


def _stream(exchange: clients.Exchange) -> str:
    return f"stream {exchange.reader.stream:x} of {exchange.session.name}"


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False
