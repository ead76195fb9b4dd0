"""What is kept of a request: its own message alone, and of a large one next to nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streamable_http import redaction
from streamable_http.endpoint import principals, records
from streamable_http.protocol import http


def recorded(message: dict[str, Any], body: bytes) -> dict[str, Any]:
    request = http.Request(method="POST", path="/mcp", scheme="http", headers=http.Headers([]), body=body)
    record = records.make(request, message, session_id=None, principal=principals.ANONYMOUS)
    payload: dict[str, Any] = json.loads(record.payload)
    return payload


def batch(text: str) -> tuple[dict[str, Any], bytes]:
    """Return a small message, and the batch that it came in."""
    small = {"jsonrpc": "2.0", "method": "notifications/small", "params": {"password": "secret"}}
    large = {"jsonrpc": "2.0", "method": "notifications/large", "params": {"of": "another", "texts": [text] * 20}}
    return small, json.dumps([small, large], ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "text", ["x" * 2_000, "é" * 1_000, "書" * 700, "\U0001f4d6" * 500], ids=["ASCII", "2 bytes", "3 bytes", "4 bytes"]
)
def test_a_message_of_a_large_batch_is_folded_in_any_script_and_holds_nothing_of_the_others(text: str) -> None:
    message, body = batch(text)
    assert len(body) > redaction.MAX_MESSAGE_BYTES
    kept = recorded(message, body)
    assert kept["method"] == "notifications/small"
    assert kept["folded"].startswith(f"{len(body)} bytes, ")
    assert set(kept) == {"method", "folded"}


def test_a_message_of_a_usual_batch_is_kept_without_its_secrets_and_without_the_others() -> None:
    message, body = batch("é" * 10)
    assert recorded(message, body) == {**message, "params": {"password": redaction.MASK}}


@pytest.mark.parametrize(
    ("path", "kept"),
    [("/conformance/mcp", "/conformance/mcp"), ("/a\0b\ud800", "/a\ufffdb?"), ("/a?secret", "/a?••••")],
)
def test_the_path_is_kept_as_every_database_takes_it(path: str, kept: str) -> None:
    request = http.Request(
        method="GET", path=path, scheme="http", headers=http.Headers([(b"authorization", b"Token x")]), query=b"key=x"
    )
    record = records.connection(request, session_id=None, principal=principals.ANONYMOUS, record_id=1)
    facts = json.loads(record.facts)
    assert (facts["path"], facts["headers"]) == (kept, {"authorization": "Token ••••"})
