"""Harm servers while clients use them, and hold what the clients got against what is committed.

    python -m tests.faults                       a bounded run, at least 30 faults of each kind
    python -m tests.faults --faults 10000        a long one
    python -m tests.faults --setup b --seed 7    one set-up; the same seed injects the same faults in the same order

The set-ups: a, one process on SQLite; b, two workers on PostgreSQL; c, the same with Redis. What was done in which
order, and what workers printed, stays in tests/faults/results/ until the next time. The exit status is 0 if no promise
was broken, every planned fault hit an open exchange, and every violation that was planted was reported.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Final

from rich.console import Console

from tests import services
from tests.acceptance.proxy import CuttingProxy
from tests.faults import checker, clients, facts, injector, plants, report, schedule, setups

RESULTS: Final = Path(__file__).resolve().parent / "results"

FAULTS: Final = 330
"""Thirty of each kind."""

END_SECONDS: Final = 60
"""Calls that run when the last fault is over have this long to end: three times what they may take."""

WATCH_SECONDS: Final = 0.1

RECEIVE_BYTES: Final = 4_096
"""Of the proxy's buffer: so little that a stalled reader is felt by the server."""

WIDTH: Final = 110


def main() -> int:
    options = _options()
    # Ended by a time limit, it still ends its servers.
    signal.signal(signal.SIGTERM, _stop)
    console = Console(highlight=False, soft_wrap=True, width=WIDTH)
    seed = random.randrange(2**32) if options.seed is None else options.seed
    console.print(f"seed {seed}")
    shutil.rmtree(RESULTS, ignore_errors=True)
    RESULTS.mkdir()
    outcome = report.Outcome(list(options.setup))
    started = time.monotonic()
    try:
        for number, faults in enumerate(schedule.rounds(options.faults)):
            planned = schedule.plan(options.setup, faults, seed + number)
            for name, queue in planned.items():
                outcome.add(_run(name, queue, seed + number, console), queue)
    except (services.ServerFailed, services.ServiceUnavailable, plants.PlantingFailed) as error:
        console.print(str(error), markup=False)
        return 2
    outcome.print(console)
    console.print(f"seed {seed}, {time.monotonic() - started:.0f} s")
    return 0 if outcome.has_passed else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--faults", type=int, default=FAULTS, help="at least so many, over all set-ups")
    parser.add_argument("--setup", nargs="+", choices=list(schedule.KINDS), default=list(schedule.KINDS))
    parser.add_argument("--seed", type=int)
    return parser.parse_args()


def _stop(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _run(name: str, queue: list[schedule.Fault], seed: int, console: Console) -> report.Round:
    """Serve a set-up, harm it, and judge what came of it."""
    started = time.monotonic()
    with setups.standing(name, RESULTS) as setup:
        found = asyncio.run(_harm(setup, queue, seed))
    violations = checker.check(found)
    result = report.Round(found, violations, plants.missed(found), time.monotonic() - started)
    with (RESULTS / f"{name}.txt").open("a") as history:
        history.write(result.history())
    console.print(f"set-up {name}: {len(found.faults)} faults, {result.events} events, {result.seconds:.0f} s")
    return result


async def _harm(setup: setups.Setup, queue: list[schedule.Fault], seed: int) -> facts.Facts:
    found = facts.Facts(setup.name)
    ports = [worker.port for worker in setup.workers]
    async with CuttingProxy(*ports, receive_bytes=RECEIVE_BYTES).running() as proxy:
        population = clients.Clients(proxy.url, seed)
        harm = injector.Injector(setup, proxy, population, found)
        try:
            await population.start()
            await harm.inject(queue)
            await population.finish(timeout_seconds=END_SECONDS)
            await harm.watched()
            await _caught_up(setup, population)
        finally:
            await population.stop()
    found.readers = population.readers
    checker.load(setup.database, {session.name: session.digest for session in population.sessions}, found)
    return found


async def _caught_up(setup: setups.Setup, population: clients.Clients) -> None:
    """Wait for the ends of calls that nobody reads, and until all listeners have what is committed.

    What is not so in time, the checker reports.
    """
    query = "SELECT id, head, request_id FROM streamable_http_stream WHERE state = 'open'"
    listeners = [session.listener for session in population.sessions]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(END_SECONDS):
            while True:
                rows = await asyncio.to_thread(setup.database.rows, query)
                wanted = {f"{stream:x}.{head}" for stream, head, request_id in rows if head or request_id}
                if wanted <= {each.event_id for reader in listeners for each in reader.application[-1:]}:
                    return
                await asyncio.sleep(WATCH_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
