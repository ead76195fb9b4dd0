from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamable_http import exceptions
from streamable_http.protocol import jsonrpc

DEPTH = 64
LONE = b'"\\ud800"'

# Strategies

any_text = st.text(st.characters(exclude_categories=()), max_size=12)  # with lone surrogates
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | any_text
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4), max_leaves=12
)

fragments = (
    st.sampled_from([b"{", b"}", b"[", b"]", b",", b":", b" ", b"\n", b"\t", b'"', b"\\", b"\0", b"\x0b", b"\xc2\xa0"])
    | st.sampled_from([b'"jsonrpc":"2.0",', b'"id":', b'"method":', b'"params":', b'"result":{}', b'"error":'])
    | st.sampled_from([b"0", b"-0", b"01", b"1.", b"-", b"1.0", b"1e5", b"1e-400", b"1e400", b"-1e400", b"1" * 400])
    | st.sampled_from([b"%d" % number for number in (2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**300)])
    | st.sampled_from([b"NaN", b"-Infinity", b"true", b"nul", b"null", b'"\xed\xa0\x80"', b"\xef\xbb\xbf", b"\xff"])
    | st.sampled_from([LONE, b'"a"', b'"\\u0000"', b'"\\ud83d\\ude00"', b'"\\udc00\\ud800"'])
)
json_like = st.lists(fragments, max_size=12).map(b"".join)
documents = values.map(lambda value: json.dumps(value).encode())
bodies = st.binary(max_size=40) | json_like | documents

branches = st.recursive(
    st.just("scalar"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(any_text, inner, max_size=2),
    max_leaves=5,
)


@st.composite
def nested(draw: st.DrawFn, max_levels: int = 9) -> tuple[Any, int]:
    """Return a value of lists and objects with branches of any depth, and its own depth."""
    value, levels = draw(st.sampled_from([0, "text", '[[{{\\"', "\ud800", None])), 0
    for _ in range(draw(st.integers(0, max_levels))):
        siblings: list[Any] = draw(st.lists(branches, max_size=2))
        levels = max([levels, *map(depth, siblings)]) + 1
        siblings.insert(draw(st.integers(0, len(siblings))), value)
        value = draw(st.sampled_from([siblings, {f"key {n}": item for n, item in enumerate(siblings)}]))
    return value, levels


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


def outcome(body: bytes) -> str:
    """Return what a body reads as, in a form that tells 1 from 1.0, or that it is refused."""
    try:
        return repr(jsonrpc.loads(body, max_depth=DEPTH))
    except exceptions.ParseError:
        return "refused"


# Reading JSON


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="row 1: empty"),
        pytest.param(b" \n", id="row 1: blank"),
        pytest.param(b'{"jsonrpc":"2.0","id":1', id="row 2: truncated object"),
        pytest.param(b'{"jsonrpc":"2.', id="row 2: truncated string"),
        pytest.param(b'"\\ud8', id="row 2: truncated escape"),
        pytest.param(b'["\\ud800', id="row 2: truncated after a lone surrogate"),
        pytest.param(b'"\xff"', id="row 3: no UTF-8"),
        pytest.param(b'"\xc0\xaf"', id="row 3: overlong UTF-8"),
        pytest.param(b'"\xed\xa0\x80"', id="row 3: a surrogate in UTF-8"),
        pytest.param(b'["\xff",' + LONE + b"]", id="row 3: no UTF-8, with a lone surrogate"),
        pytest.param("{}".encode("utf-16"), id="row 3: UTF-16 with a mark"),
        pytest.param("{}".encode("utf-16-le"), id="row 3: UTF-16 little-endian"),
        pytest.param("{}".encode("utf-16-be"), id="row 3: UTF-16 big-endian"),
        pytest.param("{}".encode("utf-32"), id="row 3: UTF-32"),
        pytest.param(b"\xef\xbb\xbf{}", id="row 3: byte order mark"),
        pytest.param(b"\xef\xbb\xbf" + LONE, id="row 3: byte order mark, with a lone surrogate"),
        pytest.param(b'"\x00"', id="row 4: a bare NUL"),
        pytest.param(b"[" * 100_000, id="row 5: 100,000 open lists"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, id="row 5: 100,000 lists"),
        pytest.param(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, id="row 5: 100,000 objects"),
        pytest.param(b"[" * 100_000 + LONE + b"]" * 100_000, id="row 5: 100,000 lists round a lone surrogate"),
        pytest.param(b"[" + LONE + b"," + b"[" * 100_000 + b"]" * 100_001, id="row 5: 100,000 lists after one"),
        pytest.param(b"[" * 1_000 + LONE + b"]" * 1_000, id="row 5: 1,000 lists round a lone surrogate"),
        pytest.param(b"NaN", id="row 7: NaN"),
        pytest.param(b'{"a":Infinity}', id="row 7: Infinity"),
        pytest.param(b"[-Infinity]", id="row 7: -Infinity"),
        pytest.param(b"1e400", id="row 7: 1e400"),
        pytest.param(b"[NaN," + LONE + b"]", id="row 7: NaN before a lone surrogate"),
        pytest.param(b"[" + LONE + b",NaN]", id="row 7: NaN after a lone surrogate"),
        pytest.param(b"[" + LONE + b",-Infinity]", id="row 7: -Infinity after a lone surrogate"),
        pytest.param(b"[" + LONE + b",-1e400]", id="row 7: -1e400 after a lone surrogate"),
        pytest.param(b"1" * 5_000, id="row 8: 5,000 digits"),
        pytest.param(b"-" + b"9" * 1_000_000, id="row 8: a million digits"),
        pytest.param(b"[" + LONE + b"," + b"1" * 5_000 + b"]", id="row 8: 5,000 digits after a lone surrogate"),
        pytest.param(b"[" + LONE + b"," + b"1" * 1_000_000 + b"]", id="row 8: a million digits after one"),
        pytest.param(b"{} {}", id="two documents"),
        pytest.param(b"[1,]", id="trailing comma"),
        pytest.param(b"{'a':1}", id="single quotes"),
        pytest.param(b"// comment\n{}", id="comment"),
    ],
)
def test_what_is_not_json_within_limits_is_a_parse_error(body: bytes) -> None:
    with pytest.raises(exceptions.ParseError) as caught:
        jsonrpc.loads(body, max_depth=DEPTH)

    assert (caught.value.http_status, caught.value.code) == (400, -32700)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'"\\ud800"', "\ud800"),
        (b'"\\udfff"', "\udfff"),
        (b'"\\udc00\\ud800"', "\udc00\ud800"),
        (b'"\\ud800\\n"', "\ud800\n"),
        (b'"\\ud800\\u0041"', "\ud800A"),
        (b'"\\ud800\\ud83d\\ude00"', "\ud800\U0001f600"),
        (b'"\\u0000"', "\0"),
        (b'"\\u0000\\ud800"', "\0\ud800"),
        ('"\u2028\u2029\u0085"'.encode(), "\u2028\u2029\u0085"),
    ],
)
def test_row_4_lone_surrogates_and_nul_are_read_and_written_as_escapes(body: bytes, text: str) -> None:
    assert jsonrpc.loads(body, max_depth=DEPTH) == text
    assert jsonrpc.loads(b'{"params":{' + body + b":1}}", max_depth=DEPTH) == {"params": {text: 1}}

    written = jsonrpc.dumps({"text": text})

    assert b"\0" not in written
    assert b"\n" not in written
    assert jsonrpc.loads(written, max_depth=DEPTH) == {"text": text}


@pytest.mark.parametrize("other", [b"1", LONE], ids=["usual", "with a lone surrogate"])
def test_row_6_the_last_of_duplicate_keys_counts(other: bytes) -> None:
    body = b'{"method":"ping","method":"tools/list","other":%b,"params":{"a":1,"a":2}}' % other

    value = jsonrpc.loads(body, max_depth=DEPTH)

    assert value["method"] == "tools/list"
    assert value["params"] == {"a": 2}


@pytest.mark.parametrize("other", [b'"x"', LONE], ids=["usual", "with a lone surrogate"])
@pytest.mark.parametrize(
    ("number", "value"),
    [
        (b"18446744073709551615", 2**64 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b"18446744073709551616", float(2**64)),
        (b"-9223372036854775809", float(-(2**63))),
        (b"1" + b"0" * 300, 1e300),
        (b"1.0", 1.0),
        (b"-0", 0),
    ],
)
def test_integers_are_exact_within_64_bits_and_doubles_beyond(number: bytes, value: float, other: bytes) -> None:
    read, _ = jsonrpc.loads(b"[%b,%b]" % (number, other), max_depth=DEPTH)

    assert (read, type(read)) == (value, type(value))


@given(nested(), st.integers(0, 10))
@example(([[], [[]]], 3), 2)
@example((["[" * 50], 1), 1)
@example(("[[", 0), 0)
def test_row_5_a_value_is_refused_exactly_when_it_is_deeper_than_the_limit(case: tuple[Any, int], limit: int) -> None:
    value, levels = case
    assert depth(value) == levels
    body = json.dumps(value).encode()

    if levels > limit:
        with pytest.raises(exceptions.ParseError, match=f"deeper than {limit} levels"):
            jsonrpc.loads(body, max_depth=limit)
    else:
        assert jsonrpc.loads(body, max_depth=limit) == value


@given(json_like | documents)
def test_a_lone_surrogate_elsewhere_changes_nothing_about_how_a_value_is_read(body: bytes) -> None:
    usual = outcome(b"[" + body + b',"x"]')
    with_lone_surrogate = outcome(b"[" + body + b"," + LONE + b"]")

    assert with_lone_surrogate == usual.replace("'x']", "'\\ud800']")


@given(bodies)
def test_any_body_is_a_message_or_a_documented_error(body: bytes) -> None:
    try:
        message = jsonrpc.parse(jsonrpc.loads(body, max_depth=DEPTH))
    except (exceptions.ParseError, exceptions.InvalidRequest, exceptions.InvalidParams):
        return
    assert isinstance(message, jsonrpc.Request | jsonrpc.Notification | jsonrpc.Response)


# Writing JSON


@given(values)
def test_what_was_written_reads_as_the_same_value(value: Any) -> None:
    written = jsonrpc.dumps(value)

    assert b"\n" not in written
    assert b"\r" not in written
    assert jsonrpc.loads(written, max_depth=DEPTH) == value


def test_plain_text_is_written_in_utf_8() -> None:
    assert jsonrpc.dumps({"a": [1, "é\u2028"]}) == '{"a":[1,"é\u2028"]}'.encode()


def cyclic(first: str) -> list[Any]:
    value: list[Any] = [first]
    value.append(value)
    return value


def deep(first: str) -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return [first, value]


@pytest.mark.parametrize("first", ["x", "\ud800"], ids=["usual", "with a lone surrogate"])
@pytest.mark.parametrize(
    "make",
    [cyclic, deep, lambda first: [first, object()], lambda first: [first, b"bytes"], lambda first: [first, {(1,): 1}]],
    ids=["cyclic", "deep", "object", "bytes", "tuple as key"],
)
def test_what_has_no_json_is_a_type_error(make: Any, first: str) -> None:
    with pytest.raises(TypeError):
        jsonrpc.dumps(make(first))


# Messages


def call(**members: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": "ping"} | members


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in call().items() if key != name}


@pytest.mark.parametrize("request_id", [0, 1, -1, 2**63, 2**64 - 1, "", "1", "a b", "x" * 256, "\ud800", "\0", "é"])
def test_strings_and_integers_are_ids(request_id: jsonrpc.RequestId) -> None:
    assert jsonrpc.parse(call(id=request_id)) == jsonrpc.Request(request_id, "ping", {})


@pytest.mark.parametrize(
    "request_id",
    [None, 1.0, 1.5, True, False, {}, {"a": 1}, [], [1], "x" * 257, "x" * 1_000_000],
    ids=lambda value: f"row 15: {value!r:.20}",
)
def test_other_ids_are_refused(request_id: Any) -> None:
    with pytest.raises(exceptions.InvalidRequest, match='"id" must be'):
        jsonrpc.parse(call(id=request_id))


@pytest.mark.parametrize("other", [b'"x"', LONE], ids=["usual", "with a lone surrogate"])
def test_row_15_an_id_beyond_64_bits_is_refused_because_it_could_not_be_echoed(other: bytes) -> None:
    body = b'{"jsonrpc":"2.0","id":18446744073709551616,"method":"ping","params":{"a":%b}}' % other

    with pytest.raises(exceptions.InvalidRequest, match='"id" must be'):
        jsonrpc.parse(jsonrpc.loads(body, max_depth=DEPTH))


def test_a_call_with_an_id_is_a_request() -> None:
    message = jsonrpc.parse(call(method="tools/call", params={"name": "x"}))

    assert message == jsonrpc.Request(1, "tools/call", {"name": "x"})


def test_a_call_without_an_id_is_a_notification() -> None:
    message = jsonrpc.parse({"jsonrpc": "2.0", "method": "notifications/initialized"})

    assert message == jsonrpc.Notification("notifications/initialized", {})


def test_members_that_nobody_knows_are_ignored() -> None:
    assert jsonrpc.parse(call(extra=1)) == jsonrpc.Request(1, "ping", {})


def test_a_result_is_a_response() -> None:
    assert jsonrpc.parse({"jsonrpc": "2.0", "id": "a", "result": {"x": 1}}) == jsonrpc.Response("a", result={"x": 1})


def test_an_error_is_a_response_with_all_its_members() -> None:
    problem = {"code": -32000, "message": "no", "data": {"x": 1}}

    assert jsonrpc.parse({"jsonrpc": "2.0", "id": 2, "error": problem}) == jsonrpc.Response(2, error=problem)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param([call()], id="row 12: batch"),
        pytest.param([call(id=n) for n in range(10_000)], id="row 13: batch of 10,000"),
        pytest.param([], id="row 13: empty batch"),
        pytest.param(without("jsonrpc"), id="row 14: no version"),
        pytest.param(call(jsonrpc="1.0"), id="row 14: version 1.0"),
        pytest.param(call(jsonrpc=2.0), id="row 14: version as a number"),
        pytest.param(call(jsonrpc=["2.0"]), id="row 14: version in a list"),
        pytest.param(call(jsonrpc=None), id="row 14: version null"),
        pytest.param({}, id="empty object"),
        pytest.param(None, id="null"),
        pytest.param("ping", id="string"),
        pytest.param(7, id="number"),
        pytest.param(without("method"), id="neither call nor response"),
        pytest.param(call(method=""), id="empty method"),
        pytest.param(call(method=None), id="method null"),
        pytest.param(call(method=["ping"]), id="method in a list"),
        pytest.param(call(method="x" * 257), id="long method"),
        pytest.param(call(result={}), id="method and result"),
        pytest.param(call(error={"code": 1, "message": ""}), id="method and error"),
        pytest.param({"jsonrpc": "2.0", "result": {}}, id="result without id"),
        pytest.param({"jsonrpc": "2.0", "id": None, "result": {}}, id="result with id null"),
        pytest.param({"jsonrpc": "2.0", "id": 1, "result": None}, id="result null"),
        pytest.param({"jsonrpc": "2.0", "id": 1, "result": [1]}, id="result as a list"),
        pytest.param({"jsonrpc": "2.0", "id": 1, "result": {}, "error": {"code": 1, "message": ""}}, id="both"),
        pytest.param({"jsonrpc": "2.0", "id": 1, "error": "no"}, id="error as a string"),
        pytest.param({"jsonrpc": "2.0", "id": 1, "error": None}, id="error null"),
        pytest.param({"jsonrpc": "2.0", "id": 1, "error": {"message": "no"}}, id="error without code"),
        pytest.param({"jsonrpc": "2.0", "id": 1, "error": {"code": "1", "message": "no"}}, id="error code as text"),
        pytest.param({"jsonrpc": "2.0", "id": 1, "error": {"code": 1.5, "message": "no"}}, id="error code fraction"),
        pytest.param({"jsonrpc": "2.0", "id": 1, "error": {"code": True, "message": "no"}}, id="error code boolean"),
        pytest.param({"jsonrpc": "2.0", "id": 1, "error": {"code": 1}}, id="error without message"),
    ],
)
def test_what_is_no_message_is_an_invalid_request(value: Any) -> None:
    with pytest.raises(exceptions.InvalidRequest) as caught:
        jsonrpc.parse(value)

    assert (caught.value.http_status, caught.value.code) == (400, -32600)


def test_a_method_of_the_greatest_length_is_taken() -> None:
    assert jsonrpc.parse(call(method="x" * 256)) == jsonrpc.Request(1, "x" * 256, {})


@pytest.mark.parametrize("params", [[], [1], "text", 1, True, None], ids=lambda value: f"row 19: {value!r}")
@pytest.mark.parametrize("members", [call(), without("id")], ids=["request", "notification"])
def test_params_that_are_no_object_are_invalid(members: dict[str, Any], params: Any) -> None:
    with pytest.raises(exceptions.InvalidParams) as caught:
        jsonrpc.parse(members | {"params": params})

    assert (caught.value.http_status, caught.value.code) == (400, -32602)


def test_a_request_goes_on_the_wire_as_it_parses() -> None:
    message = jsonrpc.Request("a", "roots/list", {"x": 1})

    assert jsonrpc.parse(jsonrpc.request(message)) == message


def test_a_notification_goes_on_the_wire_as_it_parses() -> None:
    wire = jsonrpc.notification("notifications/message", {"x": 1})

    assert jsonrpc.parse(wire) == jsonrpc.Notification("notifications/message", {"x": 1})


def test_a_result_goes_on_the_wire_as_it_parses() -> None:
    assert jsonrpc.parse(jsonrpc.result(0, {"x": 1})) == jsonrpc.Response(0, result={"x": 1})


def test_an_error_carries_code_sentence_and_data() -> None:
    wire = jsonrpc.error(3, exceptions.CallFailed(-32002, "no such resource", data={"uri": "x:y"}))

    assert wire == {
        "jsonrpc": "2.0",
        "id": 3,
        "error": {"code": -32002, "message": "no such resource", "data": {"uri": "x:y"}},
    }


def test_an_error_without_data_has_no_data_member() -> None:
    assert jsonrpc.error(3, exceptions.MethodNotFound("x"))["error"] == {
        "code": -32601,
        "message": "method not found: x",
    }


@pytest.mark.parametrize("request_id", [0, ""])
def test_an_error_keeps_an_id_that_is_false_in_python(request_id: jsonrpc.RequestId) -> None:
    assert jsonrpc.error(request_id, exceptions.InternalError())["id"] == request_id


def test_an_error_for_nobody_has_no_id() -> None:
    assert "id" not in jsonrpc.error(None, exceptions.ParseError("x"))


def test_the_usual_parser_still_names_lone_surrogates_in_its_errors() -> None:
    """The second parser is reached by the words of the first one's error: a new orjson must keep them."""
    with pytest.raises(orjson.JSONDecodeError, match="surrogate"):
        orjson.loads(LONE)
    with pytest.raises(orjson.JSONEncodeError, match="surrogates"):
        orjson.dumps("\ud800")
