"""Measure the admin and the API on a million events.

    python -m benchmarks.admin                          SQLite and PostgreSQL
    python -m benchmarks.admin --databases sqlite --events 100000

Each database is made, filled with what a busy month leaves (20,000 sessions, 100,000 calls, one session with a tenth
of all events), and asked for each page five times by a superuser, in one process, without a network: the time is the
server's. The memory is what the process has more behind the last of the five than behind the first. PostgreSQL is what
BENCH_DATABASE_URL names, or a server of our own. Plans of slow queries go to benchmarks/results.

The exit status is 1 if a page took longer than 300 ms (the median), or was not answered with 200.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from psycopg import conninfo
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks import databases, report

LIMIT_MS: Final = 300.0
RUNS: Final = 5


def url_of(database: str) -> str:
    """Return a database's URL as the demo project takes it."""
    if database.startswith("sqlite:"):
        return f"sqlite:///{database.removeprefix('sqlite:')}"
    parts = conninfo.conninfo_to_dict(database)
    user = quote(str(parts.get("user") or ""), safe="")
    password = f":{quote(str(parts['password']), safe='')}" if parts.get("password") else ""
    host = quote(str(parts.get("host") or ""), safe="")
    port = f":{parts['port']}" if parts.get("port") else ""
    return f"postgresql://{user}{password}@{host}{port}/{quote(str(parts['dbname']), safe='')}"


def measure(database: str, directory: Path, events: int) -> dict[str, Any]:
    """Fill a database and measure in a process of its own."""
    environment = {
        **os.environ,
        "DATABASE_URL": url_of(database),
        "DEMO_DATA_DIR": str(directory),
        "DJANGO_SETTINGS_MODULE": "demo_project.settings",
    }
    environment.pop("LOG_DATABASE_URL", None)
    command = [sys.executable, "-m", "benchmarks.screens", str(events), str(RUNS)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def is_bad(page: dict[str, Any]) -> bool:
    """Whether a page was too slow, or wrong."""
    return page["median_ms"] > LIMIT_MS or page["status"] != 200


def print_table(console: Console, name: str, measured: dict[str, Any]) -> None:
    """Print all pages, the slowest first, and the slow queries of those over the limit."""
    table = Table(
        title=f"{name}: filled in {measured['fill_seconds']:.0f} s; memory grew by {measured['grown_mib']:.0f} MiB "
        f"over all pages",
        title_justify="left",
    )
    table.add_column("page")
    for column in ("median ms", "worst ms", "CPU ms", "queries", "of it SQL", "KiB", "grown MiB", "status"):
        table.add_column(column, justify="right")
    for page in sorted(measured["pages"], key=lambda page: -page["median_ms"]):
        table.add_row(
            escape(page["title"]),
            f"{page['median_ms']:.0f}",
            f"{page['worst_ms']:.0f}",
            f"{statistics.median(page['cpu_ms']):.0f}",
            str(page["queries"]),
            f"{page['sql_ms']:.0f}",
            f"{page['size_bytes'] / 1024:.0f}",
            f"{page['grown_mib']:.1f}",
            str(page["status"]),
            style="bold red" if is_bad(page) else "",
        )
    console.print(table)
    for page in measured["pages"]:
        for query in page["slow"]:
            console.print(f"\n{page['title']}: {page['url']}: {query['ms']:.0f} ms", style="bold", markup=False)
            console.print(query["sql"][:1_500], markup=False, highlight=False)
            console.print("\n".join(query["plan"]), style="dim", markup=False, highlight=False)


def write(results: dict[str, Any]) -> Path:
    """Write everything to a file of its own and return its path."""
    report.RESULTS.mkdir(exist_ok=True)
    now = datetime.datetime.now(datetime.UTC)
    path = report.RESULTS / f"admin-{now:%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps({"environment": report.environment(), "databases": results}, indent=2) + "\n")
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = (databases.SQLITE, databases.POSTGRESQL)
    parser.add_argument("--databases", nargs="+", choices=kinds, default=list(kinds))
    parser.add_argument("--events", type=int, default=1_000_000)
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 140)
    results: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory(prefix="bench-admin-") as directory,
        databases.makers(options.databases, Path(directory)) as makers,
    ):
        for name, maker in makers.items():
            with maker.fresh() as database:
                results[name] = measure(database, Path(directory), options.events)
            print_table(console, name, results[name])
    console.print(f"written to {write(results)}", highlight=False)
    return int(any(is_bad(page) for measured in results.values() for page in measured["pages"]))


if __name__ == "__main__":
    sys.exit(main())
