"""Types to JSON Schema 2020-12, by pydantic."""

from __future__ import annotations

from typing import Any, Literal

import pydantic
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind

from streamable_http.server import problems


class Generator(GenerateJsonSchema):
    """Leaves out titles that only repeat the name, and refuses what JSON Schema cannot say."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def emit_warning(self, kind: JsonSchemaWarningKind, detail: str) -> None:
        if kind == "skipped-choice":
            raise pydantic.errors.PydanticInvalidForJsonSchema(detail)


def of_adapter(adapter: pydantic.TypeAdapter[Any], *, mode: Literal["validation", "serialization"]) -> dict[str, Any]:
    """Return the schema of what an adapter takes (``validation``) or gives (``serialization``).

    Raises:
        PydanticInvalidForJsonSchema: JSON Schema cannot say it.
    """
    schema = adapter.json_schema(mode=mode, schema_generator=Generator)
    reference = schema.pop("$ref", None)
    if reference is None:
        return schema
    # A recursive model is a bare reference, and MCP wants "type": "object" at the root.
    return {**schema["$defs"][reference.removeprefix("#/$defs/")], **schema}


def of_model(model: type[pydantic.BaseModel]) -> dict[str, Any]:
    """Return the schema of what a model takes.

    Raises:
        PydanticInvalidForJsonSchema: JSON Schema cannot say it.
    """
    return model.model_json_schema(schema_generator=Generator)


def why_not(error: Exception) -> str:
    """Return why a type has no schema, without pydantic's advice."""
    return problems.shorten(
        str(error).partition("\n")[0].partition(". ")[0].rstrip("."), problems.MAX_MESSAGE_CHARACTERS
    )
