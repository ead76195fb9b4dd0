from __future__ import annotations

from typing import Any

import mcp_types
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp_types import methods

from streamable_http import exceptions
from streamable_http.protocol import jsonrpc
from streamable_http.server import AssistantMessage, Context, MCPServer, dispatch
from tests.server import recording

server = MCPServer("test")


@server.tool(title="Add")
async def add(a: int, b: int = 1) -> int:
    return a + b


@server.tool
async def token(ctx: Context) -> str:
    return repr(ctx.progress_token)


async def request(method: str, params: dict[str, Any] | None = None, *, revision: str = "2025-11-25") -> Any:
    ctx = recording.make_context(server=server, revision=revision)
    return await server.dispatch(jsonrpc.Request(1, method, params or {}), ctx, recording.run_inline)


async def test_ping_is_an_empty_result():
    assert await request("ping") == {}


@pytest.mark.parametrize("revision", recording.REVISIONS)
async def test_tools_are_listed_as_the_revision_has_them(revision):
    result = await request("tools/list", revision=revision)
    methods.validate_server_result("tools/list", revision, result)
    assert [tool["name"] for tool in result["tools"]] == ["add", "token"]
    assert ("outputSchema" in result["tools"][0]) == (revision != recording.R2025_03_26)


@pytest.mark.parametrize("revision", recording.REVISIONS)
async def test_tool_is_called_as_the_revision_has_it(revision):
    result = await request("tools/call", {"name": "add", "arguments": {"a": 2}}, revision=revision)
    methods.validate_server_result("tools/call", revision, result)
    assert mcp_types.CallToolResult.model_validate(result).content == [mcp_types.TextContent(text="3")]
    assert ("structuredContent" in result) == (revision != recording.R2025_03_26)


@pytest.mark.parametrize("arguments", [{}, {"arguments": None}, {"arguments": {}}])
async def test_arguments_may_be_left_out(arguments):
    assert (await request("tools/call", {"name": "token", **arguments}))["isError"] is False


@pytest.mark.parametrize(
    ("method", "params", "message"),
    [
        ("tools/list", {"cursor": "x"}, "invalid cursor; list again from the beginning"),
        ("tools/list", {"cursor": ""}, "invalid cursor; list again from the beginning"),
        ("tools/call", {}, '"name" must be a string'),
        ("tools/call", {"name": ["add"]}, '"name" must be a string'),
        ("tools/call", {"name": "add", "arguments": [1]}, '"arguments" must be an object'),
        ("tools/call", {"name": "add", "arguments": ""}, '"arguments" must be an object'),
        ("tools/call", {"name": "sub"}, "unknown tool: sub"),
        ("tools/call", {"name": "s" * 1000}, f"unknown tool: {'s' * 128}"),
    ],
)
async def test_malformed_request_is_a_json_rpc_error(method, params, message):
    with pytest.raises(exceptions.CallFailed) as raised:
        await request(method, params)
    assert raised.value.code == exceptions.INVALID_PARAMS
    assert raised.value.http_status == 200
    assert str(raised.value) == message


async def test_unknown_method_is_not_found():
    with pytest.raises(exceptions.MethodNotFound, match=r"^method not found: prompts/list$"):
        await request("prompts/list")


# Resources, prompts, completions

shop = MCPServer("shop", page_size=1)


@shop.resource("shop://hours", title="Hours", meta={"a": 1}, icons=[{"src": "https://example.com/a.png"}])
def hours() -> str:
    return "always"


@shop.resource("shop://shelves")
def shelves() -> list[str]:
    return ["a", "b"]


@shop.resource("books://{isbn}", mime_type="application/json", title="Book")
async def book(isbn: str, ctx: Context) -> dict[str, str]:
    await ctx.report_progress(1)
    return {"isbn": isbn}


@shop.prompt(title="Recommend")
def recommend(author: str, mood: str = "any") -> list[Any]:
    """Recommend a book."""
    return [f"{author}, {mood}", AssistantMessage("Emma.")]


@shop.completion(prompt="recommend", argument="author")
async def authors(value: str, arguments: dict[str, str]) -> list[str]:
    return [f"{value} {arguments}"]


@shop.completion(resource="books://{isbn}", argument="isbn")
def isbns(value: str) -> list[str]:
    return [f"{value}0"]


async def ask(method: str, params: dict[str, Any] | None = None, **facts: Any) -> Any:
    facts.setdefault("revision", recording.R2025_11_25)
    ctx = recording.make_context(server=shop, **facts)
    result = await shop.dispatch(jsonrpc.Request(1, method, params or {}), ctx, recording.run_inline)
    methods.validate_server_result(method, facts["revision"], result)
    return result


@pytest.mark.parametrize("revision", recording.REVISIONS)
async def test_resources_are_listed_in_pages(revision):
    first = await ask("resources/list", revision=revision)
    second = await ask("resources/list", {"cursor": first["nextCursor"]}, revision=revision)
    assert [each["uri"] for page in (first, second) for each in page["resources"]] == [
        "shop://hours",
        "shop://shelves",
    ]
    assert "nextCursor" not in second
    assert ("title" in first["resources"][0], "_meta" in first["resources"][0], "icons" in first["resources"][0]) == (
        revision != recording.R2025_03_26,
        revision != recording.R2025_03_26,
        revision == recording.R2025_11_25,
    )


@pytest.mark.parametrize("revision", recording.REVISIONS)
async def test_templates_are_listed_apart(revision):
    (template,) = (await ask("resources/templates/list", revision=revision))["resourceTemplates"]
    assert template["uriTemplate"] == "books://{isbn}"
    assert ("title" in template) == (revision != recording.R2025_03_26)


@pytest.mark.parametrize("revision", recording.REVISIONS)
async def test_resources_and_those_of_templates_are_read(revision):
    assert await ask("resources/read", {"uri": "shop://hours"}, revision=revision) == {
        "contents": [{"uri": "shop://hours", "mimeType": "text/plain", "text": "always"}]
    }
    outlet = recording.RecordingOutlet()
    params = {"uri": "books://978", "_meta": {"progressToken": 1}}
    assert await ask("resources/read", params, revision=revision, outlet=outlet) == {
        "contents": [{"uri": "books://978", "mimeType": "application/json", "text": '{"isbn":"978"}'}]
    }
    assert [message["params"]["progress"] for message in outlet.messages] == [1]


@pytest.mark.parametrize("revision", recording.REVISIONS)
async def test_prompts_are_listed_and_got(revision):
    (prompt,) = (await ask("prompts/list", revision=revision))["prompts"]
    assert prompt["arguments"] == [{"name": "author", "required": True}, {"name": "mood", "required": False}]
    assert ("title" in prompt) == (revision != recording.R2025_03_26)
    params = {"name": "recommend", "arguments": {"author": "Austen"}}
    assert await ask("prompts/get", params, revision=revision) == {
        "description": "Recommend a book.",
        "messages": [
            {"role": "user", "content": {"type": "text", "text": "Austen, any"}},
            {"role": "assistant", "content": {"type": "text", "text": "Emma."}},
        ],
    }


def completing(argument: str, value: str = "A", **more: Any) -> dict[str, Any]:
    return {"ref": {"type": "ref/prompt", "name": "recommend"}, "argument": {"name": argument, "value": value}, **more}


@pytest.mark.parametrize("revision", recording.REVISIONS)
async def test_completions_know_the_other_arguments_where_the_revision_sends_them(revision):
    params = completing("author", context={"arguments": {"mood": "light", "bad": 1}})
    result = await ask("completion/complete", params, revision=revision)
    known = {} if revision == recording.R2025_03_26 else {"mood": "light"}
    assert result["completion"]["values"] == [f"A {known}"]


async def test_variables_of_templates_are_completed():
    params = {"ref": {"type": "ref/resource", "uri": "books://{isbn}"}, "argument": {"name": "isbn", "value": "97"}}
    assert (await ask("completion/complete", params))["completion"]["values"] == ["970"]


@pytest.mark.parametrize("more", [{}, {"context": None}, {"context": {}}, {"context": {"arguments": None}}])
async def test_argument_that_nobody_completes_has_no_values(more):
    expected = {"completion": {"values": [], "total": 0, "hasMore": False}}
    assert await ask("completion/complete", completing("mood", **more)) == expected
    assert (await ask("completion/complete", completing("author", **more)))["completion"]["values"] == ["A {}"]


@pytest.mark.parametrize(
    ("method", "params", "message"),
    [
        ("resources/list", {"cursor": "x"}, "invalid cursor; list again from the beginning"),
        ("resources/templates/list", {"cursor": 1}, "invalid cursor; list again from the beginning"),
        ("prompts/list", {"cursor": ""}, "invalid cursor; list again from the beginning"),
        ("resources/read", {}, '"uri" must be a string'),
        ("resources/read", {"uri": ["shop://hours"]}, '"uri" must be a string'),
        ("prompts/get", {}, '"name" must be a string'),
        ("prompts/get", {"name": "x" * 1000}, f"unknown prompt: {'x' * 128}"),
        ("prompts/get", {"name": "recommend", "arguments": []}, '"arguments" must be an object'),
        ("prompts/get", {"name": "recommend"}, "invalid arguments: author: is required"),
        ("completion/complete", {}, '"ref.type" must be one of ref/prompt, ref/resource'),
        ("completion/complete", {"ref": "x"}, '"ref" must be an object'),
        ("completion/complete", {"ref": {"type": ["x"]}}, '"ref.type" must be one of ref/prompt, ref/resource'),
        ("completion/complete", {"ref": {"type": "ref/prompt"}}, '"name" must be a string'),
        ("completion/complete", {"ref": {"type": "ref/resource"}}, '"uri" must be a string'),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "a"}}, '"name" must be a string'),
        ("completion/complete", completing("author", 1), '"value" must be a string'),  # type: ignore[arg-type]
        ("completion/complete", completing("autor"), "unknown argument: autor"),
        ("completion/complete", completing("author", context=1), '"context" must be an object'),
        ("completion/complete", completing("author", context={"arguments": 1}), '"arguments" must be an object'),
        (
            "completion/complete",
            {**completing("author"), "ref": {"type": "ref/prompt", "name": "x"}},
            "unknown prompt: x",
        ),
        (
            "completion/complete",
            {**completing("author"), "ref": {"type": "ref/resource", "uri": "x://y"}},
            "unknown resource template: x://y",
        ),
    ],
)
async def test_other_malformed_requests_are_json_rpc_errors(method, params, message):
    with pytest.raises(exceptions.CallFailed) as raised:
        await ask(method, params)
    assert (raised.value.code, str(raised.value)) == (exceptions.INVALID_PARAMS, message)


@pytest.mark.parametrize(
    "method",
    [
        "tools/list",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "prompts/list",
        "prompts/get",
        "completion/complete",
    ],
)
async def test_what_a_server_never_said_that_it_has_is_not_there(method):
    empty = MCPServer("empty")
    with pytest.raises(exceptions.MethodNotFound, match=f"^method not found: {method}$"):
        await empty.dispatch(jsonrpc.Request(1, method), recording.make_context(server=empty), recording.run_inline)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = ("name", "uri", "arguments", "cursor", "ref", "argument", "context", "type", "value", "author", "_meta")
KNOWN = st.sampled_from(
    ["recommend", "author", "ref/prompt", "ref/resource", "books://{isbn}", "books://9", "shop://hours"]
)
PARAMS = st.dictionaries(
    st.sampled_from(MEMBERS), KNOWN | JSON | st.dictionaries(st.sampled_from(MEMBERS), KNOWN | JSON), max_size=4
)


@given(st.sampled_from([method for method in dispatch.HANDLERS if method != "tools/list"]), PARAMS)
async def test_whatever_is_asked_the_answer_is_a_result_or_a_json_rpc_error(method, params):
    try:
        await ask(method, params)
    except exceptions.ProtocolError as error:
        assert error.code in (exceptions.INVALID_PARAMS, exceptions.RESOURCE_NOT_FOUND)  # noqa: PT017


# Permissions and throttles


class Gate:
    """Permits what has the class that it is made for, and throttles as it is told."""

    def __init__(self, permitted: str = "", wait_seconds: float | None = None) -> None:
        self.permitted = permitted
        self.wait_seconds = wait_seconds
        self.asked: list[tuple[str, str]] = []

    async def permits(self, permission_classes, name) -> bool:
        self.asked.append(("permits", name))
        return self.permitted in permission_classes

    async def throttled(self, throttle_classes, name) -> float | None:
        self.asked.append(("throttled", name))
        return self.wait_seconds


guarded = MCPServer("guarded")


@guarded.tool(permission_classes=["staff"], throttle_classes=["often"])
async def refund(amount: int) -> int:
    return amount


@guarded.tool
async def free() -> str:
    return "free"


@guarded.prompt(permission_classes=["staff"])
def internal(shelf: str) -> str:
    return "secret"


@guarded.completion(prompt="internal", argument="shelf")
def shelf_names(value: str) -> list[str]:
    return ["secret"]


async def guarded_ask(gate: Gate, method: str, params: dict[str, Any] | None = None) -> Any:
    ctx = recording.make_context(server=guarded, gate=gate)
    return await guarded.dispatch(jsonrpc.Request(1, method, params or {}), ctx, recording.run_inline)


async def refusal(gate: Gate, method: str, params: dict[str, Any]) -> tuple[int, str]:
    with pytest.raises(exceptions.CallFailed) as raised:
        await guarded_ask(gate, method, params)
    return raised.value.code, str(raised.value)


REFUND = {"name": "refund", "arguments": {"amount": 1}}


async def test_tool_that_is_not_permitted_looks_like_one_that_does_not_exist():
    listed = await guarded_ask(Gate(), "tools/list")
    assert [tool["name"] for tool in listed["tools"]] == ["free"]
    assert await refusal(Gate(), "tools/call", REFUND) == (exceptions.INVALID_PARAMS, "unknown tool: refund")
    assert await refusal(Gate(), "tools/call", {"name": "other"}) == (exceptions.INVALID_PARAMS, "unknown tool: other")


async def test_tool_that_is_permitted_is_there():
    gate = Gate("staff")
    assert [tool["name"] for tool in (await guarded_ask(gate, "tools/list"))["tools"]] == ["refund", "free"]
    assert (await guarded_ask(gate, "tools/call", REFUND))["structuredContent"] == {"result": 1}


async def test_prompt_that_is_not_permitted_looks_like_one_that_does_not_exist():
    params = {"ref": {"type": "ref/prompt", "name": "internal"}, "argument": {"name": "shelf", "value": ""}}
    expected = (exceptions.INVALID_PARAMS, "unknown prompt: internal")
    assert (await guarded_ask(Gate(), "prompts/list"))["prompts"] == []
    assert await refusal(Gate(), "prompts/get", {"name": "internal"}) == expected
    assert await refusal(Gate(), "completion/complete", params) == expected
    assert (await guarded_ask(Gate("staff"), "completion/complete", params))["completion"]["values"] == ["secret"]


@pytest.mark.parametrize(("seconds", "shown"), [(0.2, "1"), (1, "1"), (59.01, "60")])
async def test_call_that_comes_too_often_is_told_in_band(seconds, shown):
    result = await guarded_ask(Gate("staff", wait_seconds=seconds), "tools/call", REFUND)
    text = f"called too often; try again in {shown} s"
    assert result == {"content": [{"type": "text", "text": text}], "isError": True}


async def test_who_may_not_call_is_not_counted():
    gate = Gate(wait_seconds=1)
    await refusal(gate, "tools/call", REFUND)
    assert gate.asked == [("permits", "refund")]


async def test_nothing_is_asked_about_what_has_no_classes():
    gate = Gate()
    await guarded_ask(gate, "tools/call", {"name": "free"})
    assert gate.asked == []


# Progress tokens and levels


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({"progressToken": "t"}, "'t'"),
        ({"progressToken": 0}, "0"),
        ({"progressToken": True}, "None"),
        ({"progressToken": 1.5}, "None"),
        ({"progressToken": None}, "None"),
        ({}, "None"),
        ("meta", "None"),
    ],
)
async def test_progress_token_is_a_string_or_an_integer(meta, expected):
    result = await request("tools/call", {"name": "token", "_meta": meta})
    assert result["content"][0]["text"] == expected


@pytest.mark.parametrize("level", ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"])
def test_log_level_is_one_of_eight(level):
    assert dispatch.log_level({"level": level}) == level


@pytest.mark.parametrize("params", [{}, {"level": "loud"}, {"level": ["info"]}, {"level": None}])
def test_other_log_levels_are_refused(params):
    with pytest.raises(exceptions.CallFailed, match=r'^"level" must be one of debug, info,') as raised:
        dispatch.log_level(params)
    assert raised.value.code == exceptions.INVALID_PARAMS
