from __future__ import annotations

import decimal
import math

import mcp_types
import orjson
import pydantic
import pytest

from streamable_http import exceptions
from streamable_http.server import context, elicitation
from tests.server import recording


class Answer(pydantic.BaseModel):
    sure: bool


ACCEPTED = {"action": "accept", "content": {"sure": True}}


def reported(*values: float) -> list[float]:
    outlet = recording.RecordingOutlet()
    ctx = recording.make_context(outlet, progress_token="t")
    for value in values:
        ctx.report_progress(value)
    return [message["params"]["progress"] for message in outlet.messages]


# Progress


async def test_progress_is_a_notification_with_the_callers_token():
    outlet = recording.RecordingOutlet()
    ctx = recording.make_context(outlet, progress_token=7)
    await ctx.report_progress(1, 3, "one of three")
    assert outlet.messages == [
        {
            "jsonrpc": "2.0",
            "method": "notifications/progress",
            "params": {"progressToken": 7, "progress": 1, "total": 3, "message": "one of three"},
        }
    ]
    mcp_types.ProgressNotification.model_validate(outlet.messages[0])
    assert outlet.newest_wins == [True]
    assert outlet.given[0].awaited


def test_progress_leaves_out_what_is_not_given():
    outlet = recording.RecordingOutlet()
    recording.make_context(outlet, progress_token="").report_progress(0)
    assert outlet.messages[0]["params"] == {"progressToken": "", "progress": 0}


async def test_nothing_is_sent_without_a_token_and_awaiting_is_fine():
    outlet = recording.RecordingOutlet()
    ctx = recording.make_context(outlet)
    await ctx.report_progress(1)
    ctx.report_progress(2)
    assert outlet.messages == []


def test_progress_only_increases():
    assert reported(-1, 0, 0, 0.5, 0.25, 1) == [-1, 0, 0.5, 1]


async def test_awaiting_a_dropped_report_is_fine():
    ctx = recording.make_context(progress_token="t")
    await ctx.report_progress(2)
    await ctx.report_progress(1)


async def test_progress_of_a_call_that_runs_again_begins_above_what_the_client_knows():
    outlet = recording.RecordingOutlet()
    ctx = recording.make_context(outlet, progress_token="t", progress=2.5)
    for value in (1, 2.5, 3):
        await ctx.report_progress(value)
    sync = ctx.to_sync()
    for value in (3, 4):
        sync.report_progress(value)
    assert [message["params"]["progress"] for message in outlet.messages] == [3, 4]


def test_progress_that_json_cannot_hold_is_dropped_and_blocks_nothing():
    assert reported(math.nan, math.inf, 2**64, -math.inf, 1) == [1]


def test_other_numbers_and_texts_become_plain_ones():
    outlet = recording.RecordingOutlet()
    ctx = recording.make_context(outlet, progress_token="t")
    ctx.report_progress(decimal.Decimal("1.5"), decimal.Decimal(3), exceptions.ToolError("lazy"))  # type: ignore[arg-type]
    ctx.report_progress(2, math.inf)
    assert [message["params"] for message in outlet.messages] == [
        {"progressToken": "t", "progress": 1.5, "total": 3.0, "message": "lazy"},
        {"progressToken": "t", "progress": 2},
    ]
    orjson.dumps(outlet.messages)


def test_progress_of_a_call_that_is_over_raises():
    outlet = recording.RecordingOutlet()
    outlet.over = True
    with pytest.raises(exceptions.CallCancelled):
        recording.make_context(outlet, progress_token="t").report_progress(1)


# Log messages


async def test_log_is_a_notification():
    outlet = recording.RecordingOutlet()
    await recording.make_context(outlet).log("error", {"book": Answer(sure=True)}, logger="shop")
    assert outlet.messages == [
        {
            "jsonrpc": "2.0",
            "method": "notifications/message",
            "params": {"level": "error", "data": {"book": {"sure": True}}, "logger": "shop"},
        }
    ]
    mcp_types.LoggingMessageNotification.model_validate(outlet.messages[0])
    assert outlet.newest_wins == [False]
    assert outlet.given[0].awaited


@pytest.mark.parametrize("wanted", list(context.SEVERITY))
async def test_log_is_filtered_by_the_level_that_the_client_wants(wanted):
    outlet = recording.RecordingOutlet(log_level=wanted)
    ctx = recording.make_context(outlet)
    levels = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]
    for level in levels:
        await getattr(ctx, level)("words", logger="shop")
    assert [message["params"] for message in outlet.messages] == [
        {"level": level, "data": "words", "logger": "shop"} for level in levels[levels.index(wanted) :]
    ]


def test_unknown_level_is_refused():
    with pytest.raises(ValueError, match=r"^unknown log level 'loud'; use one of debug, info, "):
        recording.make_context().log("loud", "words")


# Forms


async def test_elicit_asks_and_returns_the_model():
    outlet = recording.RecordingOutlet(answer=ACCEPTED)
    ctx = recording.make_context(outlet, client_capabilities={"elicitation": {}})
    result = await ctx.elicit("Sure?", Answer)
    assert result == elicitation.ElicitResult("accept", Answer(sure=True))
    ((method, params),) = outlet.asked
    mcp_types.ElicitRequest.model_validate({"method": method, "params": params})
    assert params["message"] == "Sure?"


def test_sync_elicit_blocks_and_returns_the_model():
    outlet = recording.RecordingOutlet(answer=ACCEPTED)
    ctx = recording.make_context(outlet, client_capabilities={"elicitation": {}}).to_sync()
    assert ctx.elicit("Sure?", Answer).data == Answer(sure=True)
    assert [method for method, _ in outlet.asked] == ["elicitation/create"]


async def test_client_that_cannot_be_asked_is_not():
    outlet = recording.RecordingOutlet(answer=ACCEPTED)
    with pytest.raises(exceptions.AskRefused):
        await recording.make_context(outlet, client_capabilities={}).elicit("Sure?", Answer)
    with pytest.raises(exceptions.AskRefused):
        recording.make_context(outlet, client_capabilities={}).to_sync().elicit("Sure?", Answer)
    assert outlet.asked == []


# Pages


WITH_PAGES = {"elicitation": {"url": {}}}


async def test_elicit_url_asks_and_returns_what_the_user_did():
    outlet = recording.RecordingOutlet(answer={"action": "accept"})
    ctx = recording.make_context(outlet, client_capabilities=WITH_PAGES)
    assert await ctx.elicit_url("Connect.", "https://example.com", "e1") == elicitation.ElicitResult("accept", None)
    assert ctx.to_sync().elicit_url("Connect.", "https://example.com").action == "accept"
    (first_method, first), (_, second) = outlet.asked
    assert first_method == "elicitation/create"
    assert first == {"mode": "url", "elicitationId": "e1", "url": "https://example.com", "message": "Connect."}
    assert second["elicitationId"] not in ("", "e1")


async def test_completion_of_a_page_is_told_where_the_revision_has_pages():
    outlet = recording.RecordingOutlet()
    await recording.make_context(outlet).notify_elicitation_complete("e1")
    await recording.make_context(outlet, revision=recording.R2025_06_18).notify_elicitation_complete("e2")
    recording.make_context(outlet).to_sync().notify_elicitation_complete("e3")
    assert [message["params"] for message in outlet.messages] == [{"elicitationId": "e1"}, {"elicitationId": "e3"}]
    assert {message["method"] for message in outlet.messages} == {"notifications/elicitation/complete"}


# Sampling and roots


SAMPLED = {"role": "assistant", "content": {"type": "text", "text": "Paris"}, "model": "m"}


async def test_sample_asks_and_returns_the_message():
    outlet = recording.RecordingOutlet(answer=SAMPLED)
    ctx = recording.make_context(outlet, client_capabilities={"sampling": {"tools": {}}})
    result = await ctx.sample("Capital of France?", max_tokens=5, temperature=0.0)
    other = ctx.to_sync().sample("Capital of France?", max_tokens=5)
    assert isinstance(result, mcp_types.CreateMessageResult)
    assert result == other
    with_tools = await ctx.sample("a", max_tokens=5, tools=[mcp_types.Tool(name="a", input_schema={"type": "object"})])
    assert isinstance(with_tools, mcp_types.CreateMessageResultWithTools)
    assert [method for method, _ in outlet.asked] == ["sampling/createMessage"] * 3
    assert outlet.asked[0][1] == {
        "messages": [{"role": "user", "content": {"type": "text", "text": "Capital of France?"}}],
        "maxTokens": 5,
        "temperature": 0.0,
    }


async def test_list_roots_asks_and_returns_them():
    outlet = recording.RecordingOutlet(answer={"roots": [{"uri": "file:///srv"}]})
    ctx = recording.make_context(outlet, client_capabilities={"roots": {}})
    assert await ctx.list_roots() == ctx.to_sync().list_roots() == [mcp_types.Root(uri="file:///srv")]
    assert outlet.asked == [("roots/list", {})] * 2


async def test_client_without_a_capability_is_not_asked():
    outlet = recording.RecordingOutlet(answer=SAMPLED)
    ctx = recording.make_context(outlet, client_capabilities={})
    for ask in (
        lambda: ctx.sample("a", max_tokens=1),
        ctx.list_roots,
        lambda: ctx.elicit_url("a", "https://example.com"),
    ):
        with pytest.raises(exceptions.AskRefused):
            await ask()
    for ask_blocking in (
        lambda: ctx.to_sync().sample("a", max_tokens=1),
        ctx.to_sync().list_roots,
        lambda: ctx.to_sync().elicit_url("a", "https://example.com"),
    ):
        with pytest.raises(exceptions.AskRefused):
            ask_blocking()
    assert outlet.asked == []


# The connection


def test_connection_is_closed_through_the_outlet():
    outlet = recording.RecordingOutlet()
    ctx = recording.make_context(outlet)
    ctx.close_connection()
    ctx.to_sync().close_connection()
    assert outlet.closed == 2


def test_call_that_is_over_is_cancelled():
    outlet = recording.RecordingOutlet()
    ctx = recording.make_context(outlet)
    assert not ctx.cancelled
    outlet.over = True
    assert ctx.cancelled
    assert ctx.to_sync().cancelled


def test_context_has_defaults_for_what_nobody_gave():
    ctx = recording.make_context()
    assert (ctx.principal, ctx.user, ctx.session, ctx.request_id) == (None, None, None, None)
    assert dict(ctx.request_headers) == {}
    assert ctx.gate is context.OPEN_GATE
    with ctx.transaction():
        pass


async def test_open_gate_permits_everything():
    assert await context.OPEN_GATE.permits(["staff"], "x")
    assert await context.OPEN_GATE.throttled(["often"], "x") is None


def test_contexts_are_small():
    assert not hasattr(recording.make_context(), "__dict__")
    assert not hasattr(recording.make_context().to_sync(), "__dict__")


# Both


def test_sync_context_is_the_same_call():
    session = context.SessionInfo(
        id="s", client_info={"name": "c"}, capabilities={}, revision=recording.R2025_11_25, mode="sessions"
    )
    ctx = recording.make_context(
        progress_token="t",
        principal="ada",
        user=object(),
        session=session,
        request_headers={"accept": "*/*"},
        request_id=7,
        gate=object(),
        transaction=object(),
        client_capabilities={"roots": {}},
    )
    other = ctx.to_sync()
    assert isinstance(other, context.SyncContext)
    for name in (*context._BaseContext.__slots__, "features"):
        if name == "_last_progress":
            continue
        assert getattr(other, name) is getattr(ctx, name)


async def test_where_nobody_knows_what_the_client_can_the_outlet_decides():
    outlet = recording.RecordingOutlet(answer=ACCEPTED)
    assert (await recording.make_context(outlet, client_capabilities=None).elicit("Sure?", Answer)).action == "accept"
