from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import mcp_types
import pytest
from mcp_types import methods

from streamable_http import exceptions
from streamable_http.protocol import jsonrpc
from streamable_http.server import (
    Context,
    Icon,
    MCPServer,
    ResourceNotFound,
    SyncContext,
    UrlElicitation,
    UrlElicitationRequired,
)
from tests.server import recording


async def reading(a: int) -> int:
    """Read."""
    return a


def hours() -> str:
    """When we are open."""
    return "always"


def book(isbn: int) -> str:
    return f"book {isbn}"


def suggest(value: str) -> list[str]:
    return [value]


def full() -> MCPServer:
    """Return a server with one of everything."""
    server = MCPServer("full")
    server.add_tool(reading)
    server.add_resource("shop://hours", hours)
    server.add_resource("books://{isbn}", book)
    server.add_prompt(reading)
    server.add_completion(suggest, prompt="reading", argument="a")
    return server


def call_of(name: Any) -> jsonrpc.Request:
    return jsonrpc.Request(1, "tools/call", {"name": name})


async def dispatch(server: MCPServer, method: str, params: dict[str, Any] | None = None, **facts: Any) -> Any:
    ctx = recording.make_context(server=server, **facts)
    return await server.dispatch(jsonrpc.Request(1, method, params or {}), ctx, recording.run_inline)


class Gate:
    """Lets through whoever is of the staff."""

    def __init__(self, is_staff: bool) -> None:
        self.is_staff = is_staff

    async def permits(self, permission_classes, name) -> bool:
        return self.is_staff

    async def throttled(self, throttle_classes, name) -> float | None:
        raise AssertionError


# Initialize


@pytest.mark.parametrize("revision", recording.REVISIONS)
def test_initialize_says_who_and_what(revision):
    server = MCPServer("bookshop", version="1.0", title="The Bookshop", instructions="Search first.")
    server.add_tool(reading)
    result = server.initialize(revision=revision)
    info = {"name": "bookshop", "version": "1.0", "title": "The Bookshop"}
    if revision == recording.R2025_03_26:
        del info["title"]
    assert result == {
        "protocolVersion": revision,
        "capabilities": {"logging": {}, "tools": {"listChanged": True}},
        "serverInfo": info,
        "instructions": "Search first.",
    }
    mcp_types.InitializeResult.model_validate(result)


def test_initialize_leaves_out_what_there_is_not():
    result = MCPServer("empty").initialize(revision=recording.R2025_11_25)
    assert result["capabilities"] == {"logging": {}}
    assert result["serverInfo"] == {"name": "empty", "version": "0"}
    assert "instructions" not in result


@pytest.mark.parametrize("revision", recording.REVISIONS)
def test_capabilities_are_what_was_declared(revision):
    result = full().initialize(revision=revision)
    assert result["capabilities"] == {
        "logging": {},
        "tools": {"listChanged": True},
        "prompts": {"listChanged": True},
        "resources": {"subscribe": True, "listChanged": True},
        "completions": {},
    }
    methods.validate_server_result("initialize", revision, result)


def test_where_nobody_listens_no_news_are_promised():
    result = full().initialize(revision=recording.R2025_11_25, listens=False)
    assert result["capabilities"] == {"logging": {}, "tools": {}, "prompts": {}, "resources": {}, "completions": {}}


def test_templates_alone_are_resources_too():
    server = MCPServer("test")
    assert not server.subscribes
    server.add_resource("books://{isbn}", book)
    assert server.subscribes
    assert "resources" in server.initialize(revision=recording.R2025_11_25)["capabilities"]


def test_server_has_icons_and_a_page_where_the_revision_has_them():
    icons = [Icon(src="https://example.com/a.png", mime_type="image/png", sizes=["48x48"])]
    server = MCPServer("test", title="Test", icons=icons, website_url="https://example.com")
    members = {
        revision: server.initialize(revision=revision)["serverInfo"].keys() - {"name", "version"}
        for revision in recording.REVISIONS
    }
    assert members == {
        recording.R2025_03_26: set(),
        recording.R2025_06_18: {"title"},
        recording.R2025_11_25: {"title", "icons", "websiteUrl"},
    }
    info = server.initialize(revision=recording.R2025_11_25)["serverInfo"]
    assert info["icons"] == [{"src": "https://example.com/a.png", "mimeType": "image/png", "sizes": ["48x48"]}]
    mcp_types.Implementation.model_validate(info)


@pytest.mark.parametrize(
    ("options", "error"),
    [({"icons": [{"url": "x"}]}, ValueError), ({"page_size": 0}, ValueError), ({"middleware": [1]}, TypeError)],
)
def test_option_that_does_not_fit_is_refused(options, error):
    with pytest.raises(error):
        MCPServer("test", **options)


# Serving


def test_list_is_made_once_for_each_revision_until_a_tool_is_added():
    server = MCPServer("test")
    server.add_tool(reading)
    first = server.tool_list.first_page(recording.R2025_11_25)
    assert server.tool_list.first_page(recording.R2025_11_25) is first
    assert server.tool_list.first_page(recording.R2025_03_26) is not first
    server.add_tool(reading, name="second")
    assert [tool["name"] for tool in server.tool_list.first_page(recording.R2025_11_25)["tools"]] == [
        "reading",
        "second",
    ]


@pytest.mark.parametrize(
    ("method", "runs"),
    [
        ("tools/call", True),
        ("resources/read", True),
        ("prompts/get", True),
        ("completion/complete", True),
        ("tools/list", False),
        ("resources/list", False),
        ("ping", False),
        ("x", False),
    ],
)
def test_calls_and_reads_run_user_code(method, runs):
    assert MCPServer("test").runs_user_code(jsonrpc.Request(1, method)) is runs


def test_what_a_tool_declares_decides_how_its_calls_are_run():
    server = MCPServer("test")
    server.add_tool(reading, name="plain")
    server.add_tool(reading, name="reads", annotations={"readOnlyHint": True})
    server.add_tool(reading, name="again", annotations={"idempotentHint": True}, on_worker_loss="rerun")
    early = {name: server.may_start_early(call_of(name)) for name in ("plain", "reads", "again", "nothing")}
    rerun = {name: server.may_rerun(call_of(name)) for name in ("plain", "reads", "again", "nothing")}
    assert early == {"plain": False, "reads": True, "again": True, "nothing": False}
    assert rerun == {"plain": False, "reads": False, "again": True, "nothing": False}


@pytest.mark.parametrize("name", [None, 1, ["reads"]])
def test_malformed_call_neither_starts_early_nor_runs_again(name):
    server = MCPServer("test")
    server.add_tool(reading, annotations={"readOnlyHint": True})
    assert not server.may_start_early(call_of(name))
    assert not server.may_rerun(call_of(name))


@pytest.mark.parametrize("method", ["resources/read", "prompts/get", "completion/complete"])
def test_what_only_reads_starts_early_and_does_not_run_again(method):
    assert MCPServer("test").may_start_early(jsonrpc.Request(1, method))
    assert not MCPServer("test").may_rerun(jsonrpc.Request(1, method))


def test_lists_do_not_start_early():
    server = MCPServer("test")
    server.add_tool(reading, annotations={"readOnlyHint": True})
    assert not server.may_start_early(jsonrpc.Request(1, "tools/list", {"name": "reading"}))


def test_package_runs_without_django():
    script = "import sys; sys.modules['django'] = None; import streamable_http.server"
    subprocess.run([sys.executable, "-c", script], check=True)


# Which resource


async def test_resources_that_may_be_there_are_those_of_a_uri_or_a_template():
    server = full()
    await server.require_readable("shop://hours", recording.make_context())
    await server.require_readable("books://978", recording.make_context())
    await server.require_readable("books://0", recording.make_context())


UNKNOWN = [
    "",
    "shop://other",
    "books://abc",
    "books://1/2",
    "books://..",
    "books://%2e%2e",
    "books://%2e%2e%2f1",
    "file:///etc/passwd",
    "http://169.254.169.254/latest/meta-data",
    "\\\\host\\share",
    "shop://hours/..",
    "SHOP://hours",
    "shop://hours\0",
    "books://{isbn}",
    "x" * 100_000,
]


@pytest.mark.parametrize("uri", UNKNOWN)
async def test_any_other_uri_is_not_found(uri):
    server = full()
    with pytest.raises(exceptions.CallFailed, match=r"^resource not found$") as raised:
        await server.require_readable(uri, recording.make_context())
    assert (raised.value.code, raised.value.data) == (exceptions.RESOURCE_NOT_FOUND, {"uri": uri})
    with pytest.raises(exceptions.CallFailed, match=r"^resource not found$") as raised:
        await dispatch(server, "resources/read", {"uri": uri})
    assert (raised.value.code, raised.value.data) == (exceptions.RESOURCE_NOT_FOUND, {"uri": uri})


async def test_uri_is_a_string():
    with pytest.raises(exceptions.CallFailed, match=r'^"uri" must be a string$'):
        await full().require_readable(1, recording.make_context())


async def test_server_without_resources_has_no_subscriptions():
    with pytest.raises(exceptions.MethodNotFound):
        await MCPServer("test").require_readable("shop://hours", recording.make_context())


async def test_first_template_that_matches_and_is_permitted_is_read():
    server = MCPServer("test")

    def staff(name: str) -> str:
        return "staff"

    def everybody(name: str) -> str:
        return "everybody"

    def fixed() -> str:
        return "fixed"

    server.add_resource("x://a", fixed, permission_classes=["staff"])
    server.add_resource("x://{name}", staff, permission_classes=["staff"])
    server.add_resource("x://{+name}", everybody)

    async def read(uri: str, is_staff: bool) -> str:
        result = await dispatch(server, "resources/read", {"uri": uri}, gate=Gate(is_staff))
        return result["contents"][0]["text"]

    assert await read("x://a", True) == "fixed"
    assert await read("x://b", True) == "staff"
    assert await read("x://b/c", True) == "everybody"
    assert await read("x://a", False) == "everybody"
    assert await read("x://b", False) == "everybody"


async def test_resource_that_is_not_permitted_does_not_exist():
    server = MCPServer("test")
    server.add_resource("shop://hours", hours, permission_classes=["staff"])
    server.add_resource("books://{isbn}", book, permission_classes=["staff"])
    for uri in ("shop://hours", "books://1"):
        await server.require_readable(uri, recording.make_context(gate=Gate(True)))
        with pytest.raises(exceptions.CallFailed) as raised:
            await server.require_readable(uri, recording.make_context(gate=Gate(False)))
        with pytest.raises(exceptions.CallFailed) as unknown:
            await server.require_readable("x://y", recording.make_context(gate=Gate(False)))
        assert (raised.value.code, str(raised.value)) == (unknown.value.code, str(unknown.value))
    assert (await dispatch(server, "resources/list", gate=Gate(False)))["resources"] == []
    assert (await dispatch(server, "resources/templates/list", gate=Gate(False)))["resourceTemplates"] == []
    assert len((await dispatch(server, "resources/list", gate=Gate(True)))["resources"]) == 1


async def test_resource_that_raises_is_not_found_by_its_own_uri():
    server = MCPServer("test")

    def absent(isbn: str) -> str:
        raise ResourceNotFound(f"no book {isbn}")

    server.add_resource("books://{isbn}", absent)
    with pytest.raises(exceptions.CallFailed, match=r"^no book 1$") as raised:
        await dispatch(server, "resources/read", {"uri": "books://1"})
    assert raised.value.data == {"uri": "books://1"}


# Middleware


async def test_middleware_is_around_every_request_outermost_first():
    seen = []

    async def outer(request, ctx, call_next):
        seen.append(("outer", request.method))
        result = await call_next(request, ctx)
        seen.append(("outer", "out"))
        return {**result, "_meta": {"seen": True}}

    async def inner(request, ctx, call_next):
        seen.append(("inner", request.method))
        return await call_next(
            jsonrpc.Request(request.id, request.method, {**request.params, "arguments": {"a": 2}}), ctx
        )

    server = MCPServer("test", middleware=[outer, inner])
    server.add_tool(reading)
    result = await dispatch(server, "tools/call", {"name": "reading", "arguments": {"a": 1}})
    assert result["structuredContent"] == {"result": 2}
    assert result["_meta"] == {"seen": True}
    assert seen == [("outer", "tools/call"), ("inner", "tools/call"), ("outer", "out")]
    seen.clear()
    assert await dispatch(server, "ping") == {}
    assert seen == []
    await dispatch(server, "tools/list")
    assert len(seen) == 3


async def test_middleware_may_answer_or_refuse_by_itself():
    async def answer(request, ctx, call_next):
        if request.method == "tools/list":
            return {"tools": []}
        raise exceptions.CallFailed(-32050, "not today")

    server = MCPServer("test", middleware=[answer])
    server.add_tool(reading)
    assert await dispatch(server, "tools/list") == {"tools": []}
    with pytest.raises(exceptions.CallFailed, match="not today"):
        await dispatch(server, "tools/call", {"name": "reading"})


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt()])
async def test_middleware_cannot_end_its_worker(error, caplog):
    async def failing(request, ctx, call_next):
        raise error

    with pytest.raises(exceptions.InternalError):
        await dispatch(MCPServer("test", middleware=[failing]), "tools/list")
    assert "A middleware failed" in caplog.text


async def test_unknown_method_goes_through_middleware_and_is_not_found():
    async def through(request, ctx, call_next):
        return await call_next(request, ctx)

    with pytest.raises(exceptions.MethodNotFound):
        await dispatch(MCPServer("test", middleware=[through]), "x/y")


# Pages that the user has to visit first


def connecting() -> MCPServer:
    server = MCPServer("test")

    def connect() -> str:
        raise UrlElicitationRequired([UrlElicitation("Connect.", "https://example.com", "e1")])

    server.add_tool(connect)
    server.add_prompt(connect)
    return server


@pytest.mark.parametrize("method", ["tools/call", "prompts/get"])
@pytest.mark.parametrize("capabilities", [None, {"elicitation": {"url": {}}}])
async def test_pages_are_required_of_a_client_that_knows_them(method, capabilities):
    with pytest.raises(UrlElicitationRequired) as raised:
        await dispatch(connecting(), method, {"name": "connect"}, client_capabilities=capabilities)
    assert raised.value.code == -32042
    assert raised.value.data["elicitations"][0]["elicitationId"] == "e1"


@pytest.mark.parametrize(
    "facts",
    [
        {"client_capabilities": {}},
        {"client_capabilities": {"elicitation": {}}},
        {"client_capabilities": {"elicitation": {"url": {}}}, "revision": recording.R2025_06_18},
        {"revision": recording.R2025_03_26},
    ],
)
async def test_other_clients_are_told_in_words_and_without_the_url(facts):
    text = "this needs the user to visit a page first, and this client cannot show it"
    result = await dispatch(connecting(), "tools/call", {"name": "connect"}, **facts)
    assert result == {"content": [{"type": "text", "text": text}], "isError": True}
    with pytest.raises(exceptions.CallFailed, match=f"^{text}$") as raised:
        await dispatch(connecting(), "prompts/get", {"name": "connect"}, **facts)
    assert raised.value.code == exceptions.INTERNAL_ERROR
    assert raised.value.data is None


# While calls run


async def test_lists_change_while_calls_run():
    server = full()
    entered, leave = asyncio.Event(), asyncio.Event()

    @server.tool
    async def slow(ctx: Context) -> str:
        entered.set()
        await leave.wait()
        return "done"

    running = asyncio.create_task(dispatch(server, "tools/call", {"name": "slow"}))
    await entered.wait()
    server.remove_tool("slow")
    assert [tool["name"] for tool in (await dispatch(server, "tools/list"))["tools"]] == ["reading"]
    leave.set()
    assert (await running)["content"][0]["text"] == "done"
    with pytest.raises(exceptions.CallFailed, match="unknown tool: slow"):
        await dispatch(server, "tools/call", {"name": "slow"})


def test_sync_functions_may_take_either_context():
    server = MCPServer("test")

    def one(ctx: Context) -> str:
        return type(ctx).__name__

    def other(ctx: SyncContext) -> str:
        return type(ctx).__name__

    for function in (one, other):
        server.add_prompt(function)
        server.add_resource(f"x://{function.__name__}", function)
