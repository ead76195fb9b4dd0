"""Leafing by date through rows whose ids are in the order of time.

Django's own date hierarchy looks at every row to find the days that have some, which takes seconds with hundreds of
thousands; and it needs an index of the date. Here the days are those between the first row and the last, and a day's
rows are a range of the primary key.
"""

from __future__ import annotations

import calendar
import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import QuerySet
from django.utils import formats, timezone
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from streamable_http import ids

SKEW_SECONDS: Final = 86_400
"""Ids go by the clock of a worker, dates by the database's; so far apart they never are."""

Link = Callable[[dict[str, Any]], str]


@dataclass(frozen=True, slots=True)
class Span:
    """From the first row's day to the last one's, in the reader's time zone."""

    first: datetime.date
    last: datetime.date

    def touches(self, first: datetime.date, last: datetime.date) -> bool:
        """Tell whether any of these days is in it."""
        return self.first <= last and first <= self.last


def span(rows: QuerySet[Any], field: str) -> Span | None:
    """Return the span of all rows, or ``None`` where there are none."""
    in_order = rows.order_by("pk").values_list(field, flat=True)
    first, last = in_order.first(), in_order.last()
    if first is None or last is None:
        return None
    return Span(*sorted((timezone.localtime(first).date(), timezone.localtime(last).date())))


def within(rows: QuerySet[Any], since: datetime.datetime, until: datetime.datetime) -> QuerySet[Any]:
    """Have the database look only at ids of about this time."""
    first = ids.first_at(max(0.0, since.timestamp() - SKEW_SECONDS))
    return rows.filter(pk__gte=first, pk__lt=ids.first_at(until.timestamp() + SKEW_SECONDS))


def choices(rows: Span, field: str, chosen: dict[str, Any], link: Link) -> dict[str, Any]:
    """Return the context of Django's ``admin/date_hierarchy.html``: the next smaller units, and the way back."""
    year, month, day = (int(chosen.get(f"{field}__{unit}") or 0) for unit in ("year", "month", "day"))
    # What leaves no choice is chosen already.
    if not year and rows.first.year == rows.last.year:
        year = rows.first.year
        month = rows.first.month if rows.first.month == rows.last.month else 0

    def named(title: str, **units: int) -> dict[str, Any]:
        return {"title": title, "link": link({f"{field}__{unit}": number for unit, number in units.items()})}

    if year and month and day:
        date = datetime.date(year, month, day)
        return {"show": True, "back": named(_month(date), year=year, month=month), "choices": [{"title": _day(date)}]}
    if year and month:
        days = [named(_day(date), year=year, month=month, day=date.day) for date in _days(rows, year, month)]
        return {"show": True, "back": named(str(year), year=year), "choices": days}
    if year:
        months = [named(_month(date), year=year, month=date.month) for date in _months(rows, year)]
        return {"show": True, "back": named(_("All dates")), "choices": months}
    years = [named(str(number), year=number) for number in range(rows.first.year, rows.last.year + 1)]
    return {"show": True, "back": None, "choices": years}


def _days(rows: Span, year: int, month: int) -> Iterator[datetime.date]:
    for number in range(1, calendar.monthrange(year, month)[1] + 1):
        date = datetime.date(year, month, number)
        if rows.touches(date, date):
            yield date


def _months(rows: Span, year: int) -> Iterator[datetime.date]:
    for month in range(1, 13):
        first = datetime.date(year, month, 1)
        if rows.touches(first, first.replace(day=calendar.monthrange(year, month)[1])):
            yield first


def _month(date: datetime.date) -> str:
    return capfirst(formats.date_format(date, "YEAR_MONTH_FORMAT"))


def _day(date: datetime.date) -> str:
    return capfirst(formats.date_format(date, "MONTH_DAY_FORMAT"))
