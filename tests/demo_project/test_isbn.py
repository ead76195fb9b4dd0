"""Book numbers."""

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from demo_project.bookshop import isbn


@pytest.mark.parametrize("number", ["9780306406157", "9791090636071"])
def test_numbers_of_real_books_are_valid(number: str) -> None:
    isbn.validate(number)


@pytest.mark.parametrize(
    "number", ["", "978030640615", "9780306406158", "97803064061570", "5780306406157", "978030640615٧"]
)
def test_anything_else_is_refused(number: str) -> None:
    with pytest.raises(ValidationError, match="no ISBN"):
        isbn.validate(number)


@given(st.integers(0, 9_999))
def test_numbers_that_are_made_up_are_well_formed(serial: int) -> None:
    assert isbn.is_valid(isbn.make_up(serial))
