"""Rows of a CSV file into the shop."""

import base64

import pytest

from demo_project.bookshop import importing

HEADER = "title,edition,author,price,shelf,copies"


@pytest.mark.parametrize(
    "csv_url",
    [
        "http://127.0.0.1/books.csv",
        "https://example.com/books.csv",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "/etc/passwd",
        "\\\\host\\share\\books.csv",
        "sample:../models.py",
        "sample:%2e%2e/models.py",
        "sample:/etc/passwd",
        "sample:nothing.csv",
        "sample:",
        "",
        "data:text/csv",
        "data:text/csv,",
        "data:text/csv,title,author",
        "data:text/csv;base64,!!!",
        "data:text/csv,%ff%fe",
        f"data:text/csv,{HEADER}%0a" + "x" * 200_000,
    ],
)
def test_anything_but_a_sample_or_a_table_of_books_is_refused(csv_url: str) -> None:
    with pytest.raises(importing.ImportFileError):
        importing.read(csv_url)


def test_every_sample_can_be_read() -> None:
    assert {name: bool(importing.read(f"sample:{name}")) for name in importing.SAMPLES} == {
        "new_arrivals.csv": True,
        "with_mistakes.csv": True,
    }


def test_a_file_may_come_inside_the_url_as_text_or_base64() -> None:
    line = "Émile,Paperback,Jean-Jacques Rousseau,9.50,G1,3"
    encoded = base64.b64encode(f"{HEADER}\n{line}\n".encode()).decode()
    as_text = importing.read(f"data:text/csv,{HEADER}%0A{line}")
    assert as_text == importing.read(f"data:text/csv;charset=utf-8;base64,{encoded}")
    assert importing.Row.model_validate(as_text[0]).title == "Émile"


def test_a_file_with_too_many_rows_is_refused() -> None:
    with pytest.raises(importing.ImportFileError, match="more than 5,000 rows"):
        importing.read(f"data:text/csv,{HEADER}" + "%0aA,B,C,1,D,1" * 5_001)
