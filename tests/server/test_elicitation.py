from __future__ import annotations

import datetime
import enum
from typing import Any, Literal

import mcp_types
import pydantic
import pytest
from pydantic import Field

from streamable_http import exceptions
from streamable_http.server import elicitation, features
from tests.server import recording

OF = features.OF_REVISION
FORMS = {"elicitation": {}}


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Order(pydantic.BaseModel):
    name: str = Field(title="Name", description="who", min_length=1, max_length=9, pattern="^a")
    mail: str = Field(json_schema_extra={"format": "email"})
    day: datetime.date
    count: int = Field(gt=3, lt=10, multiple_of=2)
    price: float | None = Field(None, ge=0)
    gift: bool = False
    color: Color = Field(Color.RED, title="Color")
    size: Literal["only"] = "only"
    extras: list[Literal["bag", "card"]] = Field([], max_length=2)
    colors: list[Color] | None = None
    single: list[Literal["one"]] = []


FIELDS = {
    "name": {
        "type": "string",
        "title": "Name",
        "description": "who",
        "minLength": 1,
        "maxLength": 9,
        "pattern": "^a",
    },
    "mail": {"type": "string", "format": "email"},
    "day": {"type": "string", "format": "date"},
    "count": {"type": "integer", "minimum": 4, "maximum": 9},
    "price": {"type": "number", "minimum": 0},
    "gift": {"type": "boolean", "default": False},
    "color": {"type": "string", "title": "Color", "enum": ["red", "blue"], "default": "red"},
    "size": {"type": "string", "enum": ["only"], "default": "only"},
    "extras": {
        "type": "array",
        "items": {"type": "string", "enum": ["bag", "card"]},
        "maxItems": 2,
        "default": [],
    },
    "colors": {"type": "array", "items": {"type": "string", "enum": ["red", "blue"]}},
    "single": {"type": "array", "items": {"type": "string", "enum": ["one"]}, "default": []},
}


def test_model_becomes_a_form_in_the_restricted_shape():
    form = elicitation.requested_schema(Order)
    assert form == {"type": "object", "properties": FIELDS, "required": ["name", "mail", "day", "count"]}


def test_params_are_those_of_the_protocol():
    params = elicitation.params("Your order?", Order, OF[recording.R2025_11_25], FORMS)
    parsed = mcp_types.ElicitRequestFormParams.model_validate(params)
    assert parsed.message == "Your order?"
    assert parsed.requested_schema == elicitation.requested_schema(Order)


class Inner(pydantic.BaseModel):
    a: int


class Nested(pydantic.BaseModel):
    inner: Inner


class Mixed(pydantic.BaseModel):
    either: int | str


class Names(pydantic.BaseModel):
    names: list[str]


class Numbers(pydantic.BaseModel):
    level: Literal[1, 2]


class Anything(pydantic.BaseModel):
    any: Any


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (Nested, "Nested.inner cannot stand in a form; a form has only strings"),
        (Mixed, "Mixed.either is a union, and a member of a form has one type"),
        (Names, "Names.names is a list, and lists in a form hold choices of strings"),
        (Numbers, "Numbers.level is a choice of numbers, and choices in a form are strings"),
        (Anything, "Anything.any cannot stand in a form"),
        ({"type": "string"}, "the form must describe an object with properties"),
        ({"type": "object", "properties": {"a": True}}, "the form.a must be a JSON schema object"),
    ],
)
def test_what_is_not_flat_is_refused_by_its_name(schema, message):
    with pytest.raises(TypeError) as raised:
        elicitation.requested_schema(schema)
    assert str(raised.value).startswith(message)


TITLED = {
    "type": "object",
    "properties": {
        "one": {"type": "string", "oneOf": [{"const": "r", "title": "Red"}], "default": "r", "x-ours": 1},
        "sure": {"type": "boolean", "default": True},
    },
    "required": ["one"],
}


def test_plain_schema_is_cut_to_what_a_form_may_say():
    form = elicitation.params("?", TITLED, OF[recording.R2025_11_25], FORMS)["requestedSchema"]
    assert form["properties"]["one"] == {
        "type": "string",
        "oneOf": [{"const": "r", "title": "Red"}],
        "default": "r",
    }


def test_earlier_revision_has_enum_names_and_defaults_of_booleans_alone():
    form = elicitation.params("?", TITLED, OF[recording.R2025_06_18], FORMS)["requestedSchema"]
    assert form["properties"] == {
        "one": {"type": "string", "enum": ["r"], "enumNames": ["Red"]},
        "sure": {"type": "boolean", "default": True},
    }


def titled_list(*choices: dict[str, str]) -> dict[str, Any]:
    return {"type": "object", "properties": {"many": {"type": "array", "items": {"anyOf": list(choices), "x": 1}}}}


def test_list_of_titled_choices_keeps_its_titles_and_its_choices_are_checked():
    schema = titled_list({"const": "r", "title": "Red"}, {"const": "b", "title": "Blue"})
    items = elicitation.requested_schema(schema)["properties"]["many"]["items"]
    assert items == {"anyOf": [{"const": "r", "title": "Red"}, {"const": "b", "title": "Blue"}]}
    assert elicitation.read({"action": "accept", "content": {"many": ["b", "r"]}}, schema).action == "accept"
    with pytest.raises(exceptions.AskError):
        elicitation.read({"action": "accept", "content": {"many": ["b", "x"]}}, schema)


def test_list_whose_choices_lack_titles_is_refused():
    with pytest.raises(TypeError, match=r"^the form\.many is a list, and lists in a form hold choices"):
        elicitation.requested_schema(titled_list({"const": "r", "title": "Red"}, {"const": "b"}))


def test_earlier_revision_cannot_be_asked_for_lists():
    with pytest.raises(exceptions.AskRefused, match="'extras': forms of its protocol revision have no lists"):
        elicitation.params("?", Order, OF[recording.R2025_06_18], FORMS)


@pytest.mark.parametrize(
    ("revision", "capabilities", "message"),
    [
        (recording.R2025_03_26, FORMS, "the client cannot be asked: its protocol revision has no elicitation"),
        (recording.R2025_11_25, {}, "the client cannot be asked: it does not support elicitation"),
        (
            recording.R2025_11_25,
            {"elicitation": {"url": {}}},
            "the client cannot be asked: it does not support forms",
        ),
    ],
)
def test_client_that_cannot_be_asked_is_not(revision, capabilities, message):
    with pytest.raises(exceptions.AskRefused) as raised:
        elicitation.params("?", TITLED, OF[revision], capabilities)
    assert str(raised.value) == message


@pytest.mark.parametrize("capability", [{}, {"form": {}}, {"form": {}, "url": {}}])
def test_client_with_form_mode_is_asked(capability):
    assert elicitation.params("?", TITLED, OF[recording.R2025_11_25], {"elicitation": capability})


def test_accepted_answer_is_the_model():
    result = elicitation.read({"action": "accept", "content": {"a": 3}}, Inner)
    assert result == elicitation.ElicitResult("accept", Inner(a=3))


@pytest.mark.parametrize("action", ["decline", "cancel"])
def test_refusal_has_no_data(action):
    assert elicitation.read({"action": action, "content": {"a": 3}}, Inner) == elicitation.ElicitResult(action, None)


PLAIN = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "enum": ["a", "b"]},
        "count": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string", "enum": ["x", "y"]}},
    },
    "required": ["name"],
}


def test_answer_to_a_plain_schema_is_a_dict():
    content = {"name": "a", "count": 3, "tags": ["x"]}
    assert elicitation.read({"action": "accept", "content": content}, PLAIN).data == content


@pytest.mark.parametrize(
    ("result", "schema", "message"),
    [
        ({"action": "later"}, Inner, "the client answered a form with an unknown action"),
        ({}, Inner, "the client answered a form with an unknown action"),
        ({"action": ["accept"]}, Inner, "the client answered a form with an unknown action"),
        ({"action": "accept"}, Inner, "the answer does not fit the form: a: is required"),
        ({"action": "accept", "content": [1]}, Inner, "the answer does not fit the form: input should be"),
        ({"action": "accept"}, PLAIN, "the answer does not fit the form: name: is required"),
        ({"action": "accept", "content": [1]}, PLAIN, "the answer does not fit the form: it is no object"),
        ({"action": "accept", "content": {"name": "c"}}, PLAIN, "the answer does not fit the form: name: is not"),
        (
            {"action": "accept", "content": {"name": "a", "count": True}},
            PLAIN,
            "the answer does not fit the form: count: is not what was asked for",
        ),
        (
            {"action": "accept", "content": {"name": "a", "tags": ["z"]}},
            PLAIN,
            "the answer does not fit the form: tags: is not what was asked for",
        ),
        (
            {"action": "accept", "content": {"name": "a", "x" * 99: 1}},
            PLAIN,
            f"the answer does not fit the form: {'x' * 60}…: is not what was asked for",
        ),
    ],
)
def test_answer_that_does_not_fit_is_an_ask_error(result, schema, message):
    with pytest.raises(exceptions.AskError) as raised:
        elicitation.read(result, schema)
    assert str(raised.value).startswith(message)
