"""What a tool takes: checked by pydantic, published as JSON Schema.

Both are built once, when the tool is declared.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import pydantic
import pydantic_core
from pydantic.fields import FieldInfo
from typing_extensions import TypedDict

from streamable_http import exceptions
from streamable_http.server import problems, schemas, signatures


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a tool takes."""

    schema: dict[str, Any]
    """The ``inputSchema``: an object that has no other members than these."""

    validator: pydantic_core.SchemaValidator

    def validate(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the function's keyword arguments: a new dict, defaults filled in.

        Raises:
            ToolError: with one sentence for each problem.
        """
        try:
            return self.validator.validate_python(arguments)  # type: ignore[no-any-return]
        except pydantic.ValidationError as error:
            raise exceptions.ToolError(f"invalid arguments: {problems.describe(error)}") from None


def build(parameters: tuple[signatures.Parameter, ...], descriptions: Mapping[str, str], *, label: str) -> Arguments:
    """Build the schema and the validator of a tool's arguments.

    Raises:
        TypeError: a type has no JSON form; the message names the parameter.
    """
    fields = {each.name: _field(each) for each in parameters}
    # A TypedDict takes any name, unlike a model, and validates to a plain dict.
    arguments = TypedDict("Arguments", fields)  # type: ignore[misc]
    arguments.__pydantic_config__ = pydantic.ConfigDict(extra="forbid")  # type: ignore[attr-defined]
    try:
        adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(arguments)
        schema = schemas.of_adapter(adapter, mode="validation")
    except Exception as error:
        raise TypeError(f"{label}: {_blame(fields)}has no JSON schema: {schemas.why_not(error)}") from error
    schema.pop("title", None)
    for name in schema["properties"].keys() & descriptions.keys():
        schema["properties"][name].setdefault("description", descriptions[name])
    return Arguments(schema, adapter.validator)  # type: ignore[arg-type]


def check_input_schema(schema: dict[str, Any], arguments: Arguments, *, label: str) -> None:
    """Check a schema that the user wrote against what the function takes.

    Raises:
        ValueError: the two do not fit.
    """
    if schema.get("type") != "object":
        raise ValueError(f'{label}: input_schema must have "type": "object" at its root')
    names = set(schema.get("properties", ()))
    taken = set(arguments.schema["properties"])
    if names - taken:
        raise ValueError(f"{label}: input_schema has {listed(names - taken)}, which the function does not take")
    required = set(arguments.schema.get("required", ()))
    if required - names:
        raise ValueError(f"{label}: input_schema lacks {listed(required - names)}, which the function requires")


def _field(parameter: signatures.Parameter) -> Any:
    default = parameter.default
    if default is inspect.Parameter.empty:
        return parameter.annotation
    if isinstance(default, FieldInfo):
        return Annotated[parameter.annotation, default]
    return Annotated[parameter.annotation, pydantic.Field(default=default)]


def _blame(fields: dict[str, Any]) -> str:
    """Return the words for the first parameter that has no schema by itself."""
    for name, annotation in fields.items():
        try:
            pydantic.TypeAdapter(annotation).json_schema(schema_generator=schemas.Generator)
        except Exception:
            return f"parameter '{name}' "
    return ""


def listed(names: set[str]) -> str:
    """Return names for a sentence."""
    return ", ".join(f"'{name}'" for name in sorted(names))
