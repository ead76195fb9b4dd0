"""Requests that are sent again, on real databases and with real tools."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from pytest_django import Settings

from streamable_http import models, operations
from streamable_http.delivery import engine as engines
from streamable_http.delivery.engine import Engine
from streamable_http.endpoint import registry
from streamable_http.models import Outcome, StreamState
from streamable_http.operations import resending
from streamable_http.server import Context, MCPServer
from tests.delivery import calls
from tests.endpoint.client import Client

server = MCPServer("test")
done: list[Any] = []
let_go = threading.Event()


@server.tool()
async def order(book: str, api_key: str = "", text: str = "") -> str:
    """Do it, whoever wants it."""
    done.append(book)
    return f"ordered {book}"


@server.tool(annotations={"idempotentHint": True})
async def who(ctx: Context) -> str:
    """Say for whom it is."""
    return str(ctx.user)


@server.tool()
async def ask(ctx: Context) -> str:
    """Ask first."""
    return str((await ctx.elicit("?", {"type": "object", "properties": {}})).action)


@server.tool()
async def hang() -> str:
    """Never end."""
    if done:
        await asyncio.Event().wait()
    done.append("hung")
    return ""


@server.tool()
def hang_in_a_thread() -> str:
    """Not end until it is let."""
    if done:
        let_go.wait(30)
    done.append("hung")
    return ""


@pytest.fixture(autouse=True)
async def engine(settings: Settings, log_alias: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Engine]:
    settings.ALLOWED_HOSTS = ["localhost"]
    monkeypatch.setattr(registry, "servers", lambda: {server.name: server})
    done.clear()
    let_go.clear()
    running = engines.current()
    yield running
    await running.stop()
    engines._engine = None


@pytest.fixture
def boss() -> User:
    """Somebody of the staff; what an unsaved user lacks, nobody asks for here."""
    return User(pk=7, username="boss", is_staff=True)


async def called(engine: Engine, tool: str, **arguments: Any) -> int:
    """Call a tool; the id of its stream."""
    client = Client(server)
    await client.open()
    await client.call(tool, **arguments)
    await engine.log.record_now()
    return await engine.read(lambda: models.Stream.objects.exclude(method="").latest("pk").pk)


async def resent(stream_id: int, user: Any) -> operations.Resend:
    return await calls.in_thread(lambda: operations.resend(stream_id, user=user))


@pytest.fixture(autouse=True)
def _unaudited(monkeypatch: pytest.MonkeyPatch) -> None:
    # The log's database has no users; what is written of them is tested with ``ending``.
    monkeypatch.setattr(resending.audit, "_write", lambda *_: None)


@pytest.mark.parametrize("mode", ["sessions", "sessionless"])
async def test_a_call_is_made_again_in_a_new_exchange_that_names_the_old_one(
    engine: Engine, settings: Settings, boss: User, mode: str
) -> None:
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, "MODE": mode}
    stream_id = await called(engine, "order", book="Iliad")
    sent = await resent(stream_id, boss)
    assert done == ["Iliad", "Iliad"]
    assert json.loads(sent.response)["result"]["content"][0]["text"] == "ordered Iliad"
    made = await engine.read(lambda: models.Stream.objects.get(pk=sent.stream_id))
    assert (made.resent_from, made.session_id, made.name) == (stream_id, None, "order")
    assert (made.state, made.outcome) == (StreamState.ANSWERED, Outcome.RESULT)
    record = await engine.read(lambda: models.Record.objects.get(pk=sent.stream_id))
    assert json.loads(record.facts)["principal"] == "user:7"


async def test_it_runs_as_whoever_sends_it_and_not_as_whoever_did(engine: Engine, boss: User) -> None:
    stream_id = await called(engine, "who")
    sent = await resent(stream_id, boss)
    assert json.loads(sent.response)["result"]["content"][0]["text"] == "boss"


async def test_without_history_what_is_sent_again_is_recorded_nevertheless(
    engine: Engine, settings: Settings, boss: User
) -> None:
    stream_id = await called(engine, "order", book="Iliad")
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, "HISTORY": "off"}
    sent = await resent(stream_id, boss)
    assert await engine.read(lambda: models.Stream.objects.filter(pk=sent.stream_id).exists())


async def test_what_is_not_idempotent_is_warned_of(engine: Engine) -> None:
    warned = await calls.in_thread(operations.review, await called(engine, "order", book="Iliad"))
    assert warned.warnings == (resending.NOT_HARMLESS,)
    harmless = await calls.in_thread(operations.review, await called(engine, "who"))
    assert (harmless.warnings, harmless.refusal, harmless.server) == ((), "", "test")


@pytest.mark.parametrize(
    "arguments", [{"api_key": "s3cret"}, {"text": "x" * 5_000}, {"text": "x" * 40_000}, {"text": "data:text/plain,x"}]
)
async def test_a_request_that_was_redacted_is_refused(engine: Engine, boss: User, arguments: dict[str, Any]) -> None:
    stream_id = await called(engine, "order", book="Iliad", **arguments)
    assert (await calls.in_thread(operations.review, stream_id)).refusal == resending.NOT_WHOLE
    with pytest.raises(ValueError, match="not whole"):
        await resent(stream_id, boss)
    assert done == ["Iliad"]


async def test_a_request_that_was_not_recorded_is_refused(engine: Engine, settings: Settings, boss: User) -> None:
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, "HISTORY": "off"}
    stream_id = await called(engine, "order", book="Iliad")
    with pytest.raises(ValueError, match="not recorded"):
        await resent(stream_id, boss)


async def test_a_server_that_is_gone_gets_nothing(engine: Engine, boss: User, monkeypatch: pytest.MonkeyPatch) -> None:
    stream_id = await called(engine, "order", book="Iliad")
    monkeypatch.setattr(registry, "servers", dict)
    with pytest.raises(ValueError, match="no server"):
        await resent(stream_id, boss)


async def test_an_exchange_without_a_session_that_may_be_of_two_servers_is_refused(
    engine: Engine, settings: Settings, boss: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, "MODE": "sessionless"}
    stream_id = await called(engine, "order", book="Iliad")
    monkeypatch.setattr(registry, "servers", lambda: {"test": server, "other": server})
    with pytest.raises(ValueError, match="several servers"):
        await resent(stream_id, boss)


async def test_who_may_not_call_may_not_send_again(engine: Engine, settings: Settings) -> None:
    stream_id = await called(engine, "order", book="Iliad")
    settings.STREAMABLE_HTTP = {
        **settings.STREAMABLE_HTTP,
        "PERMISSION_CLASSES": ["rest_framework.permissions.IsAdminUser"],
    }
    with pytest.raises(ValueError, match="may not call"):
        await resent(stream_id, User(pk=8, username="guest"))
    with pytest.raises(ValueError, match="no identity"):
        await resent(stream_id, AnonymousUser())
    assert done == ["Iliad"]


async def test_a_stream_that_is_no_call_cannot_be_sent_again(engine: Engine) -> None:
    session_id = await calls.session(engine)
    with pytest.raises(LookupError, match="not of a call"):
        await calls.in_thread(operations.review, session_id)
    with pytest.raises(LookupError, match="no stream"):
        await calls.in_thread(operations.review, 17)


async def test_what_has_become_a_secret_since_is_not_sent_masked(
    engine: Engine, settings: Settings, boss: User
) -> None:
    stream_id = await called(engine, "order", book="Iliad")
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, "REDACT_NAMES": ("book",)}
    reviewed = await calls.in_thread(operations.review, stream_id)
    assert "Iliad" not in reviewed.request
    assert reviewed.refusal == resending.NOT_WHOLE
    with pytest.raises(ValueError, match="masked"):
        await resent(stream_id, boss)
    assert done == ["Iliad"]


@pytest.mark.parametrize("tool", ["hang", "hang_in_a_thread"])
async def test_what_does_not_end_is_cancelled_and_recorded_so(
    engine: Engine, boss: User, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    monkeypatch.setattr(resending, "RESEND_SECONDS", 0.2)
    stream_id = await called(engine, tool)
    with pytest.raises(operations.ResendTimeout, match="and was cancelled") as failed:
        await resent(stream_id, boss)
    let_go.set()
    made = await engine.read(lambda: models.Stream.objects.get(pk=failed.value.stream_id))
    assert (made.state, made.resent_from, made.name) == (StreamState.CANCELLED, stream_id, tool)
    assert engine.rings == []
    # The next one is served as ever.
    assert (await resent(await called(engine, "who"), boss)).response
