from __future__ import annotations

from collections.abc import Callable

import pydantic
import pytest

from streamable_http.server import schemas


class Node(pydantic.BaseModel):
    name: str
    children: list[Node] = []


def test_titles_that_repeat_the_name_are_left_out():
    assert schemas.of_model(Node)["$defs"]["Node"]["properties"]["name"] == {"type": "string"}


def test_recursive_type_has_an_object_at_its_root():
    schema = schemas.of_adapter(pydantic.TypeAdapter(Node), mode="serialization")
    assert schema["type"] == "object"
    assert schema["properties"]["children"]["items"] == {"$ref": "#/$defs/Node"}
    assert schema["$defs"]["Node"]["type"] == "object"


def test_union_with_a_part_that_json_cannot_say_is_refused():
    with pytest.raises(pydantic.errors.PydanticInvalidForJsonSchema):
        schemas.of_adapter(pydantic.TypeAdapter(int | Callable[[], int]), mode="validation")


def test_reason_is_the_first_sentence_only():
    with pytest.raises(pydantic.PydanticSchemaGenerationError) as raised:
        pydantic.TypeAdapter(type(test_reason_is_the_first_sentence_only))
    assert schemas.why_not(raised.value) == "Unable to generate pydantic-core schema for <class 'function'>"
