"""Bad inputs 1 to 15, 19, 20, 40 and 60: bodies that are no good. Each test's number is its row's."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from tests.acceptance import raw
from tests.acceptance.conftest import RunningSite, Site
from tests.acceptance.waiting import until
from tests.acceptance.wire import Wire, notification

pytestmark = pytest.mark.acceptance

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
INVALID_PARAMS = -32602

MAX_BODY_BYTES = 4 * 1024 * 1024

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{}}'


@pytest.fixture
async def wire(site: RunningSite) -> AsyncIterator[Wire]:
    async with raw.surviving(site, raw.path_on(site)) as wire:
        yield wire


@pytest.fixture
async def mounted(site: RunningSite) -> AsyncIterator[Wire]:
    """A session beside Django, which reads a whole body before its view sees the request."""
    async with raw.surviving(site) as wire:
        yield wire


async def send(wire: Wire, body: bytes) -> httpx.Response:
    return await wire.send("POST", content=body)


async def assert_refused(wire: Wire, body: bytes, code: int = PARSE_ERROR) -> httpx.Response:
    response = await send(wire, body)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["code"] == code, response.text
    return response


BOMB = gzip.compress(bytes(50_000_000), 1)


def ping_with(params: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":1,"method":"ping","params":%s}' % params


# JSON


async def test_01_an_empty_body_is_refused(wire: Wire) -> None:
    for body in (b"", b" ", b"\r\n\r\n"):
        await assert_refused(wire, body)


async def test_02_json_that_is_cut_off_or_goes_on_is_refused(wire: Wire) -> None:
    for body in (PING[:-1], PING[:20], b"{", b'{"a', b'"', b"tru", PING + b"}", PING + PING, b"{'a': 1}"):
        await assert_refused(wire, body)


NOT_UTF_8 = {
    "byte order mark": b"\xef\xbb\xbf" + PING,
    "UTF-16": PING.decode().encode("utf-16"),
    "UTF-16, little end first": PING.decode().encode("utf-16-le"),
    "UTF-32": PING.decode().encode("utf-32"),
    "no start": ping_with(b'{"a":"\xff"}'),
    "overlong": ping_with(b'{"a":"\xc0\x80"}'),
    "surrogate": ping_with(b'{"a":"\xed\xa0\x80"}'),
    "beyond Unicode": ping_with(b'{"a":"\xf4\x90\x80\x80"}'),
    "NUL": b"\x00" + PING,
    "a pickle": b"\x80\x04\x95",
}


async def test_03_what_is_not_utf_8_is_refused(wire: Wire) -> None:
    for body in NOT_UTF_8.values():
        await assert_refused(wire, body)


@pytest.mark.parametrize("escape", [b"\\u0000", b"\\ud800", b"\\udfff\\ud800", b"\\u2028"])
async def test_04_surrogates_and_nul_are_taken(site: RunningSite, mcp_path: str, escape: bytes) -> None:
    async with raw.surviving(site, mcp_path) as wire:
        await send_everywhere(wire, escape)


async def send_everywhere(wire: Wire, escape: bytes) -> None:
    """Send a character in whatever place of a message there is."""
    value = b'"a%sz"' % escape
    answered = [
        b'"id":%s,"method":"ping"' % value,
        b'"id":1,"method":"ping","params":{"_meta":{%s:%s}}' % (value, value),
        b'"id":%s,"method":"tools/call","params":{"name":"add","arguments":{"a":1,%s:%s}}' % (value, value, value),
        b'"id":2,"method":"tools/call","params":{"name":%s}' % value,
        b'"id":3,"method":%s' % value,
        b'"id":4,"method":"logging/setLevel","params":{"level":%s}' % value,
    ]
    accepted = [
        b'"method":"notifications/cancelled","params":{"requestId":%s,"reason":%s}' % (value, value),
        b'"method":%s' % value,
        b'"id":%s,"result":{%s:%s}' % (value, value, value),
        b'"id":%s,"error":{"code":1,"message":%s}' % (value, value),
    ]
    for status, messages in ((200, answered), (202, accepted)):
        for message in messages:
            response = await send(wire, b'{"jsonrpc":"2.0",%s}' % message)
            assert response.status_code == status, (message, response.text)
    stranger = Wire(wire.url)
    response = await send(
        stranger,
        b'{"jsonrpc":"2.0","id":%s,"method":"initialize","params":{"protocolVersion":"2025-11-25",'
        b'"capabilities":{%s:{}},"clientInfo":{"name":%s,"version":%s}}}' % ((value,) * 4),
    )
    assert response.status_code == 200, response.text
    stranger.headers["mcp-session-id"] = response.headers["mcp-session-id"]
    await raw.assert_serving(stranger)
    await stranger.delete()


async def test_04_what_was_taken_is_stored_escaped(site: RunningSite, wire: Wire) -> None:
    marker = f"marker{time.monotonic_ns()}"
    await send(wire, ping_with(b'{"_meta":{"%s":"<\\u0000>","half":"<\\ud800>"}}' % marker.encode()))
    query = "SELECT payload FROM streamable_http_record WHERE payload LIKE ?"
    ((payload,),) = await until(lambda: site.rows(query, f"%{marker}%"))
    assert json.loads(payload)["params"]["_meta"] == {marker: "<\0>", "half": "<\ud800>"}
    assert "\\u0000" in payload


NESTED = {
    "arrays": b"[" * 100_000 + b"]" * 100_000,
    "never closed": b"[" * 100_000,
    "objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "in parameters": ping_with(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    # Beside a lone surrogate another parser reads it.
    "beside a surrogate": ping_with(b'{"s":"\\ud800","a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "just too deep": ping_with(b'{"a":' + b"[" * 63 + b"]" * 63 + b"}"),
}


async def test_05_nesting_of_100k_is_refused(wire: Wire) -> None:
    for body in NESTED.values():
        await assert_refused(wire, body)
    assert (await send(wire, ping_with(b'{"a":' + b"[" * 62 + b"]" * 62 + b"}"))).status_code == 200


async def test_06_of_duplicate_keys_the_last_one_counts_everywhere(site: RunningSite, wire: Wire) -> None:
    marker = f"twice-{time.monotonic_ns()}"
    response = await send(
        wire,
        b'{"jsonrpc":"1.0","jsonrpc":"2.0","id":null,"id":7,"method":"tools/list","method":"ping","params":[],'
        b'"params":{"_meta":{"m":1,"m":"%s"}}}' % marker.encode(),
    )
    assert response.json() == {"jsonrpc": "2.0", "id": 7, "result": {}}
    query = "SELECT method, payload FROM streamable_http_record WHERE payload LIKE ?"
    ((method, payload),) = await until(lambda: site.rows(query, f"%{marker}%"))
    assert method == json.loads(payload)["method"] == "ping"
    assert "tools/list" not in payload

    response = await send(
        wire,
        b'{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"name":"whoami","name":"add",'
        b'"arguments":{"a":1,"b":1},"arguments":{"a":1,"a":20,"b":2}}}',
    )
    assert '"result":22' in response.text


async def test_07_numbers_that_are_none_are_refused(wire: Wire) -> None:
    for number in (b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400", b"01", b"+1", b".5", b"0x1"):
        await assert_refused(wire, ping_with(b'{"a":%s}' % number))
        await assert_refused(wire, ping_with(b'{"s":"\\ud800","a":%s}' % number))


async def test_08_an_integer_of_thousands_of_digits_costs_nothing(wire: Wire) -> None:
    begun = time.monotonic()
    for digits in (5_000, 1_000_000):
        await assert_refused(wire, ping_with(b'{"a":%s}' % (b"9" * digits)))
        await assert_refused(wire, ping_with(b'{"s":"\\ud800","a":-%s}' % (b"9" * digits)))
        await assert_refused(wire, b'{"jsonrpc":"2.0","id":%s,"method":"ping"}' % (b"1" * digits))
    # Reading a million digits as an integer takes several seconds.
    assert time.monotonic() - begun < 4


# Size


async def test_09_a_body_announced_too_large_is_refused_before_it_comes(mounted: Wire) -> None:
    wire = mounted
    announced = f"content-length: {MAX_BODY_BYTES + 1}".encode()
    for more in ((), (b"expect: 100-continue",)):
        async with raw.connected(wire.url) as connection:
            await connection.send(raw.request(wire, b"", announced, *more, length=False))
            answer = await connection.answer()
        assert answer is not None
        assert answer.status == 413
    # A server may refuse a length that is no number of 64 bits by itself.
    answer = await raw.exchange(wire, raw.request(wire, b"", b"content-length: " + b"9" * 5_000, length=False))
    assert answer is None or answer.status in (400, 413)


async def test_10_a_body_that_grows_too_large_is_refused_on_the_way(mounted: Wire) -> None:
    wire = mounted
    async with raw.connected(wire.url) as connection:
        await connection.send(raw.request(wire, b"", b"transfer-encoding: chunked", length=False))
        piece = b"10000\r\n" + b" " * 65_536 + b"\r\n"
        for _ in range(MAX_BODY_BYTES // 65_536 + 1):
            await connection.send(piece)
        answer = await connection.answer()
    assert answer is not None
    assert answer.status == 413


async def test_10_a_body_just_not_too_large_is_taken(wire: Wire) -> None:
    body = PING + b" " * (MAX_BODY_BYTES - len(PING))
    assert (await send(wire, body)).status_code == 200
    assert (await send(wire, body + b" ")).status_code == 413


async def test_11_compressed_bodies_are_not_even_tried(wire: Wire) -> None:
    for encoding in ("gzip", "deflate", "br", "zstd", "gzip, gzip", "GZIP", "identity, gzip"):
        response = await wire.send("POST", content=BOMB, headers={"content-encoding": encoding})
        assert response.status_code == 415, encoding
        assert int(response.headers.get("content-length", 0)) < 1_000


# JSON-RPC


async def test_12_a_batch_is_refused_where_there_are_none(wire: Wire) -> None:
    for body in (b"[%s]" % PING, b"[%s,%s]" % (PING, PING), b"[]", b"[1]"):
        await assert_refused(wire, body, INVALID_REQUEST)


async def test_13_a_batch_is_bounded_and_not_empty(site: RunningSite) -> None:
    async with raw.surviving(site, raw.path_on(site), "2025-03-26") as wire:
        for body in (b"[]", b"[%s]" % b",".join([PING] * 10_000), b"[%s]" % b",".join([PING] * 101)):
            response = await send(wire, body)
            assert response.status_code == 400, response.text
            assert not response.content
        response = await wire.post([wire.request("ping") for _ in range(100)])
        assert response.status_code == 200
        # Each bad part is answered for itself, and none of the good ones suffers.
        response = await send(wire, b'[1,{"jsonrpc":"2.0","id":5,"method":"ping"},[]]')
        assert response.status_code in (200, 400)


async def test_14_another_version_of_json_rpc_is_refused(wire: Wire) -> None:
    for version in (None, 1, 2, 2.0, "1.0", "2", "2.00", "", [], {"2": 0}, True):
        body = json.dumps({**wire.request("ping"), "jsonrpc": version}).encode()
        await assert_refused(wire, body, INVALID_REQUEST)
    await assert_refused(wire, b'{"id":1,"method":"ping"}', INVALID_REQUEST)


async def test_14_json_that_is_no_message_is_refused(wire: Wire) -> None:
    for body in (b"1", b"null", b"true", b'"ping"', b"{}", b'{"jsonrpc":"2.0"}', b'{"jsonrpc":"2.0","id":1}'):
        await assert_refused(wire, body, INVALID_REQUEST)
    for rest in (b'"method":1', b'"method":null', b'"method":""', b'"method":"%s"' % (b"x" * 300_000)):
        await assert_refused(wire, b'{"jsonrpc":"2.0","id":1,%s}' % rest, INVALID_REQUEST)
    for rest in (b'"result":{},"error":{}', b'"result":1', b'"error":{}', b'"error":{"code":true,"message":""}'):
        await assert_refused(wire, b'{"jsonrpc":"2.0","id":1,%s}' % rest, INVALID_REQUEST)


BAD_IDS = (b"null", b"1.5", b"1e3", b"true", b"false", b"{}", b"[1]", b'"%s"' % (b"x" * 1_000_000), b"1" * 40)


@pytest.mark.parametrize("method", [b"ping", b"tools/call", b"initialize"])
async def test_15_an_id_that_is_none_is_refused_without_one(wire: Wire, method: bytes) -> None:
    for bad_id in BAD_IDS:
        body = b'{"jsonrpc":"2.0","id":%s,"method":"%s","params":{}}' % (bad_id, method)
        response = await assert_refused(wire, body, INVALID_REQUEST)
        assert "id" not in response.json()
        for revision in ("2025-06-18", "2025-03-26"):
            response = await wire.send("POST", content=body, headers={"mcp-protocol-version": revision})
            assert (response.status_code, response.content) == (400, b"")


async def test_15_an_id_may_be_any_integer_or_string(wire: Wire) -> None:
    for good_id in (0, -1, 2**63 - 1, -(2**63), 2**64 - 1, "", "x" * 256, "\u00e9\u4e2d\U0001f600", "1"):
        for method in ("ping", "tools/call"):
            request = {**wire.request(method, {"name": "add", "arguments": {"a": 1, "b": 1}}), "id": good_id}
            response = await wire.post(request, headers={"accept": "application/json"})
            assert response.json()["id"] == good_id


@pytest.mark.parametrize("method", ["ping", "tools/call", "initialize", "nonsense"])
async def test_19_params_that_are_no_object_are_refused(wire: Wire, method: str) -> None:
    for params in ([], [1], "x", 1, True, None):
        request = {**wire.request(method), "params": params}
        response = await assert_refused(wire, json.dumps(request).encode(), INVALID_PARAMS)
        assert response.json()["id"] == request["id"]
        message = {**notification("notifications/initialized"), "params": params}
        await assert_refused(wire, json.dumps(message).encode(), INVALID_PARAMS)


async def test_20_other_content_types_are_refused(wire: Wire) -> None:
    for content_type in (
        "text/plain",
        "text/plain; a=application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "application/json-rpc",
        "text/json",
        "application/json, text/plain",
        "",
    ):
        response = await wire.post(wire.request("ping"), headers={"content-type": content_type})
        assert response.status_code == 415, content_type
    for content_type in ("application/json; charset=utf-8", "Application/JSON"):
        response = await wire.post(wire.request("ping"), headers={"content-type": content_type})
        assert response.status_code == 200, content_type


# Bodies that do not come, or not as announced


@pytest.mark.parametrize("new_site_url", ["sqlite"], indirect=True)
async def test_40_a_body_that_trickles_is_given_up(new_site: Site) -> None:
    wire = Wire(f"{new_site.serve(settings={'BODY_TIMEOUT_SECONDS': 1}).url}/mcp")
    await wire.initialize()

    async def trickle(body: bytes, *lines: bytes, wrap: Callable[[bytes], bytes]) -> float:
        begun = time.monotonic()
        async with raw.connected(wire.url) as connection:
            await connection.send(raw.request(wire, b"", *lines, length=False))
            answering = asyncio.ensure_future(connection.answer())
            for byte in body:
                await connection.send(wrap(bytes([byte])))
                await asyncio.wait([answering], timeout=0.1)
                if answering.done():
                    break
            answer = await answering
        assert answer is not None
        assert answer.status == 408
        return time.monotonic() - begun

    length = f"content-length: {len(PING)}".encode()
    trickles = [trickle(PING, length, wrap=bytes) for _ in range(20)]
    trickles += [trickle(PING, b"transfer-encoding: chunked", wrap=lambda byte: b"1\r\n%s\r\n" % byte)]
    trickles += [trickle(b"", length, wrap=bytes)]
    took, _ = await asyncio.gather(asyncio.gather(*trickles), wire.result("add", a=1, b=1))
    assert max(took) < 4
    await raw.assert_serving(wire)


async def test_60_a_length_that_is_no_number_is_refused(wire: Wire) -> None:
    for announced in (b"-1", b"abc", b"", b"1 2", b"0x10", b"1, 2", b"\xb2", b"1" * 100):
        data = raw.request(wire, PING, b"content-length: " + announced, length=False)
        answer = await raw.exchange(wire, data)
        assert answer is None or answer.status in (400, 413), announced


async def test_60_a_length_that_is_too_short_cuts_the_body(wire: Wire) -> None:
    async with raw.connected(wire.url) as connection:
        await connection.send(raw.request(wire, PING, b"content-length: 10", length=False))
        answers = await connection.answers()
    # What comes behind is the next request, and no good one.
    assert [answer.status for answer in answers] in ([400], [400, 400])


async def test_60_a_length_that_is_too_long_waits_for_the_rest(wire: Wire) -> None:
    async with raw.connected(wire.url) as connection:
        await connection.send(raw.request(wire, PING, b"content-length: 1000", length=False))
        connection.end()
        assert await connection.answer() is None


async def test_60_two_lengths_are_refused(wire: Wire) -> None:
    answer = await raw.exchange(wire, raw.request(wire, PING, b"content-length: 10"))
    assert answer is None or answer.status == 400
