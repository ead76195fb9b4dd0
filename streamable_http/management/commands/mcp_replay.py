"""``manage.py mcp_replay STREAM``: see a stream again, or ask another server the same and compare."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any, Final

from django.core.management.base import CommandParser

from streamable_http import models, replay
from streamable_http.management import base, entries, finding, numbers, output, sessions, targets
from streamable_http.management.output import Styled
from streamable_http.protocol import revisions
from streamable_http.replay import checking, messages, paging, recorded, sending

ONLY_WITH_TARGET: Final = ("check", "strict", "ignore", "headers", "token_env")


class Command(base.Command):
    """Plays a recording, here or against another server."""

    help = (
        "Print the messages of a stream or a session again, at their own pace. With --target, send its requests to "
        "another server instead; with --check, compare the answers."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the recording, its pace, and where to."""
        super().add_arguments(parser)
        parser.add_argument("stream", metavar="STREAM", help="id of a stream or session, or its first digits")
        parser.add_argument(
            "--speed",
            type=numbers.speed,
            help="10 is ten times as fast, 0 at once; by default 1 at a terminal, else 0",
        )
        parser.add_argument(
            "--from", type=numbers.positive, dest="first", metavar="SEQUENCE", help="begin at this event of the stream"
        )
        parser.add_argument("--target", metavar="URL", help="MCP endpoint to send the recorded requests to")
        parser.add_argument("--check", action="store_true", help="compare the answers with the recorded ones")
        parser.add_argument(
            "--strict",
            action="store_true",
            help="compare progress and log messages as well, and fail on what cannot be compared",
        )
        parser.add_argument(
            "--ignore",
            action="append",
            default=[],
            metavar="PATH",
            help="do not compare this, such as created_at or '$.result.content[*].text'; may be given several times",
        )
        parser.add_argument(
            "--timeout",
            type=numbers.positive,
            default=int(sending.TIMEOUT_SECONDS),
            metavar="SECONDS",
            help="how long one request may take",
        )
        targets.add_arguments(parser)

    def run(self, options: dict[str, Any]) -> None:
        """Play it."""
        chosen = finding.session_or_stream(options["stream"])
        if options["target"]:
            if options["first"] or options["speed"] is not None:
                raise base.Usage("--from and --speed are for printing, not for --target")
            self._send(chosen, options)
            return
        if any(options[name] for name in ONLY_WITH_TARGET):
            raise base.Usage("--check, --strict, --ignore, --header and --token-env need --target")
        if options["first"] and isinstance(chosen, models.Session):
            raise base.Usage("--from is for a single stream, and this is a session")
        self._print(chosen, options)

    # Printing

    def _print(self, chosen: models.Session | models.Stream, options: dict[str, Any]) -> None:
        if isinstance(chosen, models.Session):
            pages = paging.of_session(chosen.pk, with_payloads=True)
        else:
            pages = paging.of_stream(chosen.pk, (options["first"] or 1) - 1, with_payloads=True)
        speed = options["speed"]
        if speed is None:
            speed = 1.0 if self.output.is_terminal else 0.0
        for pause_seconds, entry in replay.paced(itertools.chain.from_iterable(pages), speed):
            time.sleep(pause_seconds)
            entries.show(self.output, entry, has_payloads=True)

    # Sending

    def _send(self, chosen: models.Session | models.Stream, options: dict[str, Any]) -> None:
        session = chosen if isinstance(chosen, models.Session) else chosen.session
        try:
            with sending.Target(
                options["target"], headers=targets.headers(options), timeout_seconds=options["timeout"]
            ) as target:
                with self.progress(f"connecting to {target.shown_url}"):
                    _open(target, session)
                if session is not None and target.revision != session.revision:
                    self.warn(
                        f"warning: {target.shown_url} speaks {target.revision}, and the recording {session.revision}"
                    )
                outcomes = checking.play(
                    _exchanges(chosen),
                    target,
                    compares=options["check"],
                    is_strict=options["strict"],
                    ignored=options["ignore"],
                )
                totals = self._report(outcomes, is_check=options["check"])
        except sending.TargetFailed as error:
            raise base.Failed(str(error)) from error
        self._conclude(totals, is_check=options["check"], is_strict=options["strict"])

    def _report(self, outcomes: Iterator[checking.Outcome], *, is_check: bool) -> Totals:
        totals = Totals()
        with self.progress("sending") as progress:
            for outcome in outcomes:
                totals.add(outcome)
                progress.say(f"sent {totals.sent}")
                if self.output.is_json:
                    self.output.json_line(outcome_json(outcome))
                else:
                    self._show(outcome, is_check=is_check)
        return totals

    def _show(self, outcome: checking.Outcome, *, is_check: bool) -> None:
        exchange = outcome.exchange
        what = f"{_id(exchange)} {exchange.method} {exchange.name}".strip()
        if outcome.refusal:
            self.output.line(Styled(f"skipped   {what}: {outcome.refusal}", "yellow"))
        elif outcome.is_unanswered:
            self.output.line(f"unsent    {what}: it was not answered then either, so there is nothing to compare")
        elif not is_check:
            self.output.line(f"sent      {what} ({outcome.seconds * 1_000:,.1f} ms)")
            for message in outcome.messages:
                for line in messages.pretty(output.json_text(message)).split("\n"):
                    self.output.line(line, indent=10)
        elif outcome.is_same and not outcome.is_compared:
            self.output.line(f"sent      {what}: no answer was recorded to compare with")
        elif outcome.is_same:
            self.output.line(Styled(f"same      {what}", "green"))
        else:
            self.output.line(Styled(f"differs   {what}", "red"))
            for difference in outcome.differences:
                self.output.line(difference.path, indent=10)
                self.output.line(f"- {_shown(difference.old)}", indent=12)
                self.output.line(f"+ {_shown(difference.new)}", indent=12)
        self.output.flush()

    def _conclude(self, totals: Totals, *, is_check: bool, is_strict: bool) -> None:
        if self.output.is_json:
            self.output.json_line({"type": "summary", **vars(totals)})
        # A session of which little was compared must not pass for one that is the same.
        rest = f"{totals.uncompared} not compared, {totals.unanswered} unanswered then"
        is_partial = bool(totals.uncompared or totals.unanswered)
        if is_check and (totals.different or totals.skipped or not totals.compared or (is_strict and is_partial)):
            raise base.Differs(
                f"{totals.different} of {totals.sent} answers differ, {totals.skipped} requests could not be sent, "
                f"{rest}"
            )
        if not self.output.is_json:
            compared = f", {totals.compared} answers compared, all the same, {rest}" if is_check else ""
            self.output.line(f"{totals.sent} requests sent{compared}, {totals.skipped} skipped")


class Totals:
    """What came of all exchanges."""

    def __init__(self) -> None:
        self.sent = 0
        self.skipped = 0
        self.unanswered = 0
        self.uncompared = 0
        self.compared = 0
        self.different = 0

    def add(self, outcome: checking.Outcome) -> None:
        """Count one."""
        self.sent += not (outcome.refusal or outcome.is_unanswered)
        self.unanswered += outcome.is_unanswered
        self.skipped += bool(outcome.refusal)
        self.uncompared += not (outcome.refusal or outcome.is_unanswered or outcome.is_compared)
        self.compared += outcome.is_compared
        self.different += bool(outcome.differences)


def outcome_json(outcome: checking.Outcome) -> dict[str, Any]:
    """Return what came of an exchange."""
    return {
        "type": "exchange",
        "stream": _id(outcome.exchange) or None,
        "method": outcome.exchange.method,
        "name": outcome.exchange.name,
        "skipped": outcome.refusal or None,
        "is_unanswered": outcome.is_unanswered,
        "is_compared": outcome.is_compared,
        "is_same": outcome.is_same,
        "seconds": round(outcome.seconds, 6),
        "differences": [_difference_json(difference) for difference in outcome.differences],
        "messages": list(outcome.messages),
    }


def _difference_json(difference: checking.Difference) -> dict[str, Any]:
    sides = {"old": difference.old, "new": difference.new}
    return {"path": difference.path, **{name: side for name, side in sides.items() if side is not checking.MISSING}}


def _open(target: sending.Target, session: models.Session | None) -> None:
    if session is None:
        target.open()
        return
    params = {
        "clientInfo": sessions.loaded(session.client_info) or sending.CLIENT_INFO,
        "capabilities": sessions.loaded(session.capabilities),
    }
    target.open(revision=session.revision or revisions.OFFERED, params=params)


def _exchanges(chosen: models.Session | models.Stream) -> Iterator[recorded.Exchange]:
    if isinstance(chosen, models.Session):
        return recorded.of_session(chosen.pk)
    return iter([recorded.of_stream(chosen.pk)])


def _id(exchange: recorded.Exchange) -> str:
    return "" if exchange.stream_id is None else f"{exchange.stream_id:x}"


def _shown(value: Any) -> str:
    return repr(value) if value is checking.MISSING else output.json_text(value)
