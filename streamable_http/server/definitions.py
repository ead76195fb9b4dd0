"""What lists show of each thing: the parts that tools, resources and prompts have in common."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import mcp_types
import pydantic

from streamable_http.protocol import jsonrpc
from streamable_http.server import features, problems

Annotated = TypeVar("Annotated", bound=pydantic.BaseModel)

IconLike = mcp_types.Icon | dict[str, Any]

ABSENT: Final[tuple[Any, ...]] = (None, "", [], {})
"""What a definition leaves out."""


def make(having: features.Features, members: dict[str, Any]) -> dict[str, Any]:
    """Return a definition: of these members what is there, and what the revision knows."""
    return {
        name: value
        for name, value in members.items()
        if value not in ABSENT and name not in having.absent_definition_members
    }


def dump(model: pydantic.BaseModel, having: features.Features) -> dict[str, Any]:
    """Return annotations as a definition has them."""
    dumped = model.model_dump(by_alias=True, exclude_none=True)
    return {name: value for name, value in dumped.items() if name not in having.absent_members}


def name_of(function: Callable[..., Any], name: str | None) -> str:
    """Return the name given, or the function's own."""
    return name if name is not None else getattr(function, "__name__", type(function).__name__)


def icons(given: Sequence[IconLike] | None, *, label: str) -> list[dict[str, Any]]:
    """Return icons as they go on the wire.

    Raises:
        ValueError: one of them is malformed.
    """
    try:
        models = [mcp_types.Icon.model_validate(icon) for icon in given or ()]
    except pydantic.ValidationError as error:
        raise ValueError(f"{label}: invalid icon: {problems.describe(error)}") from None
    return [model.model_dump(by_alias=True, exclude_none=True) for model in models]


def json_object(given: dict[str, Any] | None, *, label: str, what: str) -> dict[str, Any] | None:
    """Return a copy of an object that goes on the wire as it is.

    Raises:
        ValueError: it has no JSON form.
    """
    if given is None:
        return None
    if not isinstance(given, dict):
        raise ValueError(f"{label}: {what} must be a dict, not {type(given).__name__}")
    try:
        jsonrpc.dumps(given)
    except TypeError as error:
        raise ValueError(f"{label}: {what} cannot be written as JSON: {error}") from None
    return copy.deepcopy(given)


def read_annotations(model: type[Annotated], given: dict[str, Any] | Annotated | None, *, label: str) -> Annotated:
    """Read annotations, given as the protocol's own object or as a dict with the names on the wire.

    Raises:
        ValueError: one is unknown, or has a wrong value.
    """
    if isinstance(given, model):
        return given
    known = [str(field.alias or field.serialization_alias or name) for name, field in model.model_fields.items()]
    for key in given or ():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(known)}"
            raise ValueError(f"{label}: unknown annotation '{key}'; {hint}")
    try:
        return model.model_validate(given or {}, strict=True)
    except pydantic.ValidationError as error:
        raise ValueError(f"{label}: invalid annotations: {problems.describe(error)}") from None
