"""Reading request bodies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any, Final

from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from streamable_http.api import exceptions, renderers

MAX_BODY_BYTES: Final = 65_536


class JSONParser(BaseParser):
    """JSON in UTF-8 (RFC 8259), however hostile."""

    media_type = renderers.JSON.media_type

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """Return what the body says."""
        body = stream.read(MAX_BODY_BYTES + 1)
        if len(body) > MAX_BODY_BYTES:
            raise exceptions.BodyTooLarge
        try:
            return json.loads(body.decode(), parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise ParseError from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
