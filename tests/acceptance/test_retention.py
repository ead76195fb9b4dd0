"""What clients see of a log that is pruned while they use it."""

from __future__ import annotations

import httpx
import pytest

from tests.acceptance.conftest import Site
from tests.acceptance.waiting import until
from tests.acceptance.wire import Received, Wire

pytestmark = pytest.mark.acceptance

TRIMMED = -32001


async def test_a_call_that_ended_long_ago_is_told_so_and_later_unknown(new_site: Site) -> None:
    server = new_site.serve()
    wire = Wire(f"{server.url}/mcp")
    await wire.initialize()
    received = Received()
    call = wire.call("count", n=20)
    async with wire.stream(call) as connection:
        await received.read_events(connection, 5)
    await until(lambda: new_site.state(received.stream_id) == "answered")
    new_site.execute("UPDATE streamable_http_stream SET ended_at = ? WHERE id = ?", "2020-01-01", received.stream_id)

    # The session goes on, and so does its listening stream.
    assert "Redacted 1 streams.\nDeleted 0 sessions" in new_site.manage("mcp_prune")
    async with wire.resume(received.last_id) as connection:
        assert connection.response.headers["streamable-http-recovered"] == "false"
        told = Received()
        await told.read(connection)
    assert len(told.events) == 1
    assert told.answer["id"] == call["id"]
    assert told.answer["error"]["code"] == TRIMMED
    assert told.answer["error"]["data"] == {"earliest": 22}
    async with wire.resume(f"{received.stream_id:x}.21") as connection:
        # It has everything.
        assert connection.response.status_code == 204
    assert len(new_site.events(received.stream_id)) == 21

    prune = ("mcp_prune", "--older-than", "0")
    said = new_site.manage(*prune, settings={"RESUMABLE_SECONDS": 0})
    assert "Deleted 0 sessions, 1 streams, 21 events" in said
    with pytest.raises(httpx.HTTPStatusError) as refused:
        async with wire.resume(received.last_id):
            pass
    assert refused.value.response.status_code == 400
    again = Received()
    async with wire.stream(wire.call("count", n=3)) as connection:
        await again.read(connection)
    assert again.result == "counted to 3"
    await wire.delete()
