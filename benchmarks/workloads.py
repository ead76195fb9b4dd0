"""The workloads: which servers, what the load does with them, and what ratio is wanted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks import load
from benchmarks.databases import POSTGRESQL, SQLITE, TOKEN
from benchmarks.processes import Running, Server

CONNECTIONS: Final = 16
TIMEOUT_SECONDS: Final = 120.0
"""A measurement that takes longer has failed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to measure."""

    rounds: int
    window_seconds: float
    warm_up_seconds: float


QUICK: Final = Plan(rounds=2, window_seconds=0.6, warm_up_seconds=0.2)
FULL: Final = Plan(rounds=5, window_seconds=4.0, warm_up_seconds=1.0)
PROFILE: Final = Plan(rounds=1, window_seconds=4.0, warm_up_seconds=0.0)
"""Without a warm-up, so that nearly all that is profiled is counted."""


@dataclass(frozen=True, slots=True)
class Role:
    """What differs between the contestants of a workload, for the load."""

    tool: bytes = b"add"
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Contestant:
    """A server that is up, and what the load does with it."""

    name: str
    process: Running
    role: Role

    @property
    def port(self) -> int:
        return self.process.port


@dataclass(frozen=True, slots=True)
class Sample:
    """What one measurement gave."""

    units: int
    seconds: float
    """By the wall clock."""

    cpu_seconds: float
    """That the server's process used; 0 where that is not known."""

    @property
    def rate(self) -> float:
        return self.units / self.seconds

    @property
    def core_share(self) -> float:
        return self.cpu_seconds / self.seconds

    @property
    def units_per_cpu_second(self) -> float:
        return self.units / self.cpu_seconds if self.cpu_seconds else 0.0


Measure = Callable[[Contestant, Plan], Coroutine[Any, Any, Sample]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One row of the table, for each database."""

    key: str
    title: str
    unit: str
    measure: Measure

    # The contestants
    reference: str
    """Which application of the reference."""

    reference_role: Role = field(default_factory=Role)
    mode: str = "sessions"
    """Of our server."""

    shell: str = "mount"
    """Of our server: ``mount``, or ``view``, behind Django."""

    role: Role = field(default_factory=Role)
    """Of our server."""

    # What is wanted
    targets: dict[str, float] = field(default_factory=dict)
    """Least ratio, by kind of database."""

    floors: dict[str, float] = field(default_factory=dict)
    """Least ratio that ``--enforce`` lets pass."""

    has_several_workers: bool = False
    """Whether it is measured with two workers, too."""

    @property
    def group(self) -> str:
        """The part of the key that rows of one kind share."""
        return self.key.partition("-")[0]

    def reference_server(self) -> Server:
        return Server(f"benchmarks.servers.reference:{self.reference}")

    def server(self, database: str, *, workers: int = 1, redis_url: str = "") -> Server:
        environment = {
            "BENCH_DATABASE": database,
            "REDIS_URL": redis_url,
            "BENCH_MODE": self.mode,
            "BENCH_SHELL": self.shell,
        }
        if self.role.token:
            environment["BENCH_AUTHENTICATION"] = "token"
        return Server("benchmarks.servers.ours.asgi:application", environment, workers=workers)


CEILING: Final = Server("benchmarks.servers.ceiling:application")


async def measure_calls(contestant: Contestant, plan: Plan) -> Sample:
    """Call a tool without a session, answered by JSON."""
    clients = await _open_clients(contestant)
    return await _measure_calls(contestant, clients, plan, stream=False)


async def measure_session_calls(contestant: Contestant, plan: Plan) -> Sample:
    """Call a tool in a session for each connection, answered by a stream."""
    clients = await _open_clients(contestant)
    for client in clients:
        await client.open_session()
    return await _measure_calls(contestant, clients, plan, stream=True)


async def _open_clients(contestant: Contestant) -> list[load.Client]:
    return [await load.Client.open(contestant.port, token=contestant.role.token) for _ in range(CONNECTIONS)]


async def _measure_calls(contestant: Contestant, clients: list[load.Client], plan: Plan, *, stream: bool) -> Sample:
    tool = contestant.role.tool

    async def call_until(client: load.Client, deadline: float) -> int:
        count = 0
        while time.perf_counter() < deadline:
            await client.add(tool, stream=stream)
            count += 1
        return count

    async def call_for(seconds: float) -> int:
        deadline = time.perf_counter() + seconds
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return sum(await asyncio.gather(*[call_until(client, deadline) for client in clients]))

    await call_for(plan.warm_up_seconds)
    cpu_seconds, started = contestant.process.cpu_seconds(), time.perf_counter()
    calls = await call_for(plan.window_seconds)
    seconds = time.perf_counter() - started
    sample = Sample(calls, seconds, contestant.process.cpu_seconds() - cpu_seconds)
    for client in clients:
        client.close()
    return sample


def measure_burst(count: int, size: int) -> Measure:
    """Return a measurement of one call that reports progress ``count`` times."""

    async def measure(contestant: Contestant, plan: Plan) -> Sample:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            client = await load.Client.open(contestant.port, token=contestant.role.token)
            await client.open_session()
            await client.burst(count // 10, size)
            cpu_seconds = contestant.process.cpu_seconds()
            seconds, _ = await client.burst(count, size)
            client.close()
        return Sample(count, seconds, contestant.process.cpu_seconds() - cpu_seconds)

    return measure


def measure_resume(count: int) -> Measure:
    """Return a measurement of the first resume of a stream of ``count`` events and a result."""

    async def measure(contestant: Contestant, plan: Plan) -> Sample:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            client = await load.Client.open(contestant.port, token=contestant.role.token)
            await client.open_session()
            for size in (count // 10, count):
                _, burst = await client.burst(size, 0)
                cpu_seconds = contestant.process.cpu_seconds()
                seconds = await client.resume(burst)
            client.close()
        return Sample(count + 1, seconds, contestant.process.cpu_seconds() - cpu_seconds)

    return measure


WORKLOADS: Final = (
    Workload(
        key="W1",
        title="call, no session, JSON",
        unit="calls",
        measure=measure_calls,
        reference="stateless",
        mode="sessionless",
        targets={SQLITE: 7, POSTGRESQL: 7},
        has_several_workers=True,
    ),
    Workload(
        key="W1-view",
        title="… through the Django view",
        unit="calls",
        measure=measure_calls,
        reference="stateless",
        mode="sessionless",
        shell="view",
        targets={SQLITE: 0.8, POSTGRESQL: 0.8},
        floors={SQLITE: 0.8},
    ),
    Workload(
        key="W2",
        title="call, session, SSE, read-only",
        unit="calls",
        measure=measure_session_calls,
        reference="stateful",
        targets={SQLITE: 7, POSTGRESQL: 2.5},
        floors={SQLITE: 4},
        has_several_workers=True,
    ),
    Workload(
        key="W2-5ms",
        title="… awaiting 5 ms",
        unit="calls",
        measure=measure_session_calls,
        reference="stateful",
        reference_role=Role(tool=b"add_slowly"),
        role=Role(tool=b"add_slowly"),
    ),
    Workload(
        key="W2-unhinted",
        title="… no hints",
        unit="calls",
        measure=measure_session_calls,
        reference="stateful",
        role=Role(tool=b"add_unhinted"),
    ),
    Workload(
        key="W2-token",
        title="… ours with a token",
        unit="calls",
        measure=measure_session_calls,
        reference="stateful",
        role=Role(token=TOKEN),
    ),
    Workload(
        key="W3",
        title="10,000 progress events",
        unit="events",
        measure=measure_burst(10_000, 0),
        reference="stateful",
        targets={SQLITE: 8, POSTGRESQL: 4},
        floors={SQLITE: 4},
        has_several_workers=True,
    ),
    Workload(
        key="W3b",
        title="2,000 events of 16 KiB",
        unit="events",
        measure=measure_burst(2_000, 16 * 1024),
        reference="stateful",
        targets={SQLITE: 4, POSTGRESQL: 4},
    ),
    Workload(
        key="W5",
        title="resume, 10,000 events",
        unit="events",
        measure=measure_resume(10_000),
        reference="stateful",
        targets={SQLITE: 10, POSTGRESQL: 7},
    ),
)
