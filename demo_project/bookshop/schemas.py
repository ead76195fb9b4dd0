"""What the tools give and ask for. Descriptions are read by models: say what a value means, not what it is."""

import datetime
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, Field

Money = Annotated[Decimal, Field(description="US dollars", decimal_places=2)]


class BookOut(BaseModel):
    """A book in the shop."""

    isbn: Annotated[str | None, Field(description="Thirteen digits; it reads more at books://{isbn}")]
    title: str
    edition: str
    author: str
    price: Money
    copies: Annotated[int, Field(description="Copies in stock")]
    shelf: str


class MonthOut(BaseModel):
    """What was sold in one month."""

    month: Annotated[datetime.date, Field(description="The first day of the month")]
    orders: int
    copies: int
    revenue: Money


class SalesReport(BaseModel):
    """What was sold in one year."""

    year: int
    revenue: Money
    months: list[MonthOut]
    best_sellers: Annotated[list[str], Field(description="Titles, best first")]


class RefundConfirmation(BaseModel):
    """What the user is asked for before money goes back."""

    confirm: Annotated[bool, Field(title="Yes, refund this order", default=True)]


class RefundOut(BaseModel):
    """What became of a refund."""

    refunded: bool
    amount: Money
    reason: str


class ShelfCount(BaseModel):
    """What stands on one shelf."""

    shelf: str
    titles: int
    copies: int


class StockReport(BaseModel):
    """What stands on all shelves."""

    titles: int
    copies: int
    shelves: list[ShelfCount]


class RejectedRow(BaseModel):
    """A row that was not imported."""

    line: Annotated[int, Field(description="Line number in the file; the first row is line 2")]
    problem: str


class ImportReport(BaseModel):
    """What became of the rows of a file."""

    added: int
    updated: int
    rejected: list[RejectedRow]
