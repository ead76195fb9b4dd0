"""The official suite, ``@modelcontextprotocol/conformance``, installed beside this file and run by Node."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from tests import node
from tests.conformance import findings

HERE: Final = Path(__file__).parent
PROGRAM: Final = Path("@modelcontextprotocol/conformance/dist/index.js")

TIMEOUT_SECONDS: Final = 300


class SuiteFailed(Exception):
    """The suite did not run to its end."""


def run(url: str, directory: Path) -> int:
    """Run the suite against a server, have its results in ``directory``, and return its exit status.

    What it prints is in ``output.txt`` there.

    Raises:
        ServiceUnavailable: the suite cannot be installed.
        SuiteFailed: it did not end in time.
    """
    return _run(["--url", url, "--requirements", findings.REVISION], directory)


def run_scenario(url: str, scenario: str, directory: Path) -> int:
    """Run one scenario, as :func:`run` does all of them; its results join those that are there already."""
    return _run(["--url", url, "--scenario", scenario, "--spec-version", findings.REVISION, "--force"], directory)


def _run(arguments: list[str], directory: Path) -> int:
    program = node.npm_install(HERE) / PROGRAM
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "output.txt").open("ab") as output:
        try:
            done = subprocess.run(
                [node.node_path(), program, "server", *arguments, "--output-dir", str(directory)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=node.environment(),
                check=False,
                timeout=TIMEOUT_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise SuiteFailed(f"the suite did not end within {TIMEOUT_SECONDS} s; see {output.name}") from None
    return done.returncode
