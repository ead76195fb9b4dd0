"""The endpoint over real HTTP, through both shells: what it refuses and how, whom it serves, what it asks.

One uvicorn process for each kind of settings.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from tests import services
from tests.acceptance.conftest import Site
from tests.acceptance.waiting import until
from tests.acceptance.wire import Received, Wire, notification, reply
from tests.conftest import SERVERS
from tests.services import ServerProcess

pytestmark = pytest.mark.acceptance

MAX_BODY_BYTES = 100_000

USUAL = {"MAX_BODY_BYTES": MAX_BODY_BYTES, "KEEP_ALIVE_SECONDS": 0.5}
SESSIONLESS = {"MODE": "sessionless", "KEEP_ALIVE_SECONDS": 1}
STRICT = {
    "AUTHENTICATION_CLASSES": ["rest_framework.authentication.TokenAuthentication"],
    "ALLOW_ANONYMOUS": False,
    "ASK_SECONDS": 1,
    "OUTBOX_EVENTS": 50,
}

ROWS = 1_000


class Servers:
    """Servers with different settings on one SQLite file, started when they are first asked for."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._started: dict[str, ServerProcess] = {}

    def serve(self, settings: dict[str, Any]) -> ServerProcess:
        """Return the server with such settings."""
        key = json.dumps(settings)
        if key not in self._started:
            self._started[key] = self.site.serve(settings=settings)
        return self._started[key]


@pytest.fixture(scope="module")
def _servers(sqlite_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    directory = tmp_path_factory.mktemp("endpoint")
    path = directory / "db.sqlite3"
    path.write_bytes(sqlite_template.read_bytes())
    with contextlib.ExitStack() as stack:

        def start(application: str, **options: Any) -> ServerProcess:
            process = ServerProcess(application, **options)
            process.log = directory / f"{process.port}.log"
            return stack.enter_context(services.serving(process))

        yield Servers(Site(f"sqlite:///{path}", start))


@pytest.fixture
def servers(request: pytest.FixtureRequest, _servers: Servers) -> Iterator[Servers]:
    yield _servers
    request.node.stash.setdefault(SERVERS, []).extend(_servers._started.values())


@pytest.fixture
def url(servers: Servers, mcp_path: str) -> str:
    return servers.serve(USUAL).url + mcp_path


@pytest.fixture
async def wire(url: str) -> AsyncIterator[Wire]:
    wire = Wire(url)
    await wire.initialize(capabilities={"elicitation": {}})
    yield wire
    await wire.delete()


# What is refused


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "{own}.evil.example",
        "{own}0",
        "http://127.0.0.1",
        "https://{netloc}",
        "http://evil.example@{netloc}",
        "file://",
        "*",
        "",
    ],
)
async def test_pages_of_other_sites_are_refused(url: str, wire: Wire, origin: str) -> None:
    parts = httpx.URL(url)
    netloc = parts.netloc.decode()
    headers = {"origin": origin.format(own=f"http://{netloc}", netloc=netloc)}
    for response in (
        await wire.post(wire.request("ping"), headers=headers),
        await wire.send("GET", headers=headers),
        await wire.send("DELETE", headers=headers),
        await Wire(url).post(wire.request("ping"), headers=headers),
    ):
        assert response.status_code == 403
        assert "access-control-allow-origin" not in response.headers
    assert (await wire.post(wire.request("ping"))).status_code == 200


async def test_the_own_origin_is_served(url: str, wire: Wire) -> None:
    headers = {"origin": f"http://{httpx.URL(url).netloc.decode()}"}
    assert (await wire.post(wire.request("ping"), headers=headers)).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "a b", "127.0.0.1:port", "[::1"])
async def test_other_hosts_are_refused(wire: Wire, host: str) -> None:
    # With the matching Origin, as DNS rebinding would have it.
    for headers in ({"host": host}, {"host": host, "origin": f"http://{host}"}):
        assert (await wire.post(wire.request("ping"), headers=headers)).status_code == 400


@pytest.mark.parametrize("is_chunked", [False, True], ids=["content-length", "chunked"])
async def test_bodies_over_the_limit_are_refused(wire: Wire, is_chunked: bool) -> None:
    def body(size: int) -> bytes:
        request = wire.request("ping")
        padding = size - len(json.dumps({**request, "params": {"_meta": {"padding": ""}}}))
        return json.dumps({**request, "params": {"_meta": {"padding": "x" * padding}}}).encode()

    async def chunks(content: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(content), 10_000):
            yield content[start : start + 10_000]

    fits, too_large = body(MAX_BODY_BYTES), body(MAX_BODY_BYTES + 1)
    assert (len(fits), len(too_large)) == (MAX_BODY_BYTES, MAX_BODY_BYTES + 1)
    assert (await wire.send("POST", content=chunks(fits) if is_chunked else fits)).status_code == 200
    assert (await wire.send("POST", content=chunks(too_large) if is_chunked else too_large)).status_code == 413


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("text/html", 406),
        ("application/json;q=0, text/event-stream;q=0", 406),
        ("*/*", 200),
        ("application/json", 200),
        ("text/event-stream", 200),
        ("application/*;q=0.1", 200),
    ],
)
async def test_a_post_needs_an_acceptable_type(wire: Wire, accept: str, status: int) -> None:
    assert (await wire.post(wire.request("ping"), headers={"accept": accept})).status_code == status


async def test_a_get_must_accept_events(wire: Wire) -> None:
    assert (await wire.send("GET", headers={"accept": "application/json"})).status_code == 406


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""])
async def test_other_content_types_are_refused(wire: Wire, content_type: str) -> None:
    response = await wire.post(wire.request("ping"), headers={"content-type": content_type})
    assert response.status_code == 415


async def test_compressed_bodies_are_refused(wire: Wire) -> None:
    response = await wire.post(wire.request("ping"), headers={"content-encoding": "gzip"})
    assert response.status_code == 415


@pytest.mark.parametrize("method", ["PUT", "PATCH", "HEAD", "TRACE"])
async def test_other_methods_are_refused(wire: Wire, method: str) -> None:
    response = await wire.send(method)
    assert response.status_code == 405
    assert response.headers["allow"] == "POST, GET, DELETE"


@pytest.mark.parametrize(
    "body",
    [
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":' + b"[" * 70 + b"]" * 70 + b"}}",
        b"[" * 40_000,
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":' + b'{"a":' * 9_000 + b"1" + b"}" * 9_000 + b"}}",
    ],
    ids=["arrays", "open", "objects"],
)
async def test_deep_json_is_refused(wire: Wire, body: bytes) -> None:
    response = await wire.send("POST", content=body)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == -32700
    assert (await wire.post(wire.request("ping"))).status_code == 200


# Streams


async def test_silent_streams_are_kept_alive_by_comments(wire: Wire) -> None:
    async with wire.stream(wire.call("block", seconds=2)) as connection:
        received = Received()
        await received.read(connection)
    assert received.result == "done"
    _, _, behind_prime = connection.raw.partition(b"data: \n\n")
    comments, _, _ = behind_prime.partition(b"id:")
    assert comments in [b":\n\n" * number for number in (2, 3, 4)]


async def test_event_streams_pass_proxies_unbuffered(wire: Wire) -> None:
    async with wire.stream(wire.call("count", n=1)) as connection:
        headers = connection.response.headers
        await connection.rest()
    assert headers["content-type"] == "text/event-stream"
    assert headers["x-accel-buffering"] == "no"
    assert headers["cache-control"] == "no-cache, no-transform"


async def test_a_client_that_takes_only_json_gets_the_result_alone(wire: Wire) -> None:
    response = await wire.post(wire.call("count", n=10), headers={"accept": "application/json"})
    assert response.headers["content-type"] == "application/json"
    assert response.json()["result"]["content"][0]["text"] == "counted to 10"


# Without sessions


@pytest.fixture
async def sessionless(servers: Servers, mcp_path: str) -> Wire:
    wire = Wire(servers.serve(SESSIONLESS).url + mcp_path)
    response = await wire.initialize(capabilities={"elicitation": {}})
    assert "mcp-session-id" not in response.headers
    return wire


async def test_without_sessions_an_answer_is_json(sessionless: Wire) -> None:
    response = await sessionless.post(sessionless.call("add", a=1, b=2))
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json()["result"]["structuredContent"] == {"result": 3}


async def test_without_sessions_progress_makes_it_events_without_ids(sessionless: Wire) -> None:
    received = Received()
    call = sessionless.call("count", n=300)
    async with sessionless.stream(call) as connection:
        assert connection.response.headers["content-type"] == "text/event-stream"
        await received.read(connection)
    assert received.numbers == list(range(1, 301))
    assert received.answer["id"] == call["id"]
    assert received.result == "counted to 300"
    assert set(received.ids) == {""}
    assert received.primes == []


async def test_without_sessions_silence_makes_it_events_too(sessionless: Wire) -> None:
    received = Received()
    async with sessionless.stream(sessionless.call("block", seconds=1.5)) as connection:
        assert connection.response.headers["content-type"] == "text/event-stream"
        await received.read(connection)
    assert received.result == "done"
    assert connection.raw.startswith(b":\n\n")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_without_sessions_there_is_only_post(sessionless: Wire, method: str) -> None:
    response = await sessionless.send(method)
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"


async def test_without_sessions_nobody_can_be_asked(sessionless: Wire) -> None:
    response = await sessionless.post(sessionless.call("ask"))
    result = response.json()["result"]
    assert result["isError"] is True
    assert "session" in result["content"][0]["text"]


# Principals


@pytest.fixture(scope="module")
def tokens(_servers: Servers) -> dict[str, str]:
    """Users' names and tokens."""
    code = (
        "import json\n"
        "from django.contrib.auth.models import User\n"
        "from rest_framework.authtoken.models import Token\n"
        "users = [User.objects.create_user(name) for name in ('ada', 'ben')]\n"
        "print(json.dumps({user.username: Token.objects.create(user=user).key for user in users}))"
    )
    return json.loads(_servers.site.manage("shell", "--no-imports", "-c", code))


@pytest.fixture
def strict_url(servers: Servers, mcp_path: str) -> str:
    return servers.serve(STRICT).url + mcp_path


@pytest.fixture
async def ada(strict_url: str, tokens: dict[str, str]) -> Wire:
    wire = Wire(strict_url, headers={"authorization": f"Token {tokens['ada']}"})
    await wire.initialize(capabilities={"elicitation": {}})
    return wire


@pytest.mark.parametrize("header", [None, "Token 0123456789", "Token", "Bearer x", "Basic YWRhOmFkYQ=="])
async def test_wrong_credentials_are_refused(strict_url: str, ada: Wire, header: str | None) -> None:
    ada.headers.pop("authorization")
    headers = {} if header is None else {"authorization": header}
    for response in (
        await Wire(strict_url).post(ada.request("ping"), headers=headers),
        await ada.post(ada.request("ping"), headers=headers),
        await ada.send("GET", headers=headers),
        await ada.send("DELETE", headers=headers),
    ):
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Token"


async def test_a_session_of_somebody_else_looks_like_one_that_never_existed(ada: Wire, tokens: dict[str, str]) -> None:
    as_ben = {"authorization": f"Token {tokens['ben']}"}
    never = {**as_ben, "mcp-session-id": "A" * 43}
    received = Received()
    async with ada.stream(ada.call("count", n=3)) as connection:
        await received.read(connection)
    assert received.result == "counted to 3"
    requests: list[tuple[str, dict[str, str], dict[str, Any]]] = [
        ("POST", {}, {"json": ada.request("ping")}),
        ("POST", {}, {"json": ada.call("add", a=1, b=2)}),
        ("POST", {}, {"json": notification("notifications/cancelled", requestId=1)}),
        ("GET", {}, {}),
        ("GET", {"last-event-id": received.ids[0]}, {}),
        ("DELETE", {}, {}),
    ]
    for method, headers, options in requests:
        foreign = await ada.send(method, headers={**headers, **as_ben}, **options)
        unknown = await ada.send(method, headers={**headers, **never}, **options)
        assert foreign.status_code == unknown.status_code == 404
        assert foreign.content == unknown.content
    assert (await ada.post(ada.request("ping"))).status_code == 200
    async with ada.resume(received.ids[0]) as connection:
        assert [event.id for event in await connection.rest() if event.data] == received.ids[1:]


# Asks


async def test_the_first_answer_counts_and_others_are_ignored(url: str, wire: Wire) -> None:
    stranger = Wire(url)
    await stranger.initialize(capabilities={"elicitation": {}})
    received = Received()
    async with wire.stream(wire.call("ask")) as connection:
        await received.read_events(connection, 1)
        question = received.messages[0]
        answers = {
            name: reply(question, action="accept", content={"name": name}) for name in ("stranger", "first", "second")
        }
        unknown = reply({"id": "0" * 32}, action="accept", content={"name": "unknown"})
        numbered = reply({"id": 1}, action="accept", content={"name": "numbered"})
        assert (await stranger.post(answers["stranger"])).status_code == 202
        assert (await wire.post(unknown)).status_code == 202
        assert (await wire.post(numbered)).status_code == 202
        assert (await wire.post(answers["first"])).status_code == 202
        assert (await wire.post(answers["second"])).status_code == 202
        await received.read(connection)
    assert received.result == "accept: first"
    assert (await wire.post(answers["second"])).status_code == 202


@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_a_form_may_be_declined(wire: Wire, action: str) -> None:
    received = Received()
    async with wire.stream(wire.call("ask")) as connection:
        await received.read_events(connection, 1)
        assert (await wire.post(reply(received.messages[0], action=action))).status_code == 202
        await received.read(connection)
    assert received.result == f"{action}: None"


@pytest.mark.parametrize(
    "answer",
    [
        {"result": {"action": "accept", "content": {"name": 5}}},
        {"result": {"action": "shrug"}},
        {"error": {"code": -1, "message": "User rejected the form"}},
    ],
)
async def test_an_answer_that_does_not_fit_is_an_error_in_band(wire: Wire, answer: dict[str, Any]) -> None:
    received = Received()
    async with wire.stream(wire.call("ask")) as connection:
        await received.read_events(connection, 1)
        response = await wire.post({"jsonrpc": "2.0", "id": received.messages[0]["id"], **answer})
        assert response.status_code == 202
        await received.read(connection)
    assert received.answer["result"]["isError"] is True


async def test_a_question_that_nobody_answers_is_an_error_in_band(servers: Servers, ada: Wire) -> None:
    received = Received()
    async with ada.stream(ada.call("ask")) as connection:
        await received.read(connection)
    assert received.messages[0]["method"] == "elicitation/create"
    result = received.answer["result"]
    assert result["isError"] is True
    assert "did not reply within 1 s" in result["content"][0]["text"]
    # Whoever answers too late is not told off, and not heard.
    late = reply(received.messages[0], action="accept", content={"name": "late"})
    assert (await ada.post(late)).status_code == 202
    wire_id = received.messages[0]["id"]
    states = "SELECT state, reply FROM streamable_http_ask WHERE wire_id = ?"
    await until(lambda: servers.site.rows(states, wire_id) == [("withdrawn", "")])


async def test_a_client_without_forms_is_not_asked(url: str) -> None:
    wire = Wire(url)
    await wire.initialize()
    received = Received()
    async with wire.stream(wire.call("ask")) as connection:
        await received.read(connection)
    assert len(received.events) == 1
    assert received.answer["result"]["isError"] is True
    assert "elicitation" in received.answer["result"]["content"][0]["text"]


async def test_a_question_inside_a_transaction_is_refused_with_the_reason(wire: Wire) -> None:
    received = Received()
    async with wire.stream(wire.call("ask_in_transaction")) as connection:
        await received.read(connection)
    assert len(received.events) == 1
    result = received.answer["result"]
    assert result["isError"] is True
    assert "atomic()" in result["content"][0]["text"]


# Inside a transaction, on the SQLite file that the log is in, too


async def test_progress_from_inside_a_transaction_arrives(servers: Servers, wire: Wire) -> None:
    written = servers.site.rows("SELECT count(*) FROM site_line")[0][0]
    received = Received()
    async with wire.stream(wire.call("write_in_transaction", rows=ROWS)) as connection, asyncio.TaskGroup() as group:
        group.create_task(received.read(connection))
        # Others wait for the lock meanwhile, and are served.
        others = await asyncio.gather(*(wire.result("add", a=number, b=1) for number in range(5)))
    assert others == [1, 2, 3, 4, 5]
    assert received.numbers == list(range(1, ROWS + 1))
    assert received.result == written + ROWS
    assert servers.site.rows("SELECT count(*) FROM site_line") == [(written + ROWS,)]
    assert "locked" not in servers.serve(USUAL).output


async def test_progress_from_inside_a_transaction_is_merged_when_there_is_no_room(ada: Wire, servers: Servers) -> None:
    received = Received()
    async with ada.stream(ada.call("write_in_transaction", rows=ROWS)) as connection:
        await received.read(connection)
    assert received.numbers[:40] == list(range(1, 41))
    assert received.numbers == sorted(set(received.numbers))
    assert received.numbers[-1] == ROWS
    assert len(received.numbers) < ROWS
    assert received.answer["result"].get("isError") is not True
    assert "locked" not in servers.serve(STRICT).output


async def test_a_tool_that_claims_to_be_cancelled_still_ends_its_call(wire: Wire) -> None:
    response = await wire.post(wire.call("raise_cancelled"))
    assert response.status_code == 200
    assert '"error"' in response.text
    assert "internal error" in response.text


async def test_an_atomic_tool_that_fails_leaves_nothing_behind(servers: Servers, wire: Wire) -> None:
    before = servers.site.rows("SELECT COUNT(*) FROM site_line")[0][0]
    received = Received()
    async with wire.stream(wire.call("write_and_fail", fail=True)) as connection:
        await received.read(connection)
    assert received.answer["result"]["isError"]
    assert servers.site.rows("SELECT COUNT(*) FROM site_line")[0][0] == before
    assert await wire.result("write_and_fail", fail=False) == before + 1
