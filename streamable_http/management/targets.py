"""Options that say how to reach another server."""

from __future__ import annotations

import os
import re
from typing import Any, Final

from django.core.management.base import CommandParser

from streamable_http.management import base

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def add_arguments(parser: CommandParser) -> None:
    """Add the options for credentials."""
    parser.add_argument(
        "--header",
        action="append",
        default=[],
        dest="headers",
        metavar="'NAME: VALUE'",
        help="a header to send along; may be given several times",
    )
    parser.add_argument(
        "--token-env",
        metavar="NAME",
        help="environment variable with a token, sent as 'Authorization: Bearer …'; unlike --header it shows up in no "
        "list of processes",
    )


def headers(options: dict[str, Any]) -> dict[str, str]:
    """Return the headers that the options name.

    Raises:
        Usage: one is none, or the variable is not set.
    """
    found: dict[str, str] = {}
    for header in options["headers"]:
        name, colon, value = header.partition(":")
        if not colon or not _NAME.fullmatch(name.strip()):
            raise base.Usage("--header has the form 'NAME: VALUE'")
        found[name.strip()] = _sendable(value.strip(), f"--header '{name.strip()}'")
    if options["token_env"]:
        token = os.environ.get(options["token_env"], "").strip()
        if not token:
            raise base.Usage(f"the environment variable {options['token_env']} is not set")
        found["Authorization"] = f"Bearer {_sendable(token, options['token_env'])}"
    return found


def _sendable(value: str, where: str) -> str:
    # Here, for errors of others quote the value, which may be a secret.
    if not (value.isascii() and value.isprintable()):
        raise base.Usage(f"{where} has characters that no header may have")
    return value
