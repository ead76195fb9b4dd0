"""``manage.py mcp_doctor``: what is wrong with the set-up, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from django.core.management.base import CommandParser

from streamable_http.management import base, diagnosis, probing, targets
from streamable_http.management.findings import Finding, Verdict
from streamable_http.management.output import Styled

STYLES: Final = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.FAILED: "bold red"}


class Command(base.Command):
    """Looks at everything that has to fit together."""

    help = (
        "Look at settings, database, cache, channel layer and workers, and with --url at the endpoint as clients see "
        "it, through whatever proxies stand before it. Ends with 1 if something failed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add where the endpoint is."""
        super().add_arguments(parser)
        parser.add_argument("--url", help="the endpoint's public URL, such as https://example.com/mcp")
        parser.add_argument(
            "--quick", action="store_true", help="do not wait for the keep-alive comment of a silent stream"
        )
        targets.add_arguments(parser)

    def run(self, options: dict[str, Any]) -> None:
        """Print each finding, and fail if one did."""
        found: list[Finding] = []
        headers = targets.headers(options)
        with self.progress("looking"):
            for finding in _findings(options, headers):
                found.append(finding)
                if not self.output.is_json:
                    self._show(finding)
        counts = {verdict.value: sum(each.verdict is verdict for each in found) for verdict in Verdict}
        if self.output.is_json:
            self.output.json({"counts": counts, "findings": found})
        else:
            self.output.line(", ".join(f"{number} {verdict}" for verdict, number in counts.items()))
        if counts[Verdict.FAILED]:
            raise base.Failed(f"{counts[Verdict.FAILED]} of {len(found)} findings failed")

    def _show(self, finding: Finding) -> None:
        verdict = Styled(f"{finding.verdict.value:<8}", STYLES[finding.verdict])
        self.output.pieces(verdict, f" {finding.about}: {finding.what}")
        if finding.hint:
            self.output.line(finding.hint, indent=9)
        self.output.flush()


def _findings(options: dict[str, Any], headers: dict[str, str]) -> Iterator[Finding]:
    yield from diagnosis.examine()
    if options["url"]:
        yield from probing.probe(options["url"], headers, waits_for_keep_alive=not options["quick"])
