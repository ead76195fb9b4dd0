from __future__ import annotations

import copy
from typing import Any

import pytest

from tests import schemas
from tests.schemas import R2025_03_26, R2025_06_18, R2025_11_25, REVISIONS

TEXT = {"type": "text", "text": "hello"}
LINK = {"type": "resource_link", "name": "hours", "uri": "shop://hours"}
EMBEDDED = {"type": "resource", "resource": {"uri": "shop://hours", "text": "9 to 5", "mimeType": "text/plain"}}
ICON = {"src": "https://shop.test/icon.png", "mimeType": "image/png", "sizes": ["48x48"]}
INITIALIZED = {"protocolVersion": "x", "capabilities": {"tools": {}}, "serverInfo": {"name": "site", "version": "1"}}
TOOL = {"name": "add", "inputSchema": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {}}}
SAMPLING = {"messages": [{"role": "user", "content": TEXT}], "maxTokens": 10}
PROGRESS = {"progressToken": 1, "progress": 0.5, "total": 1, "message": "half", "_meta": {"a": None}}


def result(value: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "result": value}


def error(**changes: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "error": {"code": -32600, "message": "no", **changes}}


def notification(method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, **({} if params is None else {"params": params})}


def request(method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"id": "a", **notification(method, params)}


def form(**field: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"name": field}, "required": ["name"]}
    return request("elicitation/create", {"message": "Your name?", "requestedSchema": schema})


def without(message: dict[str, Any], member: str) -> dict[str, Any]:
    return {name: value for name, value in message.items() if name != member}


# What all revisions have

IN_ALL = [
    ("ping", result({})),
    ("ping", result({"_meta": {"any": ["thing", None]}})),
    ("initialize", result(INITIALIZED)),
    ("tools/list", result({"tools": [TOOL], "nextCursor": "more"})),
    ("tools/call", result({"content": [TEXT, EMBEDDED], "isError": False})),
    ("resources/list", result({"resources": [{"uri": "shop://hours", "name": "hours", "size": 7}]})),
    ("resources/templates/list", result({"resourceTemplates": [{"uriTemplate": "a://{b}", "name": "b"}]})),
    ("resources/read", result({"contents": [{"uri": "shop://hours", "blob": "AA=="}]})),
    ("resources/subscribe", result({})),
    ("prompts/list", result({"prompts": [{"name": "p", "arguments": [{"name": "a", "required": True}]}]})),
    ("prompts/get", result({"messages": [{"role": "user", "content": TEXT}]})),
    ("completion/complete", result({"completion": {"values": ["a"], "total": 1, "hasMore": False}})),
    ("tools/call", error()),
    ("tools/call", error(data={"uri": "x"})),
    ("", notification("notifications/progress", PROGRESS)),
    ("", notification("notifications/message", {"level": "info", "data": None, "logger": "shop"})),
    ("", notification("notifications/tools/list_changed")),
    ("", notification("notifications/tools/list_changed", {})),
    ("", notification("notifications/resources/updated", {"uri": "shop://hours"})),
    ("", request("ping")),
    ("", request("roots/list", {})),
    ("", request("sampling/createMessage", {**SAMPLING, "systemPrompt": "be brief", "temperature": 0.5})),
]


@pytest.mark.parametrize("revision", REVISIONS)
@pytest.mark.parametrize(("requested", "message"), IN_ALL)
def test_what_all_revisions_have_passes(revision: str, requested: str, message: dict[str, Any]) -> None:
    schemas.check(message, revision=revision, requested=[requested] if requested else [])


PLANTED = [
    ("an id that is null", "tools/call", {**error(), "id": None}),
    ("an id that is a float", "ping", {**result({}), "id": 1.5}),
    ("an id that is a boolean", "ping", {**result({}), "id": True}),
    ("no id", "ping", without(result({}), "id")),
    ("no version", "ping", without(result({}), "jsonrpc")),
    ("an old version", "ping", {**result({}), "jsonrpc": "1.0"}),
    ("a result and an error", "ping", {**result({}), **error()}),
    ("a member beside the result", "ping", {**result({}), "extra": 1}),
    ("no object", "ping", [result({})]),
    ("a result that is null", "ping", {**result({}), "result": None}),
    ("an unknown member of an empty result", "ping", result({"resultType": "complete"})),
    ("an unknown member", "tools/call", result({"content": [], "resultType": "complete"})),
    ("a null member", "tools/call", result({"content": [], "isError": None})),
    ("a null in a block", "tools/call", result({"content": [{**TEXT, "annotations": None}]})),
    ("an unknown member of a block", "tools/call", result({"content": [{**TEXT, "mimeType": "text/plain"}]})),
    ("an unknown block", "tools/call", result({"content": [{"type": "video", "data": "", "mimeType": "video/mp4"}]})),
    ("no content", "tools/call", result({"structuredContent": {}})),
    ("a null next page", "tools/list", result({"tools": [], "nextCursor": None})),
    ("a tool without schema", "tools/list", result({"tools": [{"name": "add"}]})),
    ("a schema that is none", "tools/list", result({"tools": [{**TOOL, "inputSchema": {"type": "obj"}}]})),
    (
        "keywords that are none",
        "tools/list",
        result({"tools": [{**TOOL, "inputSchema": {"type": "object", "properties": {"a": {"minimum": "1"}}}}]}),
    ),
    (
        "a null title",
        "initialize",
        result({**INITIALIZED, "serverInfo": {"name": "a", "version": "1", "title": None}}),
    ),
    ("tasks", "initialize", result({**INITIALIZED, "capabilities": {"tasks": {}}})),
    ("neither text nor blob", "resources/read", result({"contents": [{"uri": "shop://hours"}]})),
    ("101 values", "completion/complete", result({"completion": {"values": ["a"] * 101}})),
    ("a result of an unknown method", "tasks/list", result({"tasks": []})),
    ("another method's result", "prompts/list", result({"tools": []})),
    ("an error without message", "ping", {**error(), "error": {"code": 1}}),
    ("an error with a text as code", "ping", error(code="-1")),
    ("an error with null data", "ping", error(data=None)),
    ("an unknown notification", "", notification("notifications/initialized")),
    ("a null total", "", notification("notifications/progress", {"progressToken": 1, "progress": 1, "total": None})),
    ("no progress", "", notification("notifications/progress", {"progressToken": 1})),
    ("params that are null", "", {**notification("notifications/tools/list_changed"), "params": None}),
    ("an unknown level", "", notification("notifications/message", {"level": "fatal", "data": 1})),
    ("an unknown request", "", request("tools/list")),
    ("a request with id null", "", {**request("ping"), "id": None}),
    ("no messages", "", request("sampling/createMessage", {"maxTokens": 10})),
    ("a null system prompt", "", request("sampling/createMessage", {**SAMPLING, "systemPrompt": None})),
]


@pytest.mark.parametrize("revision", REVISIONS)
@pytest.mark.parametrize(("requested", "message"), [row[1:] for row in PLANTED], ids=[row[0] for row in PLANTED])
def test_a_planted_violation_is_found_in_every_revision(revision: str, requested: str, message: Any) -> None:
    with pytest.raises(schemas.Violation):
        schemas.check(message, revision=revision, requested=[requested] if requested else [])


# What came later: the first revision that has it

SINCE = [
    (R2025_06_18, "tools/call", result({"content": [], "structuredContent": {"a": 1}})),
    (R2025_06_18, "tools/call", result({"content": [LINK]})),
    (R2025_06_18, "tools/call", result({"content": [{**TEXT, "_meta": {}}]})),
    (R2025_06_18, "tools/call", result({"content": [{**TEXT, "annotations": {"lastModified": "2025-01-01"}}]})),
    (R2025_06_18, "tools/list", result({"tools": [{**TOOL, "title": "Add"}]})),
    (R2025_06_18, "tools/list", result({"tools": [{**TOOL, "_meta": {}}]})),
    (R2025_06_18, "tools/list", result({"tools": [{**TOOL, "outputSchema": {"type": "object"}}]})),
    (R2025_06_18, "resources/list", result({"resources": [{"uri": "a://b", "name": "b", "title": "B"}]})),
    (R2025_06_18, "prompts/get", result({"messages": [{"role": "user", "content": LINK}]})),
    (R2025_06_18, "initialize", result({**INITIALIZED, "serverInfo": {"name": "a", "version": "1", "title": "A"}})),
    (R2025_06_18, "", form(type="string", minLength=1, format="email")),
    (R2025_06_18, "", form(type="string", enum=["a", "b"], enumNames=["A", "B"])),
    (R2025_06_18, "", form(type="boolean", default=True)),
    (R2025_11_25, "", form(type="string", default="a")),
    (R2025_11_25, "", form(type="integer", default=1, minimum=0)),
    (R2025_11_25, "", form(type="string", oneOf=[{"const": "a", "title": "A"}])),
    (R2025_11_25, "", form(type="array", items={"type": "string", "enum": ["a"]}, maxItems=1)),
    (R2025_11_25, "", form(type="array", items={"anyOf": [{"const": "a", "title": "A"}]})),
    (R2025_11_25, "", request("elicitation/create", {**form(type="string")["params"], "mode": "form"})),
    (
        R2025_11_25,
        "",
        request("elicitation/create", {"mode": "url", "message": "m", "url": "https://a.test", "elicitationId": "1"}),
    ),
    (R2025_11_25, "", notification("notifications/elicitation/complete", {"elicitationId": "1"})),
    (R2025_11_25, "tools/list", result({"tools": [{**TOOL, "icons": [ICON]}]})),
    (R2025_11_25, "tools/call", result({"content": [{**LINK, "icons": [ICON]}]})),
    (
        R2025_11_25,
        "initialize",
        result({**INITIALIZED, "serverInfo": {"name": "a", "version": "1", "websiteUrl": "https://a.test"}}),
    ),
    (
        R2025_11_25,
        "",
        request("sampling/createMessage", {**SAMPLING, "tools": [TOOL], "toolChoice": {"mode": "auto"}}),
    ),
    (
        R2025_11_25,
        "",
        request("sampling/createMessage", {**SAMPLING, "messages": [{"role": "user", "content": [TEXT]}]}),
    ),
    (R2025_11_25, "ping", without(error(), "id")),
    (
        R2025_11_25,
        "tools/call",
        error(
            code=-32042,
            data={"elicitations": [{"mode": "url", "message": "m", "url": "https://a.test", "elicitationId": "1"}]},
        ),
    ),
]


@pytest.mark.parametrize("revision", REVISIONS)
@pytest.mark.parametrize(("since", "requested", "message"), SINCE)
def test_what_came_later_is_in_no_older_revision(
    revision: str, since: str, requested: str, message: dict[str, Any]
) -> None:
    found = list(schemas.problems(message, revision=revision, requested=[requested] if requested else []))
    assert bool(found) is (revision < since), found


@pytest.mark.parametrize(
    "field",
    [
        {"type": "object", "properties": {}},
        {"type": "string", "pattern": "a"},
        {"type": "string", "format": "uuid"},
        {"type": "string", "title": None},
        {"type": "array", "items": {"type": "integer"}},
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
        {"$ref": "#/$defs/A"},
    ],
)
def test_forms_hold_only_what_clients_can_show(field: dict[str, Any]) -> None:
    for revision in (R2025_06_18, R2025_11_25):
        assert list(schemas.problems(form(**field), revision=revision))


@pytest.mark.parametrize("data", [None, {}, {"elicitations": [{"mode": "form"}]}, {"elicitations": [{"mode": "url"}]}])
def test_a_demand_for_a_url_says_which(data: Any) -> None:
    message = error(code=-32042, data=data)
    assert list(schemas.problems(message, revision=R2025_11_25))


def test_a_result_may_answer_any_of_the_requests_with_its_id() -> None:
    schemas.check(result({"tools": []}), revision=R2025_03_26, requested=["ping", "tools/list"])
    with pytest.raises(schemas.Violation, match="nextCursor"):
        schemas.check(result({"tools": [], "nextCursor": 1}), revision=R2025_03_26, requested=["ping", "tools/list"])


def test_a_result_of_nobody_knows_what_is_looked_at_from_outside() -> None:
    schemas.check(result({"anything": 1}), revision=R2025_03_26)
    with pytest.raises(schemas.Violation):
        schemas.check({**result({}), "id": None}, revision=R2025_03_26)


def test_looking_changes_nothing() -> None:
    for requested, message in IN_ALL:
        before = copy.deepcopy(message)
        schemas.check(message, revision=R2025_11_25, requested=[requested] if requested else [])
        assert message == before
