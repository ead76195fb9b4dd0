"""Measure the server beside the official SDK, in one interleaved run.

    python -m benchmarks --quick            every workload in a few minutes
    python -m benchmarks --only W2 W3       some of them; "W2" is all its rows
    python -m benchmarks --profile W2       where our server's time goes, by cProfile

Servers run on one core, the load on another. Each round measures the reference, then ours on each database, so
that what slows the machine down slows down both. "By CPU" compares units per second of the server process's CPU
time: on a busy machine it is the truer one (the scheduler shares by thread, and ours has two), but it leaves out
what a database server uses. Two workers of ours, on PostgreSQL and with Redis, have both cores, and so share one
with the load, the database and Redis: with two cores this shows what a second worker costs, not what it brings.
Every answer is checked. PostgreSQL and Redis are what BENCH_DATABASE_URL and BENCH_REDIS_URL name, or servers of our
own, on the load's core.
The exit status is 1 if an answer was wrong or, with --enforce, if a ratio that must hold does not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import uvloop
from rich.console import Console

from benchmarks import answers, databases, processes, report, workloads


class MeasurementError(Exception):
    """A server gave no answer or a wrong one; says which and what. It ends a row, not the run."""


class Run:
    """One run: its places, cores and findings."""

    def __init__(self, plan: workloads.Plan, directory: Path, console: Console) -> None:
        self._plan = plan
        self._directory = directory
        self._console = console
        self._server_core, self._load_core = processes.cores()
        processes.pin(self._load_core)
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)

    def measure(
        self, workload: workloads.Workload, makers: dict[str, databases.Maker], *, ceiling: bool
    ) -> list[report.Row]:
        """Measure one workload against all contestants, in turn."""
        if not workload.has_several_workers:
            makers = {name: maker for name, maker in makers.items() if maker.workers == 1}
        if not makers and not ceiling:
            return []
        rows = {name: _row(workload, name) for name in [*makers, *(["ceiling"] if ceiling else [])]}
        with contextlib.ExitStack() as stack:
            try:
                reference, *contestants = [
                    stack.enter_context(started) for started in self._servers(workload, makers, ceiling=ceiling)
                ]
                for _ in range(self._plan.rounds):
                    self._measure_round(workload, reference, contestants, rows)
            except (MeasurementError, processes.ServerError) as error:
                for row in rows.values():
                    row.wrong = row.wrong or str(error)
        return list(rows.values())

    def profile(self, workload: workloads.Workload, maker: databases.Maker) -> None:
        """Print where our server's main thread spends its time."""
        path = report.RESULTS / f"{workload.key}.prof"
        report.RESULTS.mkdir(exist_ok=True)
        with maker.fresh() as database:
            server = replace(workload.server(database), profile=path)
            with self._contestant("profile", server, workload.role) as contestant:
                sample = self._measure_once(workload, contestant)
        report.print_profile(self._console, path, f"{workload.key} on the event loop's thread", sample.units)

    def close(self) -> None:
        """Close the event loop."""
        self._runner.close()

    def _servers(
        self, workload: workloads.Workload, makers: dict[str, databases.Maker], *, ceiling: bool
    ) -> Iterator[contextlib.AbstractContextManager[workloads.Contestant]]:
        yield self._contestant("reference", workload.reference_server(), workload.reference_role)
        for kind, maker in makers.items():
            yield self._ours(workload, kind, maker)
        if ceiling:
            yield self._contestant("ceiling", workloads.CEILING, workload.reference_role)

    @contextlib.contextmanager
    def _ours(self, workload: workloads.Workload, kind: str, maker: databases.Maker) -> Iterator[workloads.Contestant]:
        with (
            maker.fresh() as database,
            self._contestant(
                kind,
                workload.server(database, workers=maker.workers, redis_url=maker.redis_url),
                workload.role,
            ) as contestant,
        ):
            yield contestant

    @contextlib.contextmanager
    def _contestant(self, name: str, server: processes.Server, role: workloads.Role) -> Iterator[workloads.Contestant]:
        with self._serve(server, name) as running:
            yield workloads.Contestant(name, running, role)

    def _serve(self, server: processes.Server, name: str) -> contextlib.AbstractContextManager[processes.Running]:
        core = self._server_core if server.workers == 1 else self._server_core | self._load_core
        return processes.serve(server, core=core, log=self._directory / f"{name}.log")

    def _measure_round(
        self,
        workload: workloads.Workload,
        reference: workloads.Contestant,
        contestants: list[workloads.Contestant],
        rows: dict[str, report.Row],
    ) -> None:
        standard = self._measure_once(workload, reference)
        for contestant in contestants:
            row = rows[contestant.name]
            if row.wrong:
                continue
            try:
                sample = self._measure_once(workload, contestant)
            except MeasurementError as error:
                row.wrong = str(error)
                continue
            row.reference.append(standard)
            row.ours.append(sample)
            self._console.print(
                f"  {workload.key} {contestant.name}: {sample.rate / standard.rate:.2f}", highlight=False
            )

    def _measure_once(self, workload: workloads.Workload, contestant: workloads.Contestant) -> workloads.Sample:
        gc.collect()
        try:
            return self._runner.run(workload.measure(contestant, self._plan))
        except (answers.AnswerError, ConnectionError, TimeoutError) as error:
            raise MeasurementError(
                f"{contestant.name}: {type(error).__name__}: {error}\n{contestant.process.last_words()}"
            ) from error


def _row(workload: workloads.Workload, name: str) -> report.Row:
    return report.Row(
        workload=workload.key,
        title=workload.title,
        unit=workload.unit,
        contestant=name,
        target=workload.targets.get(name),
        floor=workload.floors.get(name),
    )


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    keys = sorted({workload.key for workload in workloads.WORKLOADS})
    kinds = list(databases.KINDS)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few rounds, short windows")
    parser.add_argument("--only", nargs="+", choices=keys, metavar="KEY", help=f"some of {', '.join(keys)}")
    parser.add_argument(
        "--databases", nargs="+", choices=kinds, default=kinds, help="for ours: of one worker, or of two"
    )
    parser.add_argument("--ceiling", action="store_true", help="measure a bare ASGI application as well")
    parser.add_argument("--ceiling-only", action="store_true", help="measure only that, and not ours")
    parser.add_argument("--enforce", action="store_true", help="fail if W2 or W3 on SQLite is under 4")
    parser.add_argument(
        "--profile",
        nargs="+",
        choices=keys,
        metavar="KEY",
        help="profile our server instead, on the first kind; W3 and W5 include the bursts that they begin with",
    )
    return parser.parse_args()


def chosen(keys: list[str] | None) -> list[workloads.Workload]:
    """Return the workloads that some keys or groups name; all, without any."""
    return [
        workload for workload in workloads.WORKLOADS if keys is None or workload.key in keys or workload.group in keys
    ]


def main() -> int:
    """Run what the command line asks for."""
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    gc.disable()
    console = Console(width=None if sys.stdout.isatty() else 160)
    plan = workloads.PROFILE if arguments.profile else workloads.QUICK if arguments.quick else workloads.FULL
    kinds = [] if arguments.ceiling_only else arguments.databases
    with tempfile.TemporaryDirectory(prefix="benchmarks", ignore_cleanup_errors=True) as place:
        directory = Path(place)
        run = Run(plan, directory, console)
        with contextlib.closing(run), databases.makers(kinds, directory) as makers:
            if arguments.profile:
                for workload in chosen(arguments.profile):
                    run.profile(workload, makers[kinds[0]])
                return 0
            rows = [
                row
                for workload in chosen(arguments.only)
                for row in run.measure(workload, makers, ceiling=arguments.ceiling or arguments.ceiling_only)
            ]
    report.print_table(console, rows)
    console.print(f"written to {report.write(rows)}")
    return int(any(row.wrong or (arguments.enforce and row.is_under_floor) for row in rows))


if __name__ == "__main__":
    sys.exit(main())
