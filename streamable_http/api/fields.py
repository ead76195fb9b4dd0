"""Values as they stand in URLs and JSON."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Any, Final

from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.fields import empty

from streamable_http import redaction
from streamable_http.operations import audit
from streamable_http.protocol import cursors
from streamable_http.replay import naming

ID: Final = "([1-9a-f][0-9a-f]{0,14}|[1-7][0-9a-f]{15})"
"""A positive number of 63 bits, in hexadecimal without leading zeros."""

MAX_DIGITS: Final = 19

_ID: Final = re.compile(ID, re.ASCII)
_LONG_ID: Final = re.compile("[0-9a-fA-F]{10,16}", re.ASCII)
_NUMBER: Final = re.compile(r"-?[0-9]+", re.ASCII)
_DECIMAL: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)

_EARLIEST: Final = datetime(1970, 1, 2, tzinfo=UTC)

ID_SCHEMA: Final = {"type": "string", "pattern": f"^{ID}$", "example": "1986f9a3c25d41b7"}


def parse_id(text: str) -> int:
    """Return the id that stands in a URL.

    Raises:
        NotFound: it is none.
    """
    if _ID.fullmatch(text) is None:
        raise NotFound
    return int(text, 16)


def is_id(text: str) -> bool:
    """Tell whether a text is an id of this century, or most of one, and nobody's name."""
    return _LONG_ID.fullmatch(text) is not None


@extend_schema_field(ID_SCHEMA)
class IdField(serializers.Field[int, str, str, Any]):
    """An id in hexadecimal."""

    default_error_messages = {"invalid": _("Not an id: hexadecimal, without leading zeros.")}

    def to_internal_value(self, data: Any) -> int:
        """Read it."""
        if not isinstance(data, str) or _ID.fullmatch(data) is None:
            self.fail("invalid")
        return int(data, 16)

    def to_representation(self, value: int) -> str:
        """Write it."""
        return f"{value:x}"


class NumberField(serializers.IntegerField):
    """A whole number in a URL, in plain digits."""

    def to_internal_value(self, data: Any) -> int:
        """Read it."""
        if len(data) > MAX_DIGITS or _NUMBER.fullmatch(data) is None:
            self.fail("invalid")
        return int(data)


class SequenceField(NumberField):
    """The sequence of an event; 0 stands before the first."""

    def __init__(self, **options: Any) -> None:
        super().__init__(min_value=0, max_value=cursors.MAX, **options)


class SecondsField(serializers.FloatField):
    """A number in a URL that is finite."""

    def to_internal_value(self, data: Any) -> float:
        """Read it."""
        if len(data) > self.MAX_STRING_LENGTH or _DECIMAL.fullmatch(data) is None:
            self.fail("invalid")
        value = float(data)
        if not math.isfinite(value):
            self.fail("invalid")
        return value


class MomentField(serializers.DateTimeField):
    """A time in a URL, brought to between 1970 and now: nothing happened before or after."""

    def __init__(self, **options: Any) -> None:
        super().__init__(default_timezone=UTC, **options)

    def to_internal_value(self, value: Any) -> datetime:
        """Read it."""
        return max(_EARLIEST, min(super().to_internal_value(value), timezone.now()))


class TextField(serializers.CharField):
    """Text as it was written; no database takes a NUL character."""

    def __init__(self, **options: Any) -> None:
        super().__init__(required=False, default="", trim_whitespace=False, **options)

    def to_internal_value(self, data: Any) -> str:
        """Read it; a number is no text."""
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class TextFieldSchema(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """Says in the schema what DRF refuses."""

    target_class = TextField

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        """Return the schema of the field."""
        # The documented way of an extension to have the field mapped without it.
        mapped = auto_schema._map_serializer_field(self.target, direction, bypass_extensions=True)  # noqa: SLF001
        return {**mapped, "pattern": r"^[^\u0000]*$"}


class ReasonField(TextField):
    """Why, for the audit log; may be empty."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=audit.MAX_REASON_CHARACTERS, **options)

    def run_validation(self, data: Any = empty) -> Any:
        """Read it. Not by ``allow_blank``, which spectacular describes as an alternative to the rest."""
        return "" if data == "" else super().run_validation(data)


class FlagField(serializers.BooleanField):
    """``true`` or ``false`` in a body, and nothing that looks like it."""

    def to_internal_value(self, data: Any) -> bool:
        """Read it."""
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class RedactedField(serializers.CharField):
    """JSON that the log may hold verbatim."""

    def to_representation(self, value: str) -> str:
        """Redact it."""
        return redaction.redact_text(value) if value else ""


class MessageField(RedactedField):
    """What was said, of a single row: wire ids of asks that it names are looked up."""

    def to_representation(self, value: str) -> str:
        """Redact it, and name asks."""
        return naming.shown(value) if value else ""
