"""Media types of the answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework.renderers import BaseRenderer, JSONRenderer

from streamable_http import streaming


class JSON(JSONRenderer):
    """JSON in ASCII: half a surrogate pair, which JSON can name and UTF-8 cannot, is no error."""

    charset = None
    ensure_ascii = True


class _Streamed(BaseRenderer):
    """What a view sends in pieces; DRF only negotiates it."""

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Do nothing: errors are rendered as JSON, and everything else is streamed."""
        raise NotImplementedError


class ServerSentEvents(_Streamed):
    """SSE, as a client got it."""

    media_type = "text/event-stream"
    format = "sse"
    charset = None


class JSONLines(_Streamed):
    """A JSON object a line."""

    media_type = streaming.JSON_LINES
    format = "jsonl"
    charset = None
