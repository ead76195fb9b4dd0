"""What the API answers beside DRF's own errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import InterfaceError, OperationalError
from django.utils.translation import gettext_lazy as _
from rest_framework import status
from rest_framework.exceptions import APIException, NotFound

from streamable_http.exceptions import StoreUnavailable
from streamable_http.operations import ResendTimeout

OUTAGES = (StoreUnavailable, OperationalError, InterfaceError)
"""A database did not answer."""


class Conflict(APIException):
    """What was asked for does not fit how things are."""

    status_code = status.HTTP_409_CONFLICT
    default_detail = _("This is not possible any more.")
    default_code = "conflict"

    def __init__(self, detail: str, *, warnings: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        if warnings:
            self.detail: Any = {"detail": self.detail, "warnings": list(warnings)}


class TimedOut(APIException):
    """A request that was sent again took too long, and was cancelled."""

    status_code = status.HTTP_504_GATEWAY_TIMEOUT
    default_detail = _("It did not end in time, and was cancelled.")
    default_code = "timed_out"

    def __init__(self, error: ResendTimeout) -> None:
        super().__init__(str(error))
        self.detail: Any = {"detail": self.detail, "stream": f"{error.stream_id:x}"}


class BodyTooLarge(APIException):
    """More than any request of this API needs."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = _("The request body is too large.")
    default_code = "too_large"


class Unavailable(APIException):
    """The database did not answer; ``wait`` becomes ``Retry-After``."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = _("The database does not answer; try again later.")
    default_code = "unavailable"
    wait = 5


@contextmanager
def not_found() -> Iterator[None]:
    """Answer 404 where what is looked for does not exist."""
    try:
        yield
    except (KeyError, IndexError):
        # Mistakes of ours.
        raise
    except LookupError as error:
        raise NotFound from error
