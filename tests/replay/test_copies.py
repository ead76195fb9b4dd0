"""Requests to paste: read by a real shell and by Python, not by eye."""

from __future__ import annotations

import ast
import itertools
import json
import os
import subprocess
import sys
import types
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from streamable_http import redaction
from streamable_http.replay import copies
from streamable_http.replay.copies import as_curl, as_python
from streamable_http.replay.entries import Direction, Entry, Kind

URL = "https://example.org/mcp?a=1&b='$(touch owned)'"
VARIABLES = {
    "TOKEN": "t0ken $(x)",
    "MCP_SESSION_ID": "s3cret",
    "AUTHORIZATION": "the credentials",
    "X_API_KEY": "the key",
    "HEADER_API_KEY": "another key",
    "HEADER_PATH": "the path",
}
HOSTILE = [
    "$(touch owned)",
    "`touch owned`",
    "'; touch owned; '",
    '"; touch owned; "',
    "\\'; touch owned #",
    "a\nb\r\nc",
    "!! $HOME ${TOKEN} * ? ~ \\",
    "{name} {0} %s",
    "\x00\x1b[31m\x7f\x7f\x7f\x9b\u2028\u202e",
    "\ud800",
    "@/etc/passwd",
    "ä€😀",
    '""" + exit() + """',
]
HEADERS = {
    "accept": "application/json, text/event-stream",
    "content-type": "application/json",
    "mcp-protocol-version": "2025-11-25",
    "mcp-session-id": redaction.MASK,
    "authorization": f"Bearer {redaction.MASK}",
    "user-agent": "other",
}


def entry(message: Any, *, headers: dict[str, Any] | None = None, http_method: str = "POST", **changes: Any) -> Entry:
    """A request as the timeline gives it."""
    payload = redaction.redact_text(json.dumps(message)) if message is not None else None
    values: dict[str, Any] = {
        "key": "r1",
        "at": datetime(2026, 1, 1, tzinfo=UTC),
        "direction": Direction.IN,
        "kind": Kind.REQUEST,
        "stream_id": 1,
        "sequence": None,
        "method": message.get("method", "") if isinstance(message, dict) else "",
        "name": "",
        "request_id": "1",
        "size_bytes": 0,
        "pair": "",
        "latency_ms": None,
        "cursor": "",
        "payload": payload,
        "facts": {"method": http_method, "headers": HEADERS if headers is None else headers},
    }
    return Entry(**{**values, **changes})


def call(name: Any = "tool", arguments: Any = None) -> dict[str, Any]:
    params = {"name": name, "arguments": arguments or {}}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


# curl


@pytest.fixture
def shell(tmp_path: Path) -> Any:
    """A function that runs text in a shell whose ``curl`` prints its arguments; returns these."""
    fake = tmp_path / "bin" / "curl"
    fake.parent.mkdir()
    fake.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    fake.chmod(0o755)
    there = tmp_path / "there"
    there.mkdir()
    environment = {"PATH": f"{fake.parent}:{os.defpath}", **VARIABLES}

    def run(text: str) -> list[str]:
        run = subprocess.run(
            ["/bin/sh"], input=text.encode(), capture_output=True, cwd=there, env=environment, check=True, timeout=30
        )
        assert run.stderr == b""
        assert list(there.iterdir()) == []
        arguments: list[str] = json.loads(run.stdout)
        return arguments

    return run


def headers_of(arguments: list[str]) -> list[str]:
    return [value for flag, value in itertools.pairwise(arguments) if flag == "--header"]


def test_a_resume_is_a_get_with_its_cursor(shell: Any) -> None:
    resume = entry(None, http_method="GET", headers={**HEADERS, "last-event-id": "1f.7"}, kind=Kind.RESUME)
    arguments = shell(as_curl(resume, URL))
    assert "--data-binary" not in arguments
    assert arguments[:3] == ["--no-buffer", "--request", "GET"]
    assert "last-event-id: 1f.7" in headers_of(arguments)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_shell_sends_exactly_what_was_recorded(shell: Any, text: str) -> None:
    # The end of a name might tell that it is a secret's.
    message = call(text, {f"{text}x": [text]})
    copied = as_curl(entry(message), URL)
    # Pasted, control characters would be keys that are pressed.
    assert copied.isprintable()
    arguments = shell(copied)
    assert arguments[-1] == URL
    assert json.loads(arguments[arguments.index("--data-binary") + 1]) == message
    assert arguments[arguments.index("--request") + 1] == "POST"
    assert headers_of(arguments) == [
        "mcp-protocol-version: 2025-11-25",
        "accept: application/json, text/event-stream",
        "content-type: application/json",
        "mcp-session-id: s3cret",
        "authorization: Bearer t0ken $(x)",
    ]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_shell_takes_no_header_and_no_method_for_a_command(shell: Any, text: str) -> None:
    arguments = shell(as_curl(entry(call(), headers={"accept": text, "last-event-id": [text]}, http_method=text), URL))
    [header] = headers_of(arguments)
    assert header.startswith("accept: ")
    assert header.isprintable()
    assert header == "accept: " + "".join(character if character.isprintable() else " " for character in text)
    assert len(arguments) == 8


# What was masked, and where it went


def given(script: str) -> dict[str, str]:
    """Return the headers that a script makes of the variables."""
    [named] = [
        node.value
        for node in ast.walk(ast.parse(script))
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "headers"
    ]
    assert isinstance(named, ast.Dict)
    found: dict[str, str] = eval(ast.unparse(named), {"os": types.SimpleNamespace(environ=VARIABLES)})
    return found


SECRETS = [
    ("authorization", "Token ••••", "authorization: Token t0ken $(x)"),
    ("authorization", "basic ••••", "authorization: basic t0ken $(x)"),
    ("authorization", "••••", "authorization: the credentials"),
    ("authorization", "$(id) ••••", "authorization: the credentials"),
    ("x-api-key", "••••", "x-api-key: the key"),
    ("x-api.key", "••••", "x-api.key: the key"),
    ("api-key", "••••", "api-key: another key"),
    ("path", "••••", "path: the path"),
]
"""Headers as they were recorded, and as they are sent."""


@pytest.mark.parametrize(("name", "value", "sent"), SECRETS)
def test_what_was_masked_comes_from_variables_of_its_name(shell: Any, name: str, value: str, sent: str) -> None:
    asked = entry(call(), headers={name: value})
    assert headers_of(shell(as_curl(asked, URL))) == [sent]
    assert given(as_python(asked, URL)) == dict([sent.split(": ", 1)])


@pytest.mark.parametrize(
    "name",
    [
        *(f"x-{text}" for text in HOSTILE),
        "@/etc/passwd",
        "x-key\n",
        "",
        "x" * 9_000,
        "cookie",
        "proxy-authorization",
        "te",
        "sec-ch-ua",
        "x-forwarded-client-cert",
    ],
)
def test_what_is_no_name_to_paste_or_not_the_callers_own_is_left_out(shell: Any, name: str) -> None:
    asked = entry(call(), headers={name: redaction.MASK})
    assert headers_of(shell(as_curl(asked, URL))) == []
    assert "headers" not in as_python(asked, URL)


@pytest.mark.parametrize(
    ("path", "copied"),
    [
        ("/conformance/mcp", "/conformance/mcp"),
        ("//example.org/mcp", "//example.org/mcp"),
        ("/a b?é#'$(id)\n", "/a%20b%3F%C3%A9%23%27%24%28id%29%0A"),
        ("/\ud800", "/%3F"),
        ("mcp", "/mcp"),
        ("", "/mcp"),
        (None, "/mcp"),
        ({}, "/mcp"),
    ],
)
def test_a_request_is_sent_to_where_it_came(path: Any, copied: str) -> None:
    assert copies.path_of(entry(call(), facts={"headers": {}, "path": path})) == copied


@pytest.mark.parametrize("path", ["/" + "a" * 9_000, "/a?secret"])
def test_a_path_that_is_not_whole_says_so(shell: Any, path: str) -> None:
    asked = entry(call(), facts={"headers": {}, "path": redaction.redact_path(path)})
    url = f"https://example.org{copies.path_of(asked)}"
    assert as_curl(asked, url).startswith(f"# {copies.NOT_WHOLE}\n")
    assert shell(as_curl(asked, url))[-1] == url
    assert len(url) < 1_000


# Both


def test_what_is_masked_or_folded_is_said_to_be_missing(shell: Any) -> None:
    missing = f"# {copies.NOT_WHOLE}\n"
    whole = entry(call())
    asked = {"jsonrpc": "2.0", "id": "1f", "result": {}}
    for copy in (as_curl, as_python):
        assert copies.NOT_WHOLE not in copy(whole, URL)
        assert copy(entry(call(arguments={"password": "x"})), URL).startswith(missing)
        assert copy(entry(call(arguments={"x": "y" * 5_000})), URL).startswith(missing)
    # The id that counts is not shown.
    reply = as_curl(entry(asked, kind=Kind.REPLY), URL)
    assert reply.startswith(missing)
    assert shell(reply)
    folded = entry(call(), facts={"method": "", "folded": "99999 bytes, sha256 " + "0" * 64})
    assert as_curl(folded, URL).startswith(missing)
    assert shell(as_curl(folded, URL))[:3] == ["--no-buffer", "--request", "POST"]


@pytest.mark.parametrize("payload", ["[]", '{"params": []}', '{"params": "x"}', '"x"', "1"])
def test_a_message_that_is_no_request_is_copied_as_it_is(shell: Any, payload: str) -> None:
    assert payload in shell(as_curl(entry(None, payload=payload), URL))


def test_only_what_came_in_and_may_be_seen_is_copied() -> None:
    for refused in (entry(call(), direction=Direction.OUT), entry(None, facts={})):
        for copy in (as_curl, as_python):
            with pytest.raises(ValueError, match=r"only what came in|may not be seen"):
                copy(refused, URL)


# Python


def literals(code: str) -> list[Any]:
    """What the call of the client is given, read without running it."""
    methods = ("call_tool", "get_prompt", "read_resource")
    [found] = [
        node
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in methods
    ]
    return [ast.literal_eval(argument) for argument in found.args]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("headers", [HEADERS, {}])
def test_python_reads_everything_from_the_log_as_a_literal(text: str, headers: dict[str, str]) -> None:
    arguments = {f"{text}x": [text, None, True, 1.5, 2**60, {f"{text}x": text}]}
    code = as_python(entry(call(text, arguments), headers=headers), URL)
    code.encode()
    assert literals(code) == [text, arguments]
    assert URL in [node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)]
    assert code.count("\n") == as_python(entry(call(), headers=headers), URL).count("\n")


@pytest.mark.parametrize("method", ["initialize", "ping", "tools/call\nimport os"])
def test_what_the_python_client_has_no_call_for_is_refused(method: str) -> None:
    with pytest.raises(ValueError, match="has no call for"):
        as_python(entry({"method": method}), URL)


def test_each_call_of_the_client_is_copied() -> None:
    read = {"method": "resources/read", "params": {"uri": "a://b"}}
    prompt = {"method": "prompts/get", "params": {"name": "p", "arguments": {"a": "b"}}}
    assert literals(as_python(entry(read), URL)) == ["a://b"]
    assert literals(as_python(entry(prompt), URL)) == ["p", {"a": "b"}]
    for method in ("tools/list", "prompts/list", "resources/list", "resources/templates/list"):
        compile(as_python(entry({"method": method}), URL), "copy", "exec")


def test_a_request_can_be_had_in_the_forms_that_can_write_it() -> None:
    deep: list[Any] = []
    for _ in range(100):
        deep = [deep]
    assert copies.forms_of(entry(call())) == ("curl", "python")
    assert copies.forms_of(entry({**call(), "method": "completion/complete"})) == ("curl",)
    assert copies.forms_of(entry(call(arguments={"deep": deep}))) == ("curl",)
    assert copies.forms_of(entry({"params": []}, method="tools/call")) == ("curl",)
    assert copies.forms_of(entry(call(), facts={})) == ()
    assert copies.forms_of(entry(call(), direction=Direction.OUT)) == ()


@pytest.mark.parametrize("depth", [20, 90, 150, 240, 400, 900])
def test_deep_arguments_compile_or_are_refused(depth: int) -> None:
    deep: Any = "x"
    for _ in range(depth):
        deep = [deep]
    for copy in (as_python, as_curl):
        try:
            code = copy(entry(call(arguments={"deep": deep})), URL)
        except ValueError:
            assert depth > 50
        else:
            assert copy is as_curl or compile(code, "copy", "exec")
