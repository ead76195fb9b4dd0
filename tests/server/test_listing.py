from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamable_http import exceptions
from streamable_http.server import features, listing
from tests.server import recording


@dataclass(frozen=True)
class Thing:
    name: str
    permission_classes: tuple[Any, ...] = ()

    def definition(self, having: features.Features) -> dict[str, Any]:
        return {"name": self.name, "rich": having.titles}


class Gate:
    """Permits what is among the classes of the thing; notes what it was asked."""

    def __init__(self, *permitted: str) -> None:
        self.permitted = permitted
        self.asked: list[str] = []

    async def permits(self, permission_classes, name) -> bool:
        self.asked.append(name)
        return bool(set(permission_classes) & set(self.permitted))

    async def throttled(self, throttle_classes, name) -> float | None:
        raise AssertionError


def things(*names: str, page_size: int = 2, **guarded: str) -> listing.Listing[Thing]:
    made: listing.Listing[Thing] = listing.Listing("thing", "things", page_size=page_size)
    for name in names:
        made.add(name, Thing(name, (guarded[name],) if name in guarded else ()))
    return made


async def pages(made: listing.Listing[Thing], **facts: Any) -> list[list[str]]:
    ctx = recording.make_context(**facts)
    shown, cursor = [], None
    while True:
        page = await made.page(cursor, ctx)
        shown.append([each["name"] for each in page["things"]])
        cursor = page.get("nextCursor")
        if cursor is None:
            return shown


async def test_things_come_in_pages_in_the_order_of_declaration():
    assert await pages(things(*"cabde")) == [["c", "a"], ["b", "d"], ["e"]]


async def test_last_page_has_no_cursor_also_when_it_is_full():
    assert await pages(things(*"abcd")) == [["a", "b"], ["c", "d"]]
    assert await pages(things()) == [[]]


@given(st.lists(st.text(min_size=1), unique=True, max_size=12), st.integers(1, 5))
async def test_every_thing_is_shown_once_whatever_its_name(names, page_size):
    names = [name for name in names if name.isprintable()]
    shown = await pages(things(*names, page_size=page_size))
    assert [name for page in shown for name in page] == names


async def test_page_stays_where_it_is_when_things_before_it_come_and_go():
    made = things(*"abcdef")
    ctx = recording.make_context()
    cursor = (await made.page(None, ctx))["nextCursor"]
    made.remove("a")
    made.add("g", Thing("g"))
    assert [each["name"] for each in (await made.page(cursor, ctx))["things"]] == ["c", "d"]


@pytest.mark.parametrize("cursor", ["x", "", "a", 1, [], {}, "é", "\ud800", "////", "A" * 10_000, True])
@pytest.mark.parametrize("guarded", [{}, {"a": "x"}])
async def test_cursor_that_is_none_of_ours_is_refused(cursor, guarded):
    with pytest.raises(exceptions.CallFailed, match=r"^invalid cursor; list again from the beginning$") as raised:
        await things(*"abc", **guarded).page(cursor, recording.make_context())
    assert raised.value.code == exceptions.INVALID_PARAMS


async def test_cursor_of_what_is_gone_is_refused():
    made = things(*"abc")
    cursor = (await made.page(None, recording.make_context()))["nextCursor"]
    made.remove("b")
    with pytest.raises(exceptions.CallFailed):
        await made.page(cursor, recording.make_context())


async def test_first_page_is_made_once_for_each_revision_until_something_changes():
    made = things(*"abc")
    first = made.first_page(recording.R2025_11_25)
    assert await made.page(None, recording.make_context()) is first
    assert made.first_page(recording.R2025_03_26) is not first
    assert first["things"][0]["rich"]
    assert not made.first_page(recording.R2025_03_26)["things"][0]["rich"]
    made.remove("a")
    assert [each["name"] for each in made.first_page(recording.R2025_11_25)["things"]] == ["b", "c"]
    made.add("a", Thing("a"))
    assert made.first_page(recording.R2025_11_25) is not first


async def test_page_that_was_made_while_something_changed_is_not_kept():
    made = things("a")

    class Slow(Thing):
        def definition(self, having: features.Features) -> dict[str, Any]:
            if "late" not in made.things:
                made.add("late", Thing("late"))
            return super().definition(having)

    made.add("slow", Slow("slow"))
    made.first_page(recording.R2025_11_25)
    assert "nextCursor" in made.first_page(recording.R2025_11_25)


async def test_what_is_not_permitted_is_not_there():
    made = things(*"abcde", b="staff", d="nobody")
    gate = Gate("staff")
    assert await pages(made, gate=gate) == [["a", "b"], ["c", "e"]]
    assert await pages(made, gate=Gate()) == [["a", "c"], ["e"]]
    assert set(gate.asked) == {"b", "d"}
    assert await made.find("b", recording.make_context(gate=gate)) == Thing("b", ("staff",))
    assert await made.find("b", recording.make_context(gate=Gate())) is None
    assert await made.find("x", recording.make_context(gate=gate)) is None


async def test_cursor_does_not_tell_what_is_not_permitted():
    made = things(*"abc", b="staff")
    cursor = base64.urlsafe_b64encode(b"b").decode().rstrip("=")
    assert await made.page(cursor, recording.make_context(gate=Gate("staff")))
    with pytest.raises(exceptions.CallFailed):
        await made.page(cursor, recording.make_context(gate=Gate()))


async def test_gate_is_not_asked_about_what_is_for_everybody():
    made = things(*"abc", b="staff")
    gate = Gate()
    assert await made.find("a", recording.make_context(gate=gate))
    made.remove("b")
    assert not made.is_guarded
    await made.page(None, recording.make_context(gate=gate))
    assert gate.asked == []


def test_key_stands_once_and_only_what_is_there_is_removed():
    made = things("a")
    with pytest.raises(ValueError, match=r"^there is a thing 'a' already; rename one, or give it another name=$"):
        made.add("a", Thing("other"))
    assert made.things["a"].name == "a"
    with pytest.raises(KeyError, match="there is no thing 'b'"):
        made.remove("b")


def test_server_does_not_unlearn_what_it_can():
    made = things()
    assert not made.is_used
    made.add("a", Thing("a"))
    made.remove("a")
    assert made.is_used


def test_page_holds_something():
    with pytest.raises(ValueError, match=r"^page_size must be 1 or more, not 0$"):
        things(page_size=0)
