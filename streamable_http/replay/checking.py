"""A recording as a regression test: recorded requests are sent elsewhere, and the answers are compared.

What varies by right is not compared: JSON-RPC ids, progress tokens, ``_meta``, ids of elicitations, and what the
caller says to ignore. Both sides are redacted, so that secrets are neither compared nor shown.
"""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from streamable_http import redaction
from streamable_http.replay import sending
from streamable_http.replay.recorded import Exchange, Message

VARYING: Final = frozenset(("_meta", "progressToken", "elicitationId"))
"""Members that differ from one run to the next, at any depth."""

MAX_DIFFERENCES: Final = 100
"""Named of one exchange."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


class Missing:
    """Stands for what is not there, which is not the same as null."""

    def __repr__(self) -> str:
        return "nothing"


MISSING: Final = Missing()


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where the answers are not the same."""

    path: str
    """Such as ``$.result.content[0].text``."""

    old: Any
    """As recorded; :data:`MISSING` where it was not there."""

    new: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one exchange."""

    exchange: Exchange
    messages: tuple[Message, ...] = ()
    """The answers of the target, redacted; the response last."""

    seconds: float = 0.0
    refusal: str = ""
    """Why the request was not sent; empty if it was."""

    is_unanswered: bool = False
    """Whether it was not sent because it was not answered then either: cancelled, lost, or still running."""

    is_compared: bool = False
    """Whether there was something recorded to compare with; without, an error is a difference all the same."""

    differences: tuple[Difference, ...] = ()

    @property
    def is_same(self) -> bool:
        """Whether nothing speaks against it; a request that could not be sent does."""
        return not self.refusal and not self.differences


def play(
    exchanges: Iterable[Exchange],
    target: sending.Target,
    *,
    compares: bool = False,
    is_strict: bool = False,
    ignored: Collection[str] = (),
) -> Iterator[Outcome]:
    """Send recorded requests, one after the other, to a target whose session is open.

    ``compares`` the answers with what was recorded; ``is_strict``: progress and log messages as well. ``ignored`` are
    paths, see :func:`ignores`.

    Raises:
        TargetFailed: the target cannot be talked to.
    """
    patterns = [ignores(pattern) for pattern in ignored]
    for exchange in exchanges:
        if exchange.refusal:
            yield Outcome(exchange=exchange, refusal=exchange.refusal)
            continue
        if compares and exchange.stream_id is not None and exchange.response is None:
            # It might run for ever, and there is nothing to compare.
            yield Outcome(exchange=exchange, is_unanswered=True)
            continue
        outcome = _send(exchange, target)
        if compares:
            found = _differences(exchange, outcome.messages, is_strict=is_strict)
            kept = [each for each in found if not any(pattern.fullmatch(each.path) for pattern in patterns)]
            outcome = dataclasses.replace(
                outcome,
                is_compared=exchange.response is not None,
                differences=tuple(kept[:MAX_DIFFERENCES]),
            )
        yield outcome


def ignores(pattern: str) -> re.Pattern[str]:
    """Return what fits the paths that a pattern stands for, and all below them.

    ``$.result.content[0].text`` is one place; ``*`` stands for one name or number, ``**`` for any. A pattern that does
    not begin with ``$`` is the end of a path: ``created_at`` fits every member of that name.
    """
    anchored = pattern if pattern.startswith("$") else f"**.{pattern}"
    parts = re.split(r"(\*\*|\*)", anchored)
    expression = "".join({"**": ".*", "*": r"[^.\[\]]*"}.get(part, re.escape(part)) for part in parts)
    return re.compile(rf"{expression}(?:[.\[].*)?", re.DOTALL)


def compare(old: Any, new: Any, path: str = "$") -> Iterator[Difference]:
    """Yield where two JSON values differ, but for what varies by right.

    Text that holds JSON on both sides is compared as such: tools often say the same twice.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(name for name in new if name not in old)]:
            if name not in VARYING:
                yield from compare(old.get(name, MISSING), new.get(name, MISSING), path + _member(name))
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            yield from compare(_item(old, index), _item(new, index), f"{path}[{index}]")
    elif isinstance(old, str) and isinstance(new, str):
        if old != new:
            yield from _compare_text(old, new, path)
    elif old is MISSING or new is MISSING or not _equals(old, new):
        yield Difference(path, old, new)


def _send(exchange: Exchange, target: sending.Target) -> Outcome:
    assert exchange.request is not None
    replies = iter(exchange.replies)
    begun_at = time.monotonic()
    # With the ids of then: digests of whole messages are only the same if the ids are.
    messages = target.call(exchange.request, lambda ask: next(replies, None) or sending.NO_REPLY)
    return Outcome(exchange=exchange, messages=tuple(map(_redacted, messages)), seconds=time.monotonic() - begun_at)


def _differences(exchange: Exchange, messages: tuple[Message, ...], *, is_strict: bool) -> list[Difference]:
    if exchange.response is None:
        # What was answered then is not known; it is taken to have been no error.
        return [Difference("$.error", MISSING, messages[-1]["error"])] if "error" in messages[-1] else []
    # The last one is the response, even where it is folded and bears a method.
    asks = [message for message in messages[:-1] if "id" in message]
    told = [message for message in messages[:-1] if "id" not in message]
    found = list(compare(_without_id(exchange.response), _without_id(messages[-1])))
    found += compare([*map(_without_id, exchange.asks)], [*map(_without_id, asks)], "$.asks")
    if is_strict:
        found += compare(list(exchange.notifications), told, "$.notifications")
    return found


def _redacted(message: Message) -> Message:
    return json.loads(redaction.redact_text(json.dumps(message, ensure_ascii=False, separators=(",", ":"))))  # type: ignore[no-any-return]


def _without_id(message: Message) -> Message:
    # Whether it says "2.0" is no matter of the answer, and a folded message has neither.
    return {name: value for name, value in message.items() if name not in ("id", "jsonrpc")}


def _compare_text(old: str, new: str, path: str) -> Iterator[Difference]:
    inside_old, inside_new = _container(old), _container(new)
    if inside_old is None or inside_new is None:
        yield Difference(path, old, new)
    else:
        yield from compare(inside_old, inside_new, path)


def _container(text: str) -> Any:
    if text[:1] not in ("{", "["):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _equals(old: Any, new: Any) -> bool:
    # In Python True is 1; in JSON 1 and 1.0 are the same number.
    return bool(old == new) and isinstance(old, bool) == isinstance(new, bool)


def _member(name: str) -> str:
    return f".{name}" if _NAME.fullmatch(name) else f"[{json.dumps(name, ensure_ascii=False)}]"


def _item(items: list[Any], index: int) -> Any:
    return items[index] if index < len(items) else MISSING
