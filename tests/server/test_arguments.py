from __future__ import annotations

import datetime
import inspect
from typing import Annotated, Any

import jsonschema
import pydantic
import pytest
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from streamable_http import exceptions
from streamable_http.server import arguments, signatures


class Book(pydantic.BaseModel):
    """A book."""

    title: str


def build(descriptions: dict[str, str] | None = None, /, **parameters: Any) -> arguments.Arguments:
    """Build from annotations, or pairs of annotation and default."""
    return arguments.build(
        tuple(
            signatures.Parameter(name=name, annotation=each[0], default=each[1])
            if isinstance(each, tuple)
            else signatures.Parameter(name=name, annotation=each, default=inspect.Parameter.empty)
            for name, each in parameters.items()
        ),
        descriptions or {},
        label="tool 'x'",
    )


def test_schema_is_a_closed_object_with_what_each_argument_takes():
    built = build(query=str, limit=(Annotated[int, Field(ge=1, le=100)], 10), book=(Book | None, None))
    jsonschema.Draft202012Validator.check_schema(built.schema)
    assert built.schema["type"] == "object"
    assert built.schema["additionalProperties"] is False
    assert built.schema["required"] == ["query"]
    assert built.schema["properties"]["limit"] == {"type": "integer", "minimum": 1, "maximum": 100, "default": 10}


def test_schema_without_arguments_accepts_only_empty_objects():
    assert build().schema == {"type": "object", "properties": {}, "additionalProperties": False}


def test_descriptions_come_from_the_docstring_unless_the_field_has_one():
    built = build(
        {"a": "from the docstring", "b": "from the docstring", "ctx": "no argument"},
        a=int,
        b=Annotated[int, Field(description="from the field")],
    )
    assert {name: each["description"] for name, each in built.schema["properties"].items()} == {
        "a": "from the docstring",
        "b": "from the field",
    }


def test_values_of_other_types_are_read_where_they_are_clear():
    built = build(number=int, day=datetime.date, book=Book)
    assert built.validate({"number": "5", "day": "2025-11-25", "book": {"title": "Emma"}}) == {
        "number": 5,
        "day": datetime.date(2025, 11, 25),
        "book": Book(title="Emma"),
    }


def test_defaults_are_filled_in_also_from_a_field():
    built = build(a=(int, 1), b=(int, Field(2, ge=1)), c=(list[int], Field(default_factory=list)))
    assert built.validate({"a": 3}) == {"a": 3, "b": 2, "c": []}


def test_mutable_default_is_not_shared_between_calls():
    built = build(items=(list[int], []))
    built.validate({})["items"].append(1)
    assert built.validate({}) == {"items": []}


def test_any_python_name_works_and_an_alias_is_what_clients_see():
    built = build(schema=str, _private=int, from_=Annotated[str, Field(alias="from")])
    assert list(built.schema["properties"]) == ["schema", "_private", "from"]
    assert built.validate({"schema": "s", "_private": 1, "from": "f"}) == {"schema": "s", "_private": 1, "from_": "f"}


def test_argument_hidden_from_the_schema_still_has_its_default():
    built = build({"hidden": "never seen"}, hidden=(Annotated[int, SkipJsonSchema()], 5))
    assert built.schema["properties"] == {}
    assert built.validate({}) == {"hidden": 5}


def test_default_that_json_cannot_say_is_left_out_of_the_schema():
    nothing = object()
    built = build(a=(Any, nothing))
    assert built.schema["properties"] == {"a": {}}
    assert type(built.validate({})["a"]) is object


def test_wrong_arguments_are_told_in_band():
    with pytest.raises(exceptions.ToolError) as raised:
        build(a=int, b=int).validate({"a": "x", "zz": 1})
    assert str(raised.value) == (
        "invalid arguments: a: input should be a valid integer, unable to parse string as an integer "
        '(got "x"); b: is required; zz: is not known here; leave it out'
    )


def test_type_without_schema_is_refused_by_the_name_of_its_parameter():
    with pytest.raises(TypeError, match=r"^tool 'x': parameter 'b' has no JSON schema: Unable to generate"):
        build(a=int, b=type(build))


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({}, 'input_schema must have "type": "object" at its root'),
        (
            {"type": "object", "properties": {"a": {}, "c": {}}},
            "input_schema has 'c', which the function does not take",
        ),
        ({"type": "object", "properties": {"b": {}}}, "input_schema lacks 'a', which the function requires"),
    ],
)
def test_own_input_schema_must_fit_the_function(schema, message):
    with pytest.raises(ValueError, match=f"^tool 'x': {message}$"):
        arguments.check_input_schema(schema, build(a=int, b=(int, 1)), label="tool 'x'")


def test_own_input_schema_may_leave_out_optional_arguments():
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    arguments.check_input_schema(schema, build(a=int, b=(int, 1)), label="tool 'x'")
