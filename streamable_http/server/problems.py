"""What pydantic found wrong, in sentences for a model or a person to read."""

from __future__ import annotations

import json
from typing import Any, Final

import pydantic

MAX_PROBLEMS: Final = 10
"""How many problems a text lists."""

MAX_SHOWN_CHARACTERS: Final = 60
"""Longest part of a wrong value, or of a path to it, that a text repeats."""

MAX_MESSAGE_CHARACTERS: Final = 200

PROBLEMS: Final = {
    "missing": "is required",
    "extra_forbidden": "is not known here; leave it out",
}
"""Sentences of ours for pydantic's error types; the others are fine as they are."""

CONTAINERS: Final[dict[type, str]] = {dict: "an object", list: "a list"}


def describe(error: pydantic.ValidationError) -> str:
    """Return what is wrong, for a model or a person to read: one sentence for each problem."""
    problems = error.errors(include_url=False, include_context=False)
    sentences = [_sentence(problem) for problem in problems[:MAX_PROBLEMS]]
    if len(problems) > MAX_PROBLEMS:
        sentences.append(f"and {len(problems) - MAX_PROBLEMS} more problems")
    return "; ".join(sentences)


def shorten(text: str, limit: int) -> str:
    """Cut a text, and show that it was cut."""
    return text if len(text) <= limit else f"{text[:limit]}…"


def _sentence(problem: Any) -> str:
    path = shorten(".".join(str(part) for part in problem["loc"]), MAX_SHOWN_CHARACTERS)
    words = PROBLEMS.get(problem["type"])
    if words is None:
        message = shorten(problem["msg"], MAX_MESSAGE_CHARACTERS)
        words = f"{message[:1].lower()}{message[1:]} (got {_shown(problem['input'])})"
    return f"{path}: {words}" if path else words


def _shown(value: Any) -> str:
    if isinstance(value, str):
        # Cut first: the value may be megabytes.
        return json.dumps(shorten(value, MAX_SHOWN_CHARACTERS), ensure_ascii=False)
    if value is None or isinstance(value, bool | int | float):
        return shorten(json.dumps(value), MAX_SHOWN_CHARACTERS)
    return CONTAINERS.get(type(value), f"a {type(value).__name__}")
