"""What the suite found, read from the files that it writes, against what must be there.

Its exit status says less: it counts neither warnings nor what did not run, and of what is not scored, nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

REVISION: Final = "2025-11-25"

REQUIRED: Final = (
    "server-initialize",
    "logging-set-level",
    "ping",
    "completion-complete",
    "tools-list",
    "tools-call-simple-text",
    "tools-call-image",
    "tools-call-audio",
    "tools-call-embedded-resource",
    "tools-call-mixed-content",
    "tools-call-with-logging",
    "tools-call-error",
    "tools-call-with-progress",
    "tools-call-sampling",
    "tools-call-elicitation",
    "elicitation-sep1034-defaults",
    "server-sse-multiple-streams",
    "elicitation-sep1330-enums",
    "resources-list",
    "resources-read-text",
    "resources-read-binary",
    "resources-templates-read",
    "resources-subscribe",
    "resources-unsubscribe",
    "prompts-list",
    "prompts-get-simple",
    "prompts-get-with-args",
    "prompts-get-embedded-resource",
    "prompts-get-with-image",
    "dns-rebinding-protection",
)
"""What the revision requires of a server (the suite's ``requirements/2025-11-25.yaml``)."""

UNSCORED: Final = ("server-session-lifecycle", "server-sse-polling", "json-schema-2020-12")
"""What it runs without scoring it, and we demand all the same."""

DEMANDED: Final = REQUIRED + UNSCORED

PROOFS: Final[Mapping[str, tuple[str, ...]]] = {
    "server-session-lifecycle": (
        "server-session-initialized-accepted",
        "server-session-delete-accepted",
        "server-session-terminated-returns-404",
    ),
    "server-sse-polling": ("server-sse-priming-event", "server-sse-retry-field", "server-sse-disconnect-resume"),
    "json-schema-2020-12": (
        "json-schema-2020-12-tool-found",
        "json-schema-2020-12-$schema",
        "json-schema-2020-12-$defs",
        "json-schema-2020-12-additionalProperties",
    ),
}
"""Checks that must have passed: in these scenarios the suite passes over what a server need not have."""

FILE: Final = "checks.json"
DIRECTORY: Final = re.compile(r"server-(?P<scenario>.+)-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-\d+Z")

PASSED: Final = "SUCCESS"
HARMLESS: Final = (PASSED, "INFO", "SKIPPED")
"""Everything else counts against us: failures, warnings, and what nobody here knows."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that the suite looked at."""

    id: str
    status: str
    message: str
    """What was wrong; empty if nothing was."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one run of the suite came to."""

    problems: Mapping[str, Sequence[str]]
    """Of every scenario that we demand; empty where it passed."""

    failure: str = ""
    """What was wrong with the run as a whole; empty if nothing was."""

    @property
    def passed(self) -> bool:
        """Whether all is as it must be."""
        return not self.failure and not any(self.problems.values())

    def count(self, scenarios: Sequence[str]) -> int:
        """Return how many of these passed."""
        return sum(not self.problems[scenario] for scenario in scenarios)

    def with_failure(self, failure: str) -> Verdict:
        """Return it with something else that was wrong with the run; an empty text adds nothing."""
        return Verdict(self.problems, "; ".join(filter(None, (self.failure, failure))))


def judge(directory: Path, status: int) -> Verdict:
    """Judge a run by what it wrote into a directory of its own, and by its exit status."""
    try:
        found, failure = read(directory), ""
    except ValueError as error:
        found, failure = {}, str(error)
    verdict = Verdict({scenario: problems(found, scenario) for scenario in DEMANDED}, failure)
    if verdict.passed and status != 0:
        return Verdict(
            verdict.problems, f"the suite ended with status {status}, though nothing that it wrote says why"
        )
    return verdict


def too_few_workers(served: int, fewest: int) -> str:
    """Return what is wrong where too few processes have served; empty where enough have."""
    return "" if served >= fewest else f"{served} workers have served, and it should be {fewest} at least"


def read(directory: Path) -> dict[str, list[Check]]:
    """Return the checks of every scenario that has written its results.

    Raises:
        ValueError: a file is not what the suite writes.
    """
    return {_scenario(path): _checks(path) for path in sorted(directory.glob(f"*/{FILE}"))}


def problems(found: Mapping[str, Sequence[Check]], scenario: str) -> list[str]:
    """Return what stands between a scenario and its passing, in sentences."""
    checks = found.get(scenario, ())
    if not any(check.status == PASSED for check in checks):
        nothing = ["no check passed" if checks else "did not run"]
    else:
        nothing = []
    passed = {check.id for check in checks if check.status == PASSED}
    wrong = [f"{check.id}: {check.status}: {check.message}" for check in checks if check.status not in HARMLESS]
    unproven = [f"{proof}: was not checked" for proof in PROOFS.get(scenario, ()) if proof not in passed]
    return nothing + wrong + ([] if wrong else unproven)


def _scenario(path: Path) -> str:
    match = DIRECTORY.fullmatch(path.parent.name)
    if match is None:
        raise ValueError(f"{path}: the directory is not named as the suite names them")
    return match["scenario"]


def _checks(path: Path) -> list[Check]:
    try:
        return [_check(entry) for entry in json.loads(path.read_text())]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: not a list of checks: {error!r}") from error


def _check(entry: dict[str, Any]) -> Check:
    return Check(entry["id"], entry["status"], entry.get("errorMessage", ""))
