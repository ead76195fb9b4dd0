"""URI templates: which URIs a resource with variables answers to, and what stands in them.

Of RFC 6570 there are ``{name}``, which is one segment, and ``{+path}``, which may have slashes. Matching takes time in
proportion to the URI's length, whatever the URI.
"""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass
from typing import Final

MAX_URI_CHARACTERS: Final = 8192
"""Longer ones match nothing."""

_EXPRESSION: Final = re.compile(r"\{([^{}]*)\}")
_VARIABLE: Final = re.compile(r"(\+?)([A-Za-z_][A-Za-z0-9_]*)", re.ASCII)

_ABSOLUTE: Final = re.compile(r"/|[A-Za-z]:")
"""How a path begins that is not below the place that it is joined to: the root, another host, a drive."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A part of a URI that varies."""

    name: str
    has_slashes: bool
    """``{+name}``: it may be several segments."""


@dataclass(frozen=True, slots=True)
class Template:
    """A URI template, taken apart."""

    text: str
    prefix: str
    """What stands before the first variable."""

    steps: tuple[tuple[Variable, str], ...]
    """Each variable, and what stands behind it."""

    @property
    def names(self) -> tuple[str, ...]:
        """The variables' names."""
        return tuple(variable.name for variable, _ in self.steps)

    def match(self, uri: str) -> dict[str, str] | None:
        """Return the variables of a URI, percent-decoded; ``None`` if it is not one of these."""
        if len(uri) > MAX_URI_CHARACTERS or not uri.startswith(self.prefix):
            return None
        values: dict[str, str] = {}
        at = len(self.prefix)
        for step, (variable, literal) in enumerate(self.steps, 1):
            end = _end(uri, at, literal, is_last=step == len(self.steps))
            value = None if end is None else _value(uri[at:end], variable)
            if end is None or value is None:
                return None
            values[variable.name] = value
            at = end + len(literal)
        return values


def is_template(uri: str) -> bool:
    """Whether there is a variable in it."""
    return "{" in uri or "}" in uri


def parse(text: str, *, label: str) -> Template:
    """Take a template apart.

    Raises:
        ValueError: it has something other than ``{name}`` and ``{+path}``, or its variables cannot be told apart.
    """
    prefix, *rest = _EXPRESSION.split(text)
    literals = rest[1::2]
    if any(brace in literal for literal in (prefix, *literals) for brace in "{}"):
        raise ValueError(f"{label}: a brace without its other half")
    if any(not literal for literal in literals[:-1]):
        raise ValueError(f"{label}: two variables without a character between them cannot be told apart")
    variables = [_variable(expression, label) for expression in rest[::2]]
    names = [variable.name for variable in variables]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{label}: the variable '{name}' stands in it twice")
    return Template(text, prefix, tuple(zip(variables, literals, strict=True)))


def _variable(expression: str, label: str) -> Variable:
    found = _VARIABLE.fullmatch(expression)
    if found is None:
        raise ValueError(
            f"{label}: '{{{expression}}}' is not supported; use {{name}} for one segment, or {{+name}} for several, "
            "with a name that a parameter can have"
        )
    return Variable(found[2], bool(found[1]))


def _end(uri: str, at: int, literal: str, *, is_last: bool) -> int | None:
    """Return where a variable that begins ``at`` ends: before what stands behind it, and never empty."""
    if not is_last:
        end = uri.find(literal, at + 1)
        return None if end < 0 else end
    end = len(uri) - len(literal)
    return end if end > at and uri.endswith(literal) else None


def _value(raw: str, variable: Variable) -> str | None:
    """Decode a variable; ``None`` where it could lead out of its place in the URI.

    Servers MUST validate all resource URIs (2025-11-25, Resources, Security Considerations).
    """
    try:
        value = urllib.parse.unquote(raw, errors="strict")
    except UnicodeDecodeError:
        return None
    if not _is_safe(raw, variable):
        return None
    # Whoever decodes it once more must not find anything there, either.
    decoded = raw
    for _ in range(MAX_DECODINGS):
        again = urllib.parse.unquote(decoded)
        if again == decoded:
            return value
        if not _is_safe(again, variable):
            return None
        decoded = again
    return None


MAX_DECODINGS: Final = 4
"""What is encoded more often means no good."""


def _is_safe(value: str, variable: Variable) -> bool:
    if "\0" in value or "\\" in value:
        return False
    if variable.has_slashes and _ABSOLUTE.match(value):
        return False
    if not variable.has_slashes and "/" in value:
        return False
    return not any(segment in (".", "..") for segment in value.split("/"))
