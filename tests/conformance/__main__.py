"""Run the official conformance suite against the demo project, under several servers, through both shells.

    python -m tests.conformance                                  everything
    python -m tests.conformance --server uvicorn --shell mount   one of the runs
    python -m tests.conformance --setup workers                  two workers
    python -m tests.conformance --restarted workers              two that are killed and started before each scenario

Of two workers both must have served, and of those that are restarted one for each scenario, at least.

What it wrote, and the servers' logs, stay in tests/conformance/results/ until the next time.
The exit status is 0 if every scenario that we demand passed in every run.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Final

from rich.console import Console
from rich.table import Table

from tests import services, setups
from tests.conformance import findings, suite
from tests.services import ServerProcess

RESULTS: Final = suite.HERE / "results"
APPLICATION: Final = "demo_project.asgi:application"
SERVED_APPLICATION: Final = "tests.conformance.served:application"

WIDTH: Final = 130

SERVERS: Final = ("daphne", "uvicorn")
SHELLS: Final = {"mount": "/conformance/mcp", "view": "/view/conformance/mcp"}
SETUPS: Final = {setup.name: setup for setup in (setups.WORKERS, setups.REDIS)}

# All from here, whatever the demo of this machine uses.
UNSET: Final = dict.fromkeys(("DATABASE_URL", "LOG_DATABASE_URL", "REDIS_URL", "ALLOWED_HOSTS", "DEBUG"), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The suite, once through."""

    server: str
    shell: str
    seconds: float
    verdict: findings.Verdict
    workers: int = 1
    """How many processes have served."""


def main() -> int:
    options = _options()
    # Ended by a time limit, it still ends its servers.
    signal.signal(signal.SIGTERM, _stop)
    console = Console(highlight=False, soft_wrap=True, width=WIDTH)
    try:
        shutil.rmtree(RESULTS, ignore_errors=True)
        runs = [run for server in options.server for run in _runs(server, options.shell, console)]
        runs += [_run_of_workers(SETUPS[name], console, restarts=False) for name in options.setup]
        runs += [_run_of_workers(SETUPS[name], console, restarts=True) for name in options.restarted]
    except (suite.SuiteFailed, services.ServerFailed, services.ServiceUnavailable) as error:
        console.print(str(error), markup=False)
        return 2
    _print(runs, console)
    return 0 if all(run.verdict.passed for run in runs) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--server", nargs="+", choices=SERVERS, help="with one process")
    parser.add_argument("--shell", nargs="+", choices=list(SHELLS), default=list(SHELLS))
    parser.add_argument("--setup", nargs="+", choices=list(SETUPS), help="with several workers")
    parser.add_argument("--restarted", nargs="+", choices=list(SETUPS), help="with workers that are restarted")
    options = parser.parse_args()
    if options.server is None and options.setup is None and options.restarted is None:
        options.server, options.setup, options.restarted = SERVERS, tuple(SETUPS), tuple(SETUPS)
    for name in ("server", "setup", "restarted"):
        setattr(options, name, getattr(options, name) or ())
    return options


def _stop(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _runs(server: str, shells: list[str], console: Console) -> Iterator[Run]:
    """Serve the demo project from new databases and run the suite against it, through each shell."""
    with tempfile.TemporaryDirectory(prefix="streamable_http-conformance-") as data:
        environment = {**UNSET, "DEMO_DATA_DIR": data}
        for alias in ("default", "log"):
            services.manage("migrate", "--verbosity=0", f"--database={alias}", environment=environment)
        logs = RESULTS / server
        logs.mkdir(parents=True)
        process = ServerProcess(APPLICATION, server=server, environment=environment, log=logs / "server.log")
        with services.serving(process):
            for shell in shells:
                with console.status(f"{server}, {shell}"):
                    yield _run(process, shell, logs / shell)


def _run(process: ServerProcess, shell: str, directory: Path) -> Run:
    started = time.monotonic()
    status = suite.run(process.url + SHELLS[shell], directory)
    seconds = time.monotonic() - started
    return Run(server=process.server, shell=shell, seconds=seconds, verdict=findings.judge(directory, status))


def _run_of_workers(setup: setups.Setup, console: Console, *, restarts: bool) -> Run:
    """Serve the demo project by several workers, and run the suite: as a whole, or with restarts in between."""
    name = f"{setup.name}, restarted" if restarts else setup.name
    logs = RESULTS / name.replace(", ", "-")
    logs.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        environment = {
            **UNSET,
            "DEMO_DATA_DIR": stack.enter_context(tempfile.TemporaryDirectory(prefix="streamable_http-conformance-")),
            "DATABASE_URL": stack.enter_context(services.database(stack.enter_context(services.postgres()))),
            "SERVED": str(logs / "served.txt"),
        }
        if setup.has_redis:
            environment["REDIS_URL"] = stack.enter_context(services.redis())
        services.manage("migrate", "--verbosity=0", environment=environment)
        process = ServerProcess(
            SERVED_APPLICATION,
            server="forked" if restarts else "uvicorn",
            workers=setup.workers,
            environment=environment,
            log=logs / "server.log",
        )
        stack.enter_context(services.serving(process))
        stack.enter_context(console.status(name))
        # Others come later than this: that the server answers was asked before.
        (logs / "served.txt").write_text("")
        run = _run_restarting if restarts else _run
        return _with_workers(run(process, "mount", logs / "mount"), name, setup, logs / "served.txt")


def _run_restarting(process: ServerProcess, shell: str, directory: Path) -> Run:
    """Run the suite scenario by scenario, each with workers that have served no other."""
    started = time.monotonic()
    status = 0
    for scenario in findings.DEMANDED:
        process.restart_workers()
        status = max(status, suite.run_scenario(process.url + SHELLS[shell], scenario, directory))
    seconds = time.monotonic() - started
    return Run(server=process.server, shell=shell, seconds=seconds, verdict=findings.judge(directory, status))


def _with_workers(run: Run, name: str, setup: setups.Setup, served: Path) -> Run:
    """Return a run with the processes that served it, which fails where these are too few."""
    workers = {line.split()[0] for line in served.read_text().splitlines() if SHELLS[run.shell] in line}
    fewest = len(findings.DEMANDED) + 1 if run.server == "forked" else setup.workers
    verdict = run.verdict.with_failure(findings.too_few_workers(len(workers), fewest))
    return replace(run, server=name, verdict=verdict, workers=len(workers))


def _print(runs: list[Run], console: Console) -> None:
    table = Table(title=f"Official conformance suite, {findings.REVISION}", title_justify="left")
    for name in ("server", "shell"):
        table.add_column(name)
    for name in ("workers", "required", *findings.UNSCORED, "seconds"):
        table.add_column(name.removeprefix("server-"), justify="right")
    table.add_column("verdict")
    for run in runs:
        table.add_row(*_cells(run))
    console.print(table)
    _print_problems(runs, console)
    passed = sum(run.verdict.count(findings.DEMANDED) for run in runs)
    failed = len(runs) * len(findings.DEMANDED) - passed + sum(bool(run.verdict.failure) for run in runs)
    console.print(f"conformance: {passed} passed, {failed} failed")


def _print_problems(runs: list[Run], console: Console) -> None:
    """Print each problem once, and where it was met."""
    places: dict[str, list[str]] = {}
    for run in runs:
        problems = run.verdict.problems
        lines = [f"{scenario}: {problem}" for scenario, found in problems.items() for problem in found]
        for line in [*lines, *filter(None, [run.verdict.failure])]:
            places.setdefault(line, []).append(f"{run.server} {run.shell}")
    for line, where in places.items():
        console.print(f"{line} [{'everywhere' if len(where) == len(runs) else ', '.join(where)}]", markup=False)


def _cells(run: Run) -> tuple[str, ...]:
    verdict = run.verdict
    return (
        run.server,
        run.shell,
        str(run.workers),
        f"{verdict.count(findings.REQUIRED)} of {len(findings.REQUIRED)}",
        *("FAILED" if verdict.problems[scenario] else "passed" for scenario in findings.UNSCORED),
        f"{run.seconds:.1f}",
        "ok" if verdict.passed else "FAILED",
    )


if __name__ == "__main__":
    sys.exit(main())
