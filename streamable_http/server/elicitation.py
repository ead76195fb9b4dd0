"""Forms: what may be asked of a user through the client, and what comes back.

A form is a flat object of primitive members (2025-11-25, Elicitation, Requested Schema).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar

import pydantic

from streamable_http import exceptions
from streamable_http.server import features, problems, schemas

METHOD: Final = "elicitation/create"

Data = TypeVar("Data")
Model = TypeVar("Model", bound=pydantic.BaseModel)

ACTIONS: Final = ("accept", "decline", "cancel")

_ANY: Final = ("type", "title", "description", "default")

MEMBERS: Final[dict[Any, tuple[str, ...]]] = {
    "string": (*_ANY, "minLength", "maxLength", "pattern", "format", "enum", "enumNames", "oneOf"),
    "number": (*_ANY, "minimum", "maximum"),
    "integer": (*_ANY, "minimum", "maximum"),
    "boolean": _ANY,
    "array": (*_ANY, "minItems", "maxItems", "items"),
}
"""What a form's schema may say about each type; the rest is checked when the answer is here."""

FORMATS: Final = ("email", "uri", "date", "date-time")

TYPES: Final[dict[str, type | tuple[type, ...]]] = {
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
    "array": list,
}

ALLOWED: Final = "strings, numbers, booleans, choices of strings, and lists of such choices"


@dataclass(frozen=True, slots=True)
class ElicitResult(Generic[Data]):
    """What the user did with a form."""

    action: Literal["accept", "decline", "cancel"]
    """``decline`` is a no; ``cancel`` is no decision."""

    data: Data | None
    """What was filled in, validated; ``None`` unless the action is ``accept``."""


def params(
    message: str,
    schema: type[pydantic.BaseModel] | dict[str, Any],
    having: features.Features,
    client_capabilities: dict[str, Any] | None,
) -> dict[str, Any]:
    """Return the parameters of the ask.

    Raises:
        AskRefused: the revision or the client has no forms, or not such ones.
        TypeError: the schema is not flat.
    """
    _require_form_mode(having, client_capabilities)
    return {"message": message, "requestedSchema": _adapted(requested_schema(schema), having)}


def requested_schema(schema: type[pydantic.BaseModel] | dict[str, Any]) -> dict[str, Any]:
    """Return a form's schema in the restricted form.

    Optional members are ones that may be left out, and what a form cannot say (``multipleOf``, other formats)
    is left out, too.

    Raises:
        TypeError: a member is an object, a list of anything but choices, or no primitive.
    """
    name = "the form" if isinstance(schema, dict) else schema.__name__
    full = schema if isinstance(schema, dict) else schemas.of_model(schema)
    properties = full.get("properties")
    if full.get("type") != "object" or not isinstance(properties, dict):
        raise TypeError(f"{name} must describe an object with properties, each one of: {ALLOWED}")
    definitions = full.get("$defs", {})
    fields = {key: _field(value, definitions, f"{name}.{key}") for key, value in properties.items()}
    form: dict[str, Any] = {"type": "object", "properties": fields}
    return {**form, "required": full["required"]} if full.get("required") else form


def read(result: dict[str, Any], schema: type[pydantic.BaseModel] | dict[str, Any]) -> ElicitResult[Any]:
    """Read the client's result.

    Raises:
        AskError: it is no such result, or its content does not fit the form.
    """
    action = result.get("action")
    if action not in ACTIONS:
        raise exceptions.AskError("the client answered a form with an unknown action")
    if action != "accept":
        return ElicitResult(action, None)
    content = result.get("content") or {}
    if isinstance(schema, dict):
        return ElicitResult(action, _checked(content, requested_schema(schema)))
    try:
        return ElicitResult(action, schema.model_validate(content))
    except pydantic.ValidationError as error:
        raise exceptions.AskError(f"the answer does not fit the form: {problems.describe(error)}") from None


def _require_form_mode(having: features.Features, client_capabilities: dict[str, Any] | None) -> None:
    if not having.elicitation:
        raise exceptions.AskRefused("the client cannot be asked: its protocol revision has no elicitation")
    if client_capabilities is None:
        # Without a session the client never said what it can; the outlet knows whether it can be asked.
        return
    capability = client_capabilities.get("elicitation")
    if not isinstance(capability, dict):
        raise exceptions.AskRefused("the client cannot be asked: it does not support elicitation")
    # An empty object means form mode (2025-11-25, Elicitation, Capabilities).
    if having.elicitation_modes and capability and "form" not in capability:
        raise exceptions.AskRefused("the client cannot be asked: it does not support forms")


def _field(schema: Any, definitions: dict[str, Any], where: str) -> dict[str, Any]:
    schema = _without_null(_resolved(schema, definitions, where), definitions, where)
    kind = schema.get("type")
    if kind not in MEMBERS:
        raise TypeError(f"{where} cannot stand in a form; a form has only {ALLOWED}")
    if kind == "integer" and "exclusiveMinimum" in schema:
        schema.setdefault("minimum", int(schema["exclusiveMinimum"]) + 1)
    if kind == "integer" and "exclusiveMaximum" in schema:
        schema.setdefault("maximum", int(schema["exclusiveMaximum"]) - 1)
    NARROWINGS.get(kind, _keep)(schema, definitions, where)
    return {member: schema[member] for member in MEMBERS[kind] if member in schema}


def _resolved(schema: Any, definitions: dict[str, Any], where: str) -> dict[str, Any]:
    """Return a copy without a reference at its top."""
    if not isinstance(schema, dict):
        raise TypeError(f"{where} must be a JSON schema object")
    reference = schema.get("$ref")
    if reference is None:
        return dict(schema)
    # What stands beside the reference is about this member: it wins.
    return {**definitions.get(str(reference).removeprefix("#/$defs/"), {}), **schema}


def _without_null(schema: dict[str, Any], definitions: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the one other choice of an optional member; forms leave members out and have no null."""
    choices = schema.get("anyOf")
    if not isinstance(choices, list):
        return schema
    others = [choice for choice in choices if choice != {"type": "null"}]
    if len(others) != 1:
        raise TypeError(f"{where} is a union, and a member of a form has one type")
    merged = {**_resolved(others[0], definitions, where), **schema}
    return {key: value for key, value in merged.items() if key != "default" or value is not None}


def _narrow_string(schema: dict[str, Any], definitions: dict[str, Any], where: str) -> None:
    if "const" in schema:
        schema["enum"] = [schema["const"]]
    if schema.get("format") not in FORMATS:
        schema.pop("format", None)


def _narrow_array(schema: dict[str, Any], definitions: dict[str, Any], where: str) -> None:
    items = _resolved(schema.get("items", {}), definitions, where)
    if "const" in items:
        items["enum"] = [items["const"]]
    if "enum" in items and items.get("type") == "string":
        schema["items"] = {"type": "string", "enum": items["enum"]}
    elif "anyOf" in items and all("const" in choice and "title" in choice for choice in items["anyOf"]):
        schema["items"] = {"anyOf": items["anyOf"]}
    else:
        raise TypeError(f"{where} is a list, and lists in a form hold choices of strings; use a Literal or an Enum")


def _narrow_number(schema: dict[str, Any], definitions: dict[str, Any], where: str) -> None:
    if "enum" in schema or "const" in schema:
        raise TypeError(f"{where} is a choice of numbers, and choices in a form are strings")


def _keep(schema: dict[str, Any], definitions: dict[str, Any], where: str) -> None:
    return


NARROWINGS: Final[dict[str, Callable[[dict[str, Any], dict[str, Any], str], None]]] = {
    "string": _narrow_string,
    "array": _narrow_array,
    "integer": _narrow_number,
    "number": _narrow_number,
}


def _adapted(form: dict[str, Any], having: features.Features) -> dict[str, Any]:
    if having.rich_forms:
        return form
    return {**form, "properties": {key: _poor(key, value) for key, value in form["properties"].items()}}


def _poor(name: str, field: dict[str, Any]) -> dict[str, Any]:
    """Return a member as revisions without rich forms have it."""
    if field["type"] == "array":
        raise exceptions.AskRefused(
            f"the client cannot be asked for '{name}': forms of its protocol revision have no lists"
        )
    absent = ("oneOf",) if field["type"] == "boolean" else ("oneOf", "default", "pattern")
    poor = {key: value for key, value in field.items() if key not in absent}
    if "oneOf" in field:
        poor["enum"] = [choice["const"] for choice in field["oneOf"]]
        poor["enumNames"] = [choice["title"] for choice in field["oneOf"]]
    return poor


def _checked(content: Any, form: dict[str, Any]) -> dict[str, Any]:
    """Check an answer to a form that has no model: names, types and choices."""
    if not isinstance(content, dict):
        raise exceptions.AskError("the answer does not fit the form: it is no object")
    for name in form.get("required", ()):
        if name not in content:
            raise exceptions.AskError(f"the answer does not fit the form: {name}: is required")
    for name, value in content.items():
        field = form["properties"].get(name)
        if field is None or not _fits(value, field):
            shown = problems.shorten(name, problems.MAX_SHOWN_CHARACTERS)
            raise exceptions.AskError(f"the answer does not fit the form: {shown}: is not what was asked for")
    return content


def _fits(value: Any, field: dict[str, Any]) -> bool:
    kind = field["type"]
    if not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        return False
    choices = _choices(field.get("items", field))
    chosen = value if isinstance(value, list) else [value]
    return choices is None or all(each in choices for each in chosen)


def _choices(schema: dict[str, Any]) -> list[Any] | None:
    titled = schema.get("oneOf") or schema.get("anyOf")
    return [choice["const"] for choice in titled] if titled else schema.get("enum")
