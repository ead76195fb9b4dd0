from __future__ import annotations

import dataclasses
import datetime
import enum
import math
from typing import Any

import jsonschema
import orjson
import pydantic
import pytest
import typing_extensions

from streamable_http.server import outputs


class Book(pydantic.BaseModel):
    title: str
    price: float | None = None
    isbn: str = pydantic.Field("-", serialization_alias="ISBN", validation_alias="isbn")


class SecretBook(Book):
    secret: str = "do not tell"


class Row:
    """As an ORM's object: attributes, no model."""

    def __init__(self, title: str) -> None:
        self.title = title


@dataclasses.dataclass
class Report:
    done: int
    day: datetime.date


class Size(typing_extensions.TypedDict):
    pages: int


class Color(enum.Enum):
    RED = "red"


class Node(pydantic.BaseModel):
    children: list[Node] = []


def build(annotation: Any) -> outputs.Output:
    return outputs.build(annotation, label="tool 'x'")


@pytest.mark.parametrize(
    ("annotation", "value", "structured"),
    [
        (Book, Book(title="Emma"), {"title": "Emma", "price": None, "ISBN": "-"}),
        (Report, Report(1, datetime.date(2025, 11, 25)), {"done": 1, "day": "2025-11-25"}),
        (Size, {"pages": 3}, {"pages": 3}),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (Node, Node(children=[Node()]), {"children": [{"children": []}]}),
        (list[int], [1, 2], {"result": [1, 2]}),
        (int, 3, {"result": 3}),
        (bool, True, {"result": True}),
        (Color, Color.RED, {"result": "red"}),
        (Book | None, None, {"result": None}),
        (int, 2**70, {"result": float(2**70)}),
    ],
)
def test_value_and_schema_agree_and_are_objects(annotation, value, structured):
    output = build(annotation)
    jsonschema.Draft202012Validator.check_schema(output.schema)
    assert output.schema["type"] == "object"
    dumped, text = output.dump(value)
    assert dumped == structured
    jsonschema.validate(dumped, output.schema)
    assert orjson.loads(text) == (structured["result"] if output.wrapped else structured)


def test_wrapped_schema_keeps_its_definitions_at_the_root():
    schema = build(list[Book]).schema
    assert schema["properties"] == {"result": {"type": "array", "items": {"$ref": "#/$defs/Book"}}}
    assert schema["required"] == ["result"]
    assert "Book" in schema["$defs"]


def test_objects_of_other_classes_are_read_by_their_attributes():
    assert build(list[Book]).dump(row for row in [Row("Emma")])[0] == {
        "result": [{"title": "Emma", "price": None, "ISBN": "-"}]
    }


def test_members_of_a_subclass_do_not_leak():
    assert "secret" not in build(Book).dump(SecretBook(title="Emma"))[0]


def test_structured_content_does_not_alias_what_the_tool_keeps():
    kept = {"a": [1]}
    dumped, _ = build(dict[str, list[int]]).dump(kept)
    dumped["a"].append(2)
    assert kept == {"a": [1]}


def cyclic() -> list[Any]:
    items: list[Any] = []
    items.append(items)
    return items


def nested(levels: int) -> list[Any]:
    items: list[Any] = []
    for _ in range(levels - 1):
        items = [items]
    return items


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, "three"),
        (Book, {"price": 3}),
        (Book, Book.model_construct(title=3)),
        (float, math.nan),
        (dict[str, float], {"a": math.inf}),
        (Book, Book(title="Emma", price=math.nan)),
        (list[Any], cyclic()),
        (list[Any], nested(201)),
        (list[Any], nested(5000)),
        (Any, object()),
        (str, "\ud800"),
    ],
)
def test_value_that_does_not_fit_or_has_no_json_is_refused(annotation, value):
    with pytest.raises(ValueError):  # noqa: PT011
        build(annotation).dump(value)


def test_null_is_fine_where_the_schema_has_it():
    assert build(dict[str, float | None]).dump({"a": None, "b": 1.5})[0] == {"a": None, "b": 1.5}


def test_deepest_allowed_value_passes():
    assert build(list[Any]).dump(nested(200))[0] == {"result": nested(200)}


def test_ready_made_content_is_checked():
    build(int).check({"result": 3})
    build(Size).check({"pages": 3})
    for output, structured in ((build(int), None), (build(int), {"other": 3}), (build(Size), {})):
        with pytest.raises(pydantic.ValidationError):
            output.check(structured)


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (bytes, r"bytes have no JSON form; return Image\(data, mime_type\)"),
        (Row, "the return type has no JSON schema: Unable to generate .* structured_output=False$"),
    ],
)
def test_type_without_json_form_is_refused(annotation, message):
    with pytest.raises(TypeError, match=f"^tool 'x': {message}"):
        build(annotation)
