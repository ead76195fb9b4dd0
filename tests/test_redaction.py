"""Secrets are masked, large values folded, everything else stays."""

from __future__ import annotations

import hashlib
import json
import time

import pytest
from pytest_django import Settings

from streamable_http import redaction


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "Authorization",
        "api_key",
        "API-KEY",
        "mcp-session-id",
        "requestState",
        "clientSecret",
        "Cookie",
        "X-Auth-Token",
        "db_password",
        "secret_key",
        "aws_secret_access_key",
        "Set-Cookie",
        "tokens",
        "access_tokens",
        "apiKeys",
        "API_KEYS",
        "passwords",
        "secrets",
        "client-secrets",
        "Credentials",
        "cookies",
        "sessionIds",
        "pwd",
        "db_pwd",
        "passwd",
        "userPasswds",
    ],
)
def test_values_under_such_a_name_are_masked(name: str) -> None:
    assert redaction.redact({"a": [{name: {"deep": "secret"}}]}) == {"a": [{name: redaction.MASK}]}


@pytest.mark.parametrize(
    "name",
    [
        "progressToken",
        "maxTokens",
        "max_output_tokens",
        "inputTokens",
        "author",
        "nextCursor",
        "passage",
        "cookies_eaten",
        "address",
        "s",
    ],
)
def test_names_that_only_look_alike_are_not(name: str) -> None:
    assert redaction.redact({name: "shown"}) == {name: "shown"}


def test_what_is_redacted_is_a_copy() -> None:
    value = {"arguments": {"password": "secret", "rows": [1, 2.5, None, True, "x"]}}
    shown = redaction.redact(value)
    assert shown == {"arguments": {"password": redaction.MASK, "rows": [1, 2.5, None, True, "x"]}}
    assert value["arguments"]["password"] == "secret"


def test_a_long_string_is_folded_to_its_beginning_size_and_digest() -> None:
    text = "é" * redaction.MAX_CHARACTERS + "!"
    folded = redaction.redact([text])[0]
    assert folded.startswith("é" * redaction.SHOWN_CHARACTERS + "…")
    assert f"{len(text.encode())} bytes" in folded
    assert hashlib.sha256(text.encode()).hexdigest() in folded
    assert redaction.redact("é" * redaction.MAX_CHARACTERS) == "é" * redaction.MAX_CHARACTERS


@pytest.mark.parametrize("scheme", ["data", "DATA", "Data", "dAtA"])
def test_a_data_uri_is_folded_however_it_is_written(scheme: str) -> None:
    shown = redaction.redact(f"{scheme}:image/png;base64,AAAA")
    assert shown.startswith(f"{scheme}:image/png;base64,… [folded: ")
    assert "AAAA" not in shown
    assert redaction.redact(["data", "database: x", "d", ""]) == ["data", "database: x", "d", ""]


def test_a_data_uri_is_folded_whatever_its_length_and_a_lone_surrogate_breaks_nothing() -> None:
    assert "folded" in redaction.redact("data:image/png;base64,AAAA")
    assert "folded" in redaction.redact("\ud800" * (redaction.MAX_CHARACTERS + 1))
    assert "AAAA" not in redaction.redact("data:image/png;base64,AAAA")


def test_a_project_may_name_more_secrets(settings: Settings) -> None:
    assert redaction.redact({"customer_iban": "x"}) == {"customer_iban": "x"}
    settings.STREAMABLE_HTTP = {"REDACT_NAMES": ["IBAN"]}
    assert redaction.redact({"customer_iban": "x"}) == {"customer_iban": redaction.MASK}


def test_headers_are_masked_unless_they_are_known_to_be_harmless(settings: Settings) -> None:
    headers = {"accept": "*/*", "x-shop": "7", "authorization": "x"}
    masked = redaction.redact_headers(headers.items())
    assert masked == {"accept": "*/*", "x-shop": redaction.MASK, "authorization": redaction.MASK}
    settings.STREAMABLE_HTTP = {"RECORD_HEADERS": ["X-Shop"]}
    assert redaction.redact_headers(headers.items())["x-shop"] == "7"


@pytest.mark.parametrize("name", ["authorization", "proxy-authorization"])
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("Bearer secret", "Bearer ••••"),
        ("Token secret", "Token ••••"),
        ("token secret more", "token ••••"),
        ('Digest username="ada", nonce="secret"', "Digest ••••"),
        ("Token  secret", "••••"),
        ("Token", "••••"),
        ("Token ", "••••"),
        ("Tokensecret x", "••••"),
        ("secret Token x", "••••"),
        ("to\u212aen secret", "••••"),
        ("", "••••"),
    ],
)
def test_of_credentials_a_known_scheme_is_left_also_when_they_are_read(name: str, value: str, shown: str) -> None:
    masked = redaction.redact_headers([(name, value)])
    assert masked == {name: shown}
    assert redaction.redact(masked) == masked
    assert json.loads(redaction.redact_text(json.dumps({"headers": masked}))) == {"headers": masked}
    assert not redaction.is_whole(masked)
    assert redaction.scheme_of(shown) == shown.removesuffix("••••").removesuffix(" ")


def test_of_other_headers_and_in_messages_no_scheme_is_left() -> None:
    assert redaction.redact_headers([("x-auth", "Bearer x")]) == {"x-auth": redaction.MASK}
    assert redaction.redact({"authorization": "Bearer x"}) == {"authorization": redaction.MASK}
    assert redaction.redact({"authorization": "Bearer x ••••"}) == {"authorization": redaction.MASK}


def test_a_path_is_kept_unless_it_is_long_or_holds_what_is_none() -> None:
    assert redaction.redact_path("/conformance/mcp") == "/conformance/mcp"
    assert redaction.redact_path("/mcp?secret") == f"/mcp?{redaction.MASK}"
    assert "folded" in redaction.redact_path("/" * (redaction.MAX_PATH_CHARACTERS + 1))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("https://shop.test/a?token=secret&b=1", f"https://shop.test/a?{redaction.MASK}"),
        ("https://shop.test/a?b=1?secret, and secret; secret", f"https://shop.test/a?{redaction.MASK}"),
        ("/a?secret", f"/a?{redaction.MASK}"),
        ("a?secret", f"a?{redaction.MASK}"),
        ("https://ada:secret@shop.test/a", f"https://{redaction.MASK}@shop.test/a"),
        ("https://a@secret@shop.test/a?secret", f"https://{redaction.MASK}@shop.test/a?{redaction.MASK}"),
        ("https://shop.test/a/@ada", "https://shop.test/a/@ada"),
        ("https://shop.test/a", "https://shop.test/a"),
        ("https://shop.test/a?", "https://shop.test/a?"),
        ("?1", "?1"),
    ],
)
def test_the_query_of_a_url_in_a_header_is_masked(value: str, shown: str, settings: Settings) -> None:
    settings.STREAMABLE_HTTP = {"RECORD_HEADERS": ["X-Url"]}
    headers = dict.fromkeys(("referer", "origin", "mcp-name", "x-url", "x-other"), value)
    assert redaction.redact_headers(headers.items()) == {
        **dict.fromkeys(headers, shown),
        "x-other": redaction.MASK,
    }


def test_a_large_message_is_folded_as_a_whole_and_quickly() -> None:
    text = '{"method":"x","password":"secret","rows":[' + ",".join(["1"] * 1_000_000) + "]}"
    begun = time.perf_counter()
    folded = redaction.redact_text(text)
    assert time.perf_counter() - begun < 0.1
    assert "secret" not in folded
    assert f"{len(text)} bytes" in json.loads(folded)["folded"]
    assert len(folded) < 200


def test_a_message_is_large_by_its_bytes() -> None:
    text = json.dumps(["é" * 1_000] * (redaction.MAX_MESSAGE_BYTES // 2_000), ensure_ascii=False)
    assert "folded" not in redaction.redact_text(text)
    longer = json.dumps(["é" * 1_000] * (redaction.MAX_MESSAGE_BYTES // 2_000 + 1), ensure_ascii=False)
    assert len(longer) < redaction.MAX_MESSAGE_BYTES
    assert f"{len(longer.encode())} bytes" in json.loads(redaction.redact_text(longer))["folded"]


def test_a_usual_message_is_redacted_as_text() -> None:
    assert redaction.redact_text('{"password":"x","a":1}') == f'{{"password":"{redaction.MASK}","a":1}}'


def test_no_name_is_kept_whole_however_long_it_is() -> None:
    redaction._is_sensitive.cache_clear()
    name = "x" * 1_000_000
    assert redaction.redact({name: "shown", f"{name}_password": "secret"}) == {
        name: "shown",
        f"{name}_password": redaction.MASK,
    }
    assert redaction._is_sensitive.cache_info().currsize == 2
    redaction.redact({f"another {name}": "shown"})
    # The same end is the same entry.
    assert redaction._is_sensitive.cache_info().currsize == 2


def test_what_is_redacted_already_stays_as_it_is() -> None:
    long = "x" * (redaction.MAX_CHARACTERS + 1)
    message = json.dumps({"token": "t", "long": long, "image": "data:image/png;base64,AAAA", "odd": "data:" + long})
    once = redaction.redact_text(message)
    assert redaction.redact_text(once) == once
    assert "AAAA" not in once
    folded = redaction.redact_text(json.dumps([long] * 20))
    assert redaction.redact_text(folded) == folded


@pytest.mark.parametrize("indent", [None, 2])
def test_json_in_a_string_is_looked_through(indent: int | None) -> None:
    held = json.dumps({"user": "ada", "token": "sk-1", "inner": json.dumps({"password": "hunter2"})}, indent=indent)
    shown = redaction.redact({"content": [{"type": "text", "text": held}]})["content"][0]["text"]
    assert "sk-1" not in shown
    assert "hunter2" not in shown
    assert json.loads(shown)["user"] == "ada"
    assert not redaction.is_whole(shown)
    assert redaction.redact(shown) == shown


@pytest.mark.parametrize("text", ['{ "a": [1,  2] }', "[]", "{not json", '["x"] and more', "[" * 2_000])
def test_a_string_that_holds_no_secret_stays_as_it_was_written(text: str) -> None:
    assert redaction.redact(text) == text
    assert redaction.is_whole(redaction.redact(text))


def test_json_in_a_long_string_is_masked_before_it_is_cut() -> None:
    held = json.dumps({"token": "sk-1", "rows": ["x" * 100] * 100})
    shown = redaction.redact(held)
    assert shown.startswith(f'{{"token":"{redaction.MASK}"')
    assert f"{len(held)} bytes" in shown
    assert "sk-1" not in shown


def test_json_in_json_in_json_breaks_nothing() -> None:
    text = "[" * 60 + '{"token": "sk-1"}' + "]" * 60
    while len(text) < redaction.MAX_MESSAGE_BYTES // 2:
        text = "[" * 60 + json.dumps(text) + "]" * 60
    redaction.redact(text)
    redaction.redact_text(json.dumps(text))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://ada:hunter2@example.com/x", f"https://{redaction.MASK}@example.com/x"),
        (
            "see https://e.example/x?page=2&access_token=sk-1#top",
            f"see https://e.example/x?page=2&access_token={redaction.MASK}#top",
        ),
        ("https://e.example/#token=sk-1", f"https://e.example/#token={redaction.MASK}"),
        ("books://search?q=tokens&page=3", "books://search?q=tokens&page=3"),
        ("write to ada@example.com?token=x", "write to ada@example.com?token=x"),
    ],
)
def test_credentials_in_urls_are_masked(text: str, shown: str) -> None:
    assert redaction.redact([text]) == [shown]
    assert redaction.redact(shown) == shown


def test_data_that_only_begins_like_a_folded_one_is_folded() -> None:
    once = redaction.redact("data:text/plain,secret")
    for alike in (once + "secret", once.replace("… ", "secret… ")):
        assert "secret" not in redaction.redact(alike)


def test_a_message_that_cannot_be_read_is_folded_as_a_whole() -> None:
    assert "secret" not in redaction.redact_text('{"secret"')
