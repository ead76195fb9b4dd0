from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamable_http.protocol import cursors, jsonrpc, sse

BOM = b"\xef\xbb\xbf"

# Strategies

any_text = st.text(st.characters(exclude_categories=()), max_size=12)  # with lone surrogates
scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
payloads = st.recursive(
    scalars
    | any_text
    | st.sampled_from(["\u2028", "\u2029", "\x85", "\0", "\r\n", "\ud800", "\x0b\x0c\x1c", "\ufeff"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=8,
)
fragments = (
    st.sampled_from([b"\r", b"\n", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n"])
    | st.sampled_from(
        [b":", b" ", b"\0", BOM, b"\xff", b"\xe2\x82", b"\xe2\x80\xa8", b"\xc2\x85", b": comment", b"x: y"]
    )
    | st.sampled_from(
        [b"data: one", b"data:two", b"data", b"data:", b"data:  x", b"data : x", b"Data: x", b"data: a: b"]
    )
    | st.sampled_from([b"id: 1.1", b"id:2", b"id", b"id: a\0b", b"id: \xff", b"event: ping", b"event"])
    | st.sampled_from([b"retry: 10", b"retry:0", b"retry: 1x", b"retry: -1", b"retry", b"retry:  5", b"retry: 5 "])
    | st.sampled_from(
        [b"retry: " + b"9" * 5_000, b"retry: " + b"0" * 20 + b"42", b"retry: \xd9\xa1", b"retry: \xc2\xb2"]
    )
)
streams = st.lists(fragments | st.binary(max_size=2), max_size=30).map(b"".join)


@st.composite
def cut_streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """Return a stream, and the same in pieces."""
    stream = draw(streams)
    cuts = sorted(draw(st.sets(st.integers(0, len(stream)), max_size=12)))
    return stream, [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


def decode(chunks: Iterable[bytes]) -> tuple[list[sse.Event], str, int | None]:
    decoder = sse.Decoder()
    events = [event for chunk in chunks for event in decoder.decode(chunk)]
    events += decoder.flush()
    return events, decoder.last_event_id, decoder.retry_ms


def reference(stream: bytes) -> tuple[list[sse.Event], str, int | None]:  # noqa: C901  as long as the standard
    """Decode a whole stream, sentence by sentence as in WHATWG HTML, section 9.2.6."""
    text = stream.decode("utf-8", "replace")
    text = text[1:] if stream.startswith(BOM) else text
    lines = re.split("\r\n|\r|\n", text)[:-1]
    events: list[sse.Event] = []
    data_buffer = event_type_buffer = last_event_id_buffer = last_event_id_string = ""
    reconnection_time = reconnection_time_of_block = None
    for line in lines:
        if line == "":
            last_event_id_string = last_event_id_buffer
            if data_buffer != "":
                data = data_buffer[:-1] if data_buffer[-1] == "\n" else data_buffer
                kind = event_type_buffer if event_type_buffer != "" else "message"
                events.append(sse.Event(data, last_event_id_string, kind, reconnection_time_of_block))
            data_buffer = event_type_buffer = ""
            reconnection_time_of_block = None
            continue
        if line[0] == ":":
            continue
        field, value = line, ""
        if ":" in line:
            field, value = line[: line.index(":")], line[line.index(":") + 1 :]
            if value[:1] == " ":
                value = value[1:]
        if field == "event":
            event_type_buffer = value
        elif field == "data":
            data_buffer += value
            data_buffer += "\n"
        elif field == "id":
            if "\0" not in value:
                last_event_id_buffer = value
        elif field == "retry" and re.fullmatch("[0-9]+", value):
            # Ours: no wait is longer than 2**31 ms.
            reconnection_time = reconnection_time_of_block = int(min(float(value), 2**31))
    return events, last_event_id_string, reconnection_time


# Decoding


@given(cut_streams())
@example((b"data: 1\r\n\r\n", [b"data: 1\r", b"\n\r", b"\n"]))
@example((b"data: 1\r\rdata: 2\r\r", [b"data: 1\r", b"\rdata: 2\r", b"\r"]))
@example((b"data: 1\rdata: 2\n\n", [b"data: 1\rdata: 2", b"\n\n"]))
@example((BOM + b"data: 1\n\n", [BOM[:1], BOM[1:] + b"data: 1\n\n"]))
def test_any_split_of_any_stream_decodes_as_the_standard_says(case: tuple[bytes, list[bytes]]) -> None:
    stream, pieces = case
    expected = reference(stream)

    assert decode([stream]) == expected
    assert decode(pieces) == expected
    assert decode(stream[n : n + 1] for n in range(len(stream))) == expected
    for cut in range(min(len(stream), 100)):
        assert decode([stream[:cut], stream[cut:]]) == expected


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        # The examples of the standard, section 9.2.6.
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [sse.Event("YHOO\n+2\n10")]),
        (
            b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
            [sse.Event("first event", "1"), sse.Event("second event", ""), sse.Event(" third event", "")],
        ),
        (b"data\n\ndata\ndata\n\ndata:", [sse.Event(""), sse.Event("\n")]),
        (b"data:test\n\ndata: test\n\n", [sse.Event("test"), sse.Event("test")]),
        # What MCP servers send.
        (b"id: a.0\nretry: 500\ndata: \n\n", [sse.Event("", "a.0", "message", 500)]),
        (b"event: message\r\nid: x\r\ndata: {}\r\n\r\n", [sse.Event("{}", "x", "message")]),
        (b"data: x \r\n\r\n", [sse.Event("x ")]),
        (b"event: endpoint\ndata: /m\n\n", [sse.Event("/m", "", "endpoint")]),
        (b":\n\n: ping - 2025\n\n", []),
        # Odd ones.
        (BOM + b"data: 1\n\n", [sse.Event("1")]),
        (BOM + BOM + b"data: 1\n\n", []),
        (b"data: 1\n\n" + BOM + b"data: 2\n\n", [sse.Event("1")]),
        (b"data: \xff\n\n", [sse.Event("\ufffd")]),
        ("data: a\u2028b\x85c\x0bd\x0ce\n\n".encode(), [sse.Event("a\u2028b\x85c\x0bd\x0ce")]),
        (b"id: 1\ndata: 1\n\nid: 2\0\ndata: 2\n\n", [sse.Event("1", "1"), sse.Event("2", "1")]),
        (b"event: a\n\ndata: 1\n\n", [sse.Event("1")]),
        (b"data: 1\nevent: a\nevent\n\n", [sse.Event("1")]),
    ],
)
def test_a_stream_decodes_to_its_events(stream: bytes, events: list[sse.Event]) -> None:
    assert decode([stream])[0] == events


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_an_event_is_given_as_soon_as_its_blank_line_ends(end: bytes) -> None:
    decoder = sse.Decoder()

    assert decoder.decode(b"data: 1" + end + end) == [sse.Event("1")]


def test_a_line_feed_after_an_empty_chunk_still_belongs_to_its_carriage_return() -> None:
    decoder = sse.Decoder()

    assert decoder.decode(b"data: 1\r") == []
    assert decoder.decode(b"") == []
    assert decoder.decode(b"\ndata: 2\n\n") == [sse.Event("1\n2")]


def test_an_id_counts_once_its_block_is_dispatched_also_without_data() -> None:
    decoder = sse.Decoder()

    decoder.decode(b"id: a.1\n")
    assert decoder.last_event_id == ""

    assert decoder.decode(b"\n") == []
    assert decoder.last_event_id == "a.1"


def test_an_id_stays_until_the_next_one() -> None:
    assert decode([b"id: a.1\ndata: 1\n\ndata: 2\n\n"])[0] == [sse.Event("1", "a.1"), sse.Event("2", "a.1")]


def test_an_incomplete_block_at_the_end_is_discarded_with_its_id() -> None:
    decoder = sse.Decoder()
    decoder.decode(b"id: a.1\ndata: 1\n\nid: a.2\ndata: 2\n")

    assert decoder.flush() == []
    assert decoder.last_event_id == "a.1"
    assert decoder.decode(b"\n") == []
    assert decoder.last_event_id == "a.1"


def test_an_incomplete_line_at_the_end_is_discarded() -> None:
    decoder = sse.Decoder()
    decoder.decode(b"data: 1")

    assert decoder.flush() == []
    assert decoder.decode(b"\n\n") == []


@pytest.mark.parametrize(
    ("value", "retry_ms"),
    [
        (b"3000", 3000),
        (b"0", 0),
        (b"000000000000003000", 3000),
        (b"2147483648", 2**31),
        (b"99999999999999999999", 2**31),
        pytest.param(b"9" * 100_000, 2**31, id="100,000 digits"),
        (b"", None),
        (b"-1", None),
        (b"+1", None),
        (b"1.5", None),
        (b"1e3", None),
        (b"1_0", None),
        (b" 1", None),
        ("\u0661".encode(), None),
        ("\u00b2".encode(), None),
    ],
)
def test_a_reconnection_time_is_digits_alone(value: bytes, retry_ms: int | None) -> None:
    events, _, state = decode([b"retry: " + value + b"\ndata: 1\n\n"])

    assert events[0].retry_ms == retry_ms
    assert state == retry_ms


def test_a_reconnection_time_belongs_to_its_block_and_stays_in_the_state() -> None:
    events, _, state = decode([b"retry: 5\n\ndata: 1\n\n"])

    assert events[0].retry_ms is None
    assert state == 5


# Encoding


@given(st.integers(1, cursors.MAX), st.lists(st.tuples(st.integers(1, cursors.MAX), payloads), max_size=5), st.data())
def test_encoded_events_decode_to_the_same_payloads_and_cursors(
    stream_id: int, events: list[tuple[int, Any]], data: st.DataObject
) -> None:
    encoded = sse.encode(f"{stream_id:x}.", [(number, jsonrpc.dumps(value).decode()) for number, value in events])
    cut = data.draw(st.integers(0, len(encoded)))

    decoded = decode([encoded[:cut], encoded[cut:]])[0]

    assert [cursors.parse(event.id) for event in decoded] == [(stream_id, number) for number, _ in events]
    assert [jsonrpc.loads(event.data.encode(), max_depth=64) for event in decoded] == [value for _, value in events]


@given(st.lists(payloads, max_size=5))
def test_encoded_messages_decode_to_the_same_payloads_without_ids(values: list[Any]) -> None:
    encoded = sse.encode_unidentified([jsonrpc.dumps(value).decode() for value in values])

    decoded = decode([encoded])[0]

    assert [(event.id, event.event) for event in decoded] == [("", "message")] * len(values)
    assert [json.loads(event.data) for event in decoded] == values


@given(payloads)
@example("\u2028 \u2029 \x85")
def test_a_client_that_splits_lines_as_python_does_sees_the_same_lines(value: Any) -> None:
    payload = jsonrpc.dumps(value).decode()

    for encoded in (sse.encode("a.", [(1, payload)]), sse.encode_unidentified([payload])):
        assert encoded.decode().splitlines() == encoded.decode().split("\n")[:-1]


def test_events_that_are_ready_together_are_one_chunk() -> None:
    assert sse.encode("a.", [(1, '{"x":1}'), (2, '"é"')]) == (
        b'id: a.1\ndata: {"x":1}\n\n' + 'id: a.2\ndata: "é"\n\n'.encode()
    )


def test_no_events_are_no_bytes() -> None:
    assert sse.encode("a.", []) == b""
    assert sse.encode_unidentified([]) == b""


@pytest.mark.parametrize("retry_ms", [None, 0, 3000])
def test_a_prime_is_an_id_with_empty_data(retry_ms: int | None) -> None:
    events, last_event_id, state = decode([sse.encode_prime("a.0", retry_ms)])

    assert events == [sse.Event("", "a.0", "message", retry_ms)]
    assert (last_event_id, state) == ("a.0", retry_ms)


def test_a_reconnection_time_alone_dispatches_nothing() -> None:
    assert decode([sse.encode_retry(5000)]) == ([], "", 5000)


def test_a_keep_alive_between_events_changes_nothing() -> None:
    one, two = sse.encode("a.", [(1, "1")]), sse.encode("a.", [(2, "2")])

    assert decode([one, sse.KEEP_ALIVE, two]) == decode([one, two])
