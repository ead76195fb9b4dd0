"""Rows of a CSV file into the shop.

A server that fetches whatever URL it is told reaches what only it can reach. So a file is one that ships with the
demo, or comes inside the URL; nothing is fetched.
"""

import base64
import binascii
import csv
import io
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote_to_bytes

from django.db import transaction
from pydantic import BaseModel, ConfigDict, Field

from demo_project.bookshop.models import Author, Book, Stock

SAMPLES = {path.name: path for path in Path(__file__).with_name("samples").glob("*.csv")}
MAX_ROWS = 5_000


class ImportFileError(Exception):
    """A URL that we do not read, or content that is no table of books."""


# Control characters are nobody's title, and PostgreSQL takes no NUL.
Text = Annotated[str, Field(min_length=1, pattern=r"^[^\x00-\x1f]*$")]


class Row(BaseModel):
    """A line of the file."""

    model_config = ConfigDict(str_strip_whitespace=True)

    title: Annotated[Text, Field(max_length=200)]
    edition: Annotated[Text, Field(max_length=40)]
    author: Annotated[Text, Field(max_length=100)]
    price: Annotated[Decimal, Field(ge=0, max_digits=8, decimal_places=2)]
    shelf: Annotated[Text, Field(max_length=8)]
    copies: Annotated[int, Field(ge=0, le=1_000_000)]


def read(csv_url: str) -> list[dict[str, str]]:
    """Return the rows of a ``sample:`` or ``data:`` URL, not yet validated.

    Raises:
        ImportFileError: the URL is of another kind, or the content is not a table with the columns of ``Row``.
    """
    reader = csv.DictReader(io.StringIO(_content(csv_url), newline=""), restkey="rest")
    missing = Row.model_fields.keys() - set(reader.fieldnames or ())
    if missing:
        raise ImportFileError(f"the file has no column {', '.join(sorted(missing))}")
    return list(_limited(reader))


def save(row: Row) -> bool:
    """Write the row. Return whether its book is new."""
    with transaction.atomic():
        author, _ = Author.objects.get_or_create(name=row.author)
        book, added = Book.objects.update_or_create(
            title=row.title, edition=row.edition, author=author, defaults={"price": row.price}
        )
        Stock.objects.update_or_create(book=book, defaults={"shelf": row.shelf, "copies": row.copies})
    return added


def _content(csv_url: str) -> str:
    scheme, _, rest = csv_url.partition(":")
    try:
        return _READERS[scheme.lower()](rest)
    except KeyError:
        raise ImportFileError(f"nothing is fetched from {csv_url[:64]!r}; give a sample: or data: URL") from None
    except UnicodeDecodeError:
        raise ImportFileError("the file is not UTF-8") from None


def _sample(name: str) -> str:
    # Looked up, never joined to a path.
    if name not in SAMPLES:
        raise ImportFileError(f"no sample is named {name[:64]!r}; there are {', '.join(sorted(SAMPLES))}")
    return SAMPLES[name].read_text(encoding="utf-8")


def _data(rest: str) -> str:
    """Decode what follows ``data:`` (RFC 2397)."""
    header, comma, body = rest.partition(",")
    if not comma:
        raise ImportFileError("a data: URL has a comma before its data")
    content = unquote_to_bytes(body)
    if header.lower().endswith(";base64"):
        try:
            content = base64.b64decode(content, validate=True)
        except binascii.Error:
            raise ImportFileError("the data is not base64") from None
    return content.decode("utf-8-sig")


_READERS = {"sample": _sample, "data": _data}


def _limited(reader: Iterable[dict[str, str]]) -> Iterator[dict[str, str]]:
    try:
        for position, row in enumerate(reader):
            if position == MAX_ROWS:
                raise ImportFileError(f"the file has more than {MAX_ROWS:,} rows")
            yield row
    except csv.Error as error:
        raise ImportFileError(f"the file is not CSV: {error}") from None
