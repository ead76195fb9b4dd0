"""Which ``Host`` a request may name, as Django's ``ALLOWED_HOSTS`` has it."""

from __future__ import annotations

import functools
from typing import Any, Final

from django.conf import settings
from django.core.signals import setting_changed
from django.dispatch import receiver
from django.http.request import split_domain_port, validate_host

from streamable_http import exceptions
from streamable_http.protocol import http

_LOCAL: Final = (".localhost", "127.0.0.1", "[::1]")
"""What Django allows in ``DEBUG`` when ``ALLOWED_HOSTS`` is empty."""


def require_host(request: http.Request) -> None:
    """Refuse a request for a host that is not ours.

    Raises:
        InvalidHeader: the header is missing, malformed or names another host.
    """
    host = request.headers.get(http.HOST)
    if host is None or not _is_allowed(host):
        raise exceptions.InvalidHeader("Host", host)


@functools.lru_cache(maxsize=1_024)
def _is_allowed(host: str) -> bool:
    allowed = settings.ALLOWED_HOSTS or (_LOCAL if settings.DEBUG else ())
    domain, _ = split_domain_port(host)
    return bool(domain) and validate_host(domain, allowed)


@receiver(setting_changed)
def _forget(*, setting: str, **_: Any) -> None:
    if setting in ("ALLOWED_HOSTS", "DEBUG"):
        _is_allowed.cache_clear()
