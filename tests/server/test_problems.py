from __future__ import annotations

from typing import Annotated

import pydantic
import pytest

from streamable_http.server import problems


class Book(pydantic.BaseModel, extra="forbid"):
    title: str
    pages: list[int] = []


def described(value: object, type_: object = Book) -> str:
    with pytest.raises(pydantic.ValidationError) as raised:
        pydantic.TypeAdapter(type_).validate_python(value)
    return problems.describe(raised.value)


def test_each_problem_is_a_sentence_with_its_path():
    assert described({"pages": ["one"], "isbn": 1}) == (
        "title: is required; "
        'pages.0: input should be a valid integer, unable to parse string as an integer (got "one"); '
        "isbn: is not known here; leave it out"
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("x" * 10_000, f'(got "{"x" * 60}…")'),
        (None, "(got null)"),
        (1.5, "(got 1.5)"),
        ({"a": 1}, "(got an object)"),
        ([1], "(got a list)"),
        ((1,), "(got a tuple)"),
    ],
)
def test_values_are_shown_in_the_words_of_json_and_cut(value, shown):
    assert described(value, int).endswith(shown)


def test_long_paths_are_cut():
    assert described({"title": "", "x" * 1000: 1}) == f"{'x' * 60}…: is not known here; leave it out"


def test_long_messages_are_cut():
    def refuse(value: object) -> object:
        raise ValueError("y" * 10_000)

    assert len(described(1, Annotated[int, pydantic.BeforeValidator(refuse)])) < 230


def test_many_problems_are_counted():
    assert described(["x"] * 25, list[int]).endswith("; and 15 more problems")


def test_no_pydantic_addresses():
    assert "pydantic.dev" not in described({})
