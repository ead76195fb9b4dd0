"""Bad inputs 21 to 25, 29 and 70: headers, hosts, origins, paths and methods. Each test's number is its row's."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.acceptance import raw
from tests.acceptance.conftest import RunningSite, Site
from tests.acceptance.wire import Wire, notification

pytestmark = pytest.mark.acceptance

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'

EVENTS = "text/event-stream"
JSON = "application/json"


@pytest.fixture
async def wire(site: RunningSite) -> AsyncIterator[Wire]:
    async with raw.surviving(site, raw.path_on(site)) as wire:
        yield wire


async def statuses(wire: Wire, name: str, value: str) -> list[int]:
    """Return the statuses of a POST, a GET and a DELETE, of a session that does not exist, with one header changed."""
    never = {"mcp-session-id": "A" * 43, name: value}
    responses = [await wire.post(wire.request("ping"), headers=never)]
    responses += [await wire.send(method, headers=never) for method in ("GET", "DELETE")]
    return [response.status_code for response in responses]


# Accept


async def test_21_a_post_needs_a_type_that_its_answer_can_have(wire: Wire) -> None:
    for accept in ("text/html", f"{JSON};q=0", f"{JSON};q=0, {EVENTS};q=0.0", "*/*;q=0", "image/*", "", "x"):
        response = await wire.post(wire.request("ping"), headers={"accept": accept})
        assert response.status_code == 406, accept
    for accept in (
        "*/*",
        JSON,
        EVENTS,
        "application/*;q=0.001",
        f"{JSON.upper()}",
        f"text/html, {JSON};q=0.1, */*;q=0",
    ):
        response = await wire.post(wire.request("ping"), headers={"accept": accept})
        assert response.status_code == 200, accept


async def test_21_a_call_is_answered_by_the_type_that_is_left(wire: Wire) -> None:
    for accept, content_type in (
        (f"{JSON};q=0, */*", EVENTS),
        (f"{EVENTS};q=0, */*", JSON),
        (f"*/*;q=0.5, {EVENTS};q=0", JSON),
    ):
        response = await wire.post(wire.call("add", a=1, b=2), headers={"accept": accept})
        assert response.status_code == 200, accept
        assert response.headers["content-type"] == content_type


async def test_21_a_get_must_take_events(wire: Wire) -> None:
    for accept in (JSON, "text/html", f"{EVENTS};q=0", f"{EVENTS};q=0, */*", ""):
        assert (await wire.send("GET", headers={"accept": accept})).status_code == 406, accept
    for accept in (EVENTS, "*/*", "text/*", f"{JSON}, {EVENTS};q=0.1"):
        assert (await wire.send("GET", headers={"accept": accept})).status_code == 200, accept


async def test_21_thousands_of_types_are_read(wire: Wire) -> None:
    for accept in (",".join(["text/html"] * 4_000), ";".join(["a"] * 20_000), "," * 40_000):
        response = await wire.post(wire.request("ping"), headers={"accept": accept})
        assert response.status_code in (400, 406)


# Origin and Host


async def test_22_pages_of_other_sites_are_refused(wire: Wire) -> None:
    netloc = httpx.URL(wire.url).netloc.decode()
    for origin in (
        "https://evil.example",
        "null",
        "",
        "*",
        "file://",
        f"http://{netloc}.evil.example",
        f"http://{netloc}0",
        f"http://{netloc}/",
        f"http://{netloc}@evil.example",
        f"http://evil.example@{netloc}",
        f"http://localhost.{netloc}",
        "http://localhost.evil.com",
        "http://127.0.0.1",
        f"https://{netloc}",
        f"http://{netloc} http://evil.example",
        f"http://{netloc}, http://evil.example",
        "x" * 10_000,
    ):
        assert await statuses(wire, "origin", origin) == [403] * 3, origin
        opening = Wire(wire.url)
        response = await opening.post(opening.request("initialize"), headers={"origin": origin})
        assert response.status_code == 403
        assert not any(name.startswith("access-control") for name in response.headers)


async def test_22_two_origins_are_refused(wire: Wire) -> None:
    own = b"origin: http://" + httpx.URL(wire.url).netloc
    for lines in ((own, own), (own, b"Origin: https://evil.example"), (b"origin: https://evil.example", own)):
        answer = await raw.exchange(wire, raw.request(wire, PING, *lines))
        assert answer is not None
        assert answer.status in (400, 403)
    answer = await raw.exchange(wire, raw.request(wire, PING, own))
    assert answer is not None
    assert answer.status == 200


BAD_HOSTS = [
    b"evil.example",
    b"127.0.0.1.evil.example",
    b"localhost.evil.example:80",
    b"evil.example#127.0.0.1",
    b"127.0.0.1@evil.example",
    b"user:password@127.0.0.1",
    b"127.0.0.1/evil",
    b"127.0.0.1, evil.example",
    b"[::1]:80",
    b"[::1",
    b"127.1",
    b"2130706433",
    b"127.0.0.1:port",
    b"127.0.0.1:-1",
    b"a b",
    b"\xff",
    b"*",
    b"",
    b".",
    b"x" * 10_000,
]


async def test_23_other_hosts_are_refused(wire: Wire) -> None:
    for host in BAD_HOSTS:
        for lines in ((b"host: " + host,), (b"host: " + host, b"origin: http://" + host)):
            answer = await raw.exchange(wire, raw.request(wire, PING, *lines, without=("host",)))
            assert answer is not None
            assert answer.status in (400, 403, 421), host


async def test_23_no_host_or_two_are_refused(wire: Wire) -> None:
    own = b"host: " + httpx.URL(wire.url).netloc
    for lines in ((), (own, own), (own, b"host: evil.example"), (b"Host: evil.example", own)):
        answer = await raw.exchange(wire, raw.request(wire, PING, *lines, without=("host",)))
        assert answer is not None
        assert answer.status == 400, lines


async def test_23_a_host_in_the_target_widens_nothing(wire: Wire) -> None:
    path = httpx.URL(wire.url).path
    answer = await raw.exchange(
        wire, raw.request(wire, PING, b"host: evil.example", without=("host",), target=wire.url)
    )
    assert answer is not None
    assert answer.status in (400, 404)
    answer = await raw.exchange(wire, raw.request(wire, PING, target=f"http://evil.example{path}"))
    # The header decides here; a server may put the target's host in its place (RFC 9112, section 3.2.2).
    assert answer is not None
    assert answer.status in (200, 400, 404)


# Versions


async def test_24_a_version_that_is_none_is_refused(wire: Wire) -> None:
    for version in ("1999-01-01", "2024-11-05", "2025-11-25 ", "draft", "2025-11-25,2025-06-18", "x" * 10_000):
        if version.strip() in ("2025-11-25",):
            continue  # white space around a value is none of it
        assert await statuses(wire, "mcp-protocol-version", version) == [400] * 3, version
        opening = Wire(wire.url)
        response = await opening.post(opening.request("initialize"), headers={"mcp-protocol-version": version})
        assert response.status_code == 400
    for version in ("",):
        assert await statuses(wire, "mcp-protocol-version", version) == [400] * 3


async def test_24_two_versions_are_refused(wire: Wire) -> None:
    for version in (b"2025-11-25", b"2025-06-18", b"1999-01-01", b""):
        answer = await raw.exchange(wire, raw.request(wire, PING, b"MCP-Protocol-Version: " + version))
        assert answer is not None
        assert answer.status == 400


async def test_24_the_session_decides_over_another_version_that_exists(wire: Wire) -> None:
    for version in ("2025-03-26", "2025-06-18"):
        response = await wire.post(
            wire.call("add", a=1, b=2), headers={"mcp-protocol-version": version, "accept": "application/json"}
        )
        assert response.json()["result"]["structuredContent"] == {"result": 3}


async def test_25_a_handshake_version_in_a_message_changes_nothing(wire: Wire) -> None:
    for version in ("2025-03-26", "1999-01-01", "", None, 5, {}):
        request = wire.call("add", a=1, b=2)
        request["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = version
        response = await wire.post(request, headers={"accept": "application/json"})
        assert response.json()["result"]["structuredContent"] == {"result": 3}


# Bytes


async def test_29_line_ends_and_nul_in_a_header_are_refused(wire: Wire) -> None:
    for name in (b"x-anything", b"mcp-protocol-version", b"mcp-session-id", b"last-event-id", b"origin", b"accept"):
        for bad in (b"\0", b"a\0b", b"a\rb"):
            answer = await raw.exchange(wire, raw.request(wire, PING, name + b": " + bad, without=(name.decode(),)))
            assert answer is None or answer.status == 400, (name, bad)
    # A bare line feed is the end of the line to some servers; what is behind it then is a header of its own.
    for bad in (b"a\nx-injected: 1", b"a\n\nGET /mcp HTTP/1.1"):
        answer = await raw.exchange(wire, raw.request(wire, PING, b"x-anything: " + bad))
        assert answer is None or answer.status in (200, 400)
        assert answer is None or "x-injected" not in answer.headers


async def test_29_what_is_sent_never_comes_back_as_a_header(wire: Wire) -> None:
    for value in (b"x\xc2\x85y", b"%0d%0aset-cookie: a=b", b"\xe5\x98\x8a\xe5\x98\x8dset-cookie: a=b"):
        for name in (b"last-event-id", b"mcp-protocol-version", b"origin"):
            answer = await raw.exchange(wire, raw.request(wire, PING, name + b": " + value, without=(name.decode(),)))
            assert answer is not None
            assert "set-cookie" not in answer.headers
            assert answer.status in (200, 400, 403)


# Paths and methods


async def test_70_other_paths_are_not_the_endpoint(wire: Wire) -> None:
    path = httpx.URL(wire.url).path
    for target in (
        f"{path}/",
        f"{path}//",
        f"{path}/../admin",
        f"{path}/..%2fadmin",
        f"/.{path}",
        f"/x/..{path}",
        f"{path}%00",
        f"{path}%20",
        f"{path};a=b",
        path.upper(),
        path.replace("mcp", "m%2563p"),
        "/",
        "*",
    ):
        answer = await raw.exchange(wire, raw.request(wire, PING, target=target))
        assert answer is not None
        assert answer.status in (400, 404), target
    # Channels' router takes away all slashes at the beginning, so that is the endpoint itself; Django does not.
    answer = await raw.exchange(wire, raw.request(wire, PING, b"origin: https://evil.example", target=f"/{path}"))
    assert answer is not None
    assert answer.status in (403, 404)
    for target in (f"{path}?", f"{path}?a=b&session=x", f"{path}?{'x' * 10_000}"):
        answer = await raw.exchange(wire, raw.request(wire, PING, target=target))
        assert answer is not None
        assert answer.status == 200, target


async def test_70_other_methods_are_refused_with_those_that_exist(wire: Wire) -> None:
    for method in ("HEAD", "TRACE", "PUT", "PATCH", "OPTIONS", "PROPFIND", "post"):
        async with raw.connected(wire.url) as connection:
            data = raw.request(wire, method=method)
            await connection.send(data)
            answer = await connection.answer() if method != "HEAD" else None
            # Of a HEAD there is no body, whatever its length says.
            status = int((await connection.read()).split()[1]) if answer is None else answer.status
        if method in ("PROPFIND", "post") and status == 400:
            continue  # not known to the server's parser
        assert status == 405, method
        if answer is not None:
            assert answer.headers["allow"].replace(",", "").split()[:3] == ["POST", "GET", "DELETE"], method
            assert b"secret" not in answer.body
            assert wire.headers["mcp-session-id"].encode() not in answer.body


async def test_70_a_tunnel_is_refused(wire: Wire) -> None:
    for target in ("evil.example:443", httpx.URL(wire.url).path, "127.0.0.1:22"):
        answer = await raw.exchange(wire, raw.request(wire, method="CONNECT", target=target))
        assert answer is None or answer.status in (400, 404, 405)


async def test_70_options_is_a_preflight_for_allowed_origins_only(wire: Wire) -> None:
    preflight = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    response = await wire.send("OPTIONS", headers=preflight)
    assert response.status_code in (403, 405)
    assert not any(name.startswith("access-control-allow") for name in response.headers)


@pytest.mark.parametrize("new_site_url", ["sqlite"], indirect=True)
async def test_70_an_allowed_origin_is_answered(new_site: Site) -> None:
    server = new_site.serve(settings={"ALLOWED_ORIGINS": ["https://app.example.com"]})
    wire = Wire(f"{server.url}/mcp")
    preflight = {"origin": "https://app.example.com", "access-control-request-method": "POST"}
    response = await wire.send("OPTIONS", headers=preflight)
    assert response.status_code in (200, 204)
    assert response.headers["access-control-allow-origin"] == "https://app.example.com"
    assert "vary" in response.headers
    assert response.headers.get("access-control-allow-credentials") != "true"
    wire.headers["origin"] = "https://app.example.com"
    response = await wire.initialize()
    assert response.headers["access-control-allow-origin"] == "https://app.example.com"
    assert "mcp-session-id" in response.headers["access-control-expose-headers"].lower()
    assert (await wire.post(notification("notifications/initialized"))).status_code == 202
    for origin in ("https://app.example.com.evil.example", "https://evil.example"):
        response = await wire.send("OPTIONS", headers={**preflight, "origin": origin})
        assert "access-control-allow-origin" not in response.headers
