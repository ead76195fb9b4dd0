"""What a tool with structured output returns: checked by pydantic, published as JSON Schema.

Both are built once, when the tool is declared.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

import pydantic

from streamable_http.server import content, schemas

RESULT: Final = "result"
"""The member that holds a structured result which is no object, as in the official SDKs."""


class Mismatch(ValueError):  # noqa: N818
    """A value does not have what the user's own schema demands."""


@dataclass(frozen=True, slots=True)
class Output:
    """What a tool with structured output returns."""

    schema: dict[str, Any]
    """The ``outputSchema``: an object at its root."""

    adapter: pydantic.TypeAdapter[Any]
    wrapped: bool
    """The value is no object, so it goes into one, as ``result``."""

    required: frozenset[str] | None = None
    """Members that the user's own schema demands; ``None`` where the schema is made from the type."""

    def dump(self, value: Any) -> tuple[dict[str, Any], str]:
        """Return a value as ``structuredContent``, and its JSON, without the wrapper.

        Objects of other classes are read by their attributes, so a model of pydantic's may be declared and one
        of Django's returned.

        Raises:
            ValueError: it does not match the schema, or has no JSON form.
        """
        checked = self.adapter.validator.validate_python(value, from_attributes=True)
        serializer = self.adapter.serializer
        text = serializer.to_json(checked, by_alias=True, warnings="error")
        if b"null" in text:
            # pydantic writes NaN and infinity as null, which is no number: look again, and refuse them.
            json.dumps(serializer.to_python(checked, mode="json", by_alias=True), allow_nan=False)
        plain = content.loads(text)
        if self.required is not None:
            self._require_members(plain)
        return ({RESULT: plain} if self.wrapped else plain), text.decode()

    def check(self, structured: Any) -> None:
        """Check ready-made ``structuredContent``.

        Raises:
            ValueError: it does not match the schema.
        """
        value = structured.get(RESULT) if self.wrapped and isinstance(structured, dict) else structured
        self.adapter.validator.validate_python(value)
        if self.required is not None:
            self._require_members(structured)

    def _require_members(self, plain: Any) -> None:
        """Check what can be seen at a glance: whoever writes a schema by hand answers for the rest."""
        if not isinstance(plain, dict):
            raise Mismatch(f"an object is needed, not {type(plain).__name__}")
        missing = sorted(self.required - plain.keys()) if self.required else []
        if missing:
            raise Mismatch(f"members are missing: {', '.join(missing)}")


def by_hand(schema: dict[str, Any], annotation: Any, *, label: str) -> Output:
    """Return an output whose schema the user wrote; it is published as it is.

    Raises:
        ValueError: it describes no object.
    """
    if schema.get("type") != "object":
        raise ValueError(f'{label}: output_schema must have "type": "object" at its root')
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise ValueError(f'{label}: "required" in output_schema must be a list of names')
    return Output(schema, pydantic.TypeAdapter(annotation), wrapped=False, required=frozenset(required))


def build(annotation: Any, *, label: str) -> Output:
    """Build the schema and the validator of what a tool returns.

    Raises:
        TypeError: the type has no JSON form.
    """
    try:
        adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(annotation)
        schema = schemas.of_adapter(adapter, mode="serialization")
    except Exception as error:
        raise TypeError(
            f"{label}: the return type has no JSON schema: {schemas.why_not(error)}; return a pydantic model, a "
            "dataclass or plain data, or set structured_output=False"
        ) from error
    if schema.get("format") == "binary":
        raise TypeError(f"{label}: bytes have no JSON form; return Image(data, mime_type), or text in base64")
    if schema.get("type") == "object":
        return Output(schema, adapter, wrapped=False)
    return Output(_wrapped(schema), adapter, wrapped=True)


def _wrapped(schema: dict[str, Any]) -> dict[str, Any]:
    definitions = schema.pop("$defs", None)
    outer = {"type": "object", "properties": {RESULT: schema}, "required": [RESULT]}
    return outer if definitions is None else {**outer, "$defs": definitions}
