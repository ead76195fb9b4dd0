"""What people do in the admin, with real clients on the other side of the server."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser import agents
from tests.browser.conftest import Picture, Site

pytestmark = pytest.mark.acceptance

STOCK = ("take_stock", {"duration_seconds": 1})
SEARCH = ("search_books", {"query": "homer"})
REFUND = ("refund_order", {"order_number": "no such order", "amount": "1.00", "reason": "a test"})


Connect = Callable[..., agents.RawClient]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """A function that opens a session with a raw client, which is closed in the end."""
    with contextlib.ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(contextlib.closing(agents.RawClient(*arguments)))


def open_newest_session(page: Page, site: Site) -> None:
    """Go to the newest session, from the list."""
    page.goto(site.url("/admin/streamable_http/session/"))
    page.locator("#result_list tbody tr").first.locator("th a").click()
    expect(page.locator("#session-facts")).to_be_visible()


def open_stream(page: Page, site: Site, name: str) -> None:
    """Go to the newest stream of a tool."""
    page.goto(site.url("/admin/streamable_http/stream/"))
    page.locator("#result_list tbody tr", has_text=name).first.locator("th a").click()
    expect(page.locator("#stream-facts [data-fact=name]")).to_have_text(name)


def test_a_person_finds_a_session_reads_filters_and_exports_it(page: Page, site: Site, picture: Picture) -> None:
    agents.call(site.mcp_url, SEARCH, STOCK, REFUND)
    page.goto(site.url("/admin/streamable_http/session/"))
    row = page.locator("#result_list tbody tr").first
    expect(row).to_contain_text("mcp")
    expect(row).to_contain_text("2025-11-25")
    picture(page, "sessions")
    open_newest_session(page, site)
    expect(page.locator("[data-fact=calls]")).to_have_text("3")
    expect(page.locator("[data-fact=errors]")).to_have_text("1")
    requests = page.locator("tbody.wire-entry[data-kind=request][data-method='tools/call']")
    expect(requests).to_have_count(3)
    # The answer is one click away, and what was said another one.
    asked = requests.first
    asked.locator("a.wire-pair").click()
    answer = page.locator(f"tbody.wire-entry[id='{page.url.partition('#')[2]}']")
    expect(answer).to_have_attribute("data-kind", "result")
    answer.locator("summary").click()
    expect(answer.locator("pre.wire-json")).to_contain_text("structuredContent")
    expect(asked.locator("table.wire-headers")).to_contain_text("content-type")
    picture(page, "session")
    # Filters are in the URL.
    page.get_by_label("Method").fill("tools/call")
    page.get_by_label("Errors", exact=False).first.check()
    page.get_by_role("button", name="Filter").click()
    expect(page).to_have_url(re.compile("method=tools%2Fcall"))
    expect(page.locator("tbody.wire-entry[data-kind=request]")).to_have_count(1)
    expect(page.locator("tbody.wire-entry[data-kind=request]")).to_contain_text("refund_order")
    # Keys go from entry to entry.
    page.locator("#timeline-filters-off").click()
    page.wait_for_url(re.compile(r"/change/\??$"))
    everything = page.locator("tbody.wire-entry")
    for key, place in (("j", 0), ("j", 1), ("j", 2), ("k", 1)):
        page.keyboard.press(key)
        expect(everything.nth(place)).to_be_focused()
    with page.expect_download() as downloading:
        page.locator("#session-export").click()
    lines = [json.loads(line) for line in Path(downloading.value.path()).read_text().splitlines()]
    assert [line["type"] for line in lines].count("stream") == 4
    assert lines[0]["type"] == "session"


@pytest.mark.parametrize("by", ["socket", "poll"])
def test_a_live_call_is_followed_as_it_happens(page: Page, site: Site, by: str) -> None:
    if by == "poll":
        # As in a project that serves no WebSockets.
        page.route_web_socket("**/*", lambda socket: socket.close())
    with agents.opened(site.mcp_url) as client:
        open_newest_session(page, site)
        page.locator("#live-toggle").click()
        expect(page.locator("#live")).to_have_attribute("data-state", "on")
        expect(page.locator("#live")).to_have_attribute("data-by", by)
        client.call(*STOCK)
        shown = page.locator("tbody.wire-entry[data-method='tools/call']")
        expect(shown.filter(has_text="take_stock").first).to_be_visible()
        expect(page.locator("tbody.wire-entry[data-kind=result][data-method='tools/call']")).to_have_count(1)
        page.locator("#live-pause").click()
        expect(page.locator("#live")).to_have_attribute("data-state", "paused")
        client.call(*SEARCH)
        expect(page.locator("#live-unread")).to_be_visible()
        expect(page.locator("tbody.wire-entry[data-kind=result][data-method='tools/call']")).to_have_count(1)
        page.locator("#live-pause").click()
        expect(page.locator("tbody.wire-entry[data-kind=result][data-method='tools/call']")).to_have_count(2)


def test_the_live_tail_outlives_a_restart(page: Page, site: Site, expected_problems: list[str]) -> None:
    expected_problems.append("Failed to load resource: net::ERR_FAILED")
    page.route_web_socket("**/*", lambda socket: socket.close())
    with agents.opened(site.mcp_url) as client:
        open_newest_session(page, site)
        page.route("**/recent/*", lambda route: route.abort())
        page.locator("#live-toggle").click()
        expect(page.locator("#live-status")).to_have_text("The server does not answer; it is asked again.")
        client.call(*SEARCH)
        page.unroute_all()
        expect(page.locator("tbody.wire-entry[data-kind=result][data-method='tools/call']")).to_have_count(
            1, timeout=60_000
        )
        expect(page.locator("#live-status")).to_have_text("Live, by asking every two seconds.")


def test_a_stream_is_played_and_stepped(page: Page, site: Site, picture: Picture) -> None:
    agents.call(site.mcp_url, STOCK)
    open_stream(page, site, "take_stock")
    player = page.locator("#replay-player")
    expect(player).to_have_attribute("data-state", "idle")
    page.locator("[data-do=first]").click()
    expect(page.locator("#replay-where")).to_have_text("before the first entry")
    page.locator("[data-do=forward]").click()
    expect(page.locator("#replay-where")).to_contain_text("entry 1 of")
    picture(page, "replay")
    page.locator("#replay-speed").select_option("10")
    page.locator("[data-do=play]").click()
    expect(player).to_have_attribute("data-state", "done")
    total = page.locator("tbody.wire-entry").count()
    expect(page.locator("#replay-where")).to_have_text(f"entry {total} of {total}")
    page.locator("[data-do=back]").click()
    expect(page.locator("#replay-where")).to_have_text(f"entry {total - 1} of {total}")
    page.locator("#preview-after").fill("1")
    page.get_by_role("button", name="Ask").click()
    # The official client has closed its session.
    expect(page.locator("#preview")).to_have_attribute("data-status", "404")
    with page.expect_download() as downloading:
        page.locator("#stream-sse").click()
    assert "\nid: " in "\n" + Path(downloading.value.path()).read_text()


def test_a_cut_is_marked_where_its_client_resumed(page: Page, site: Site, connect: Connect) -> None:
    client = connect(site.mcp_url, {"name": "cutter", "version": "1"})
    cursor = client.hang_up_after(1, "tools/call", {"name": "take_stock", "arguments": {"duration_seconds": 1}})
    assert "result" in client.resume(cursor)[-1]
    open_newest_session(page, site)
    resumed = page.locator("tbody.wire-entry[data-kind=resume]")
    # Recorded behind: a moment later than the answer.
    for _ in range(50):
        if resumed.count():
            break
        page.wait_for_timeout(200)
        page.reload()
    expect(resumed).to_contain_text(f"resumed after {cursor.partition('.')[2]}")
    page.locator("tbody.wire-entry[data-kind=result] a.wire-stream").first.click()
    page.locator("#preview-after").fill(cursor.partition(".")[2])
    page.get_by_role("button", name="Ask").click()
    expect(page.locator("#preview")).to_have_attribute("data-status", "200")


def test_a_call_is_sent_again_after_a_warning_and_audited(page: Page, site: Site, picture: Picture) -> None:
    agents.call(site.mcp_url, REFUND)
    open_stream(page, site, "refund_order")
    old = page.url
    page.locator("#stream-resend").click()
    expect(page.get_by_role("note")).to_contain_text("not declared to be idempotent")
    picture(page, "resend")
    page.get_by_role("button", name="Send again").click()
    expect(page.locator(".errorlist").first).to_be_visible()
    page.get_by_label("Reason", exact=False).fill("to see it fail again")
    page.get_by_role("checkbox").check()
    page.get_by_role("button", name="Send again").click()
    expect(page.locator(".messagelist")).to_contain_text("sent again")
    assert page.url != old
    expect(page.locator("#stream-facts [data-fact=resent]")).to_be_visible()
    page.goto(site.url("/admin/"))
    expect(page.locator("#recent-actions-module")).to_be_visible()


def test_a_session_is_terminated_and_its_client_told(page: Page, site: Site, connect: Connect) -> None:
    client = connect(site.mcp_url, {"name": "looper", "version": "1"})
    assert client.post("ping", {}).status_code == 200
    open_newest_session(page, site)
    page.locator("#session-deeds a[data-deed]", has_text="Terminate").click()
    page.get_by_label("Reason", exact=False).fill("it loops")
    page.locator("input[type=submit]").click()
    expect(page.locator(".messagelist")).to_be_visible()
    assert client.post("ping", {}).status_code == 404
    open_newest_session(page, site)
    expect(page.locator("[data-fact=state]")).to_have_text("terminated")


def test_the_dashboard_shows_what_happened(page: Page, site: Site, picture: Picture) -> None:
    agents.call(site.mcp_url, SEARCH, STOCK, REFUND)
    page.goto(site.url("/admin/streamable_http/session/dashboard/"))
    expect(page.get_by_text("take_stock").first).to_be_visible()
    expect(page.get_by_text("refund_order").first).to_be_visible()
    expect(page.locator("canvas").first).to_be_visible()
    picture(page, "dashboard")
    page.get_by_role("link", name="24", exact=False).first.click()
    expect(page.get_by_text("take_stock").first).to_be_visible()


HOSTILE = "<script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">\u202etxt\x1b[31m"


def test_hostile_content_is_text_and_nothing_else(page: Page, site: Site, connect: Connect) -> None:
    client = connect(site.mcp_url, {"name": HOSTILE, "version": "javascript:alert(1)"})
    client.post("tools/call", {"name": "search_books", "arguments": {"query": HOSTILE, HOSTILE: HOSTILE}})
    client.post(HOSTILE[:80], {})
    page.goto(site.url("/admin/streamable_http/session/"))
    expect(page.locator("#result_list tbody tr").first).to_contain_text("<script>")
    open_newest_session(page, site)
    page.wait_for_timeout(500)
    page.reload()
    expect(page.locator("#timeline")).to_contain_text("<script>document.title='pwned'</script>")
    for url in ("session/dashboard/", "stream/", "record/", "event/"):
        page.goto(site.url(f"/admin/streamable_http/{url}"))
    assert "pwned" not in page.title()
    open_stream(page, site, "search_books")
    page.locator("[data-do=play]").click()
    assert "\u202e" not in page.content()
    assert "\x1b" not in page.content()
    assert page.locator("img[src=x]").count() == 0
    assert "pwned" not in page.title()


def test_without_javascript_everything_can_be_read(plain_page: Page, site: Site) -> None:
    page = plain_page
    agents.call(site.mcp_url, SEARCH, STOCK)
    open_newest_session(page, site)
    expect(page.locator("tbody.wire-entry[data-kind=request][data-method='tools/call']")).to_have_count(2)
    page.get_by_label("Text").fill("homer")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("tbody.wire-entry[data-kind=request]")).to_have_count(1)
    page.locator("tbody.wire-entry summary").first.click()
    expect(page.locator("pre.wire-json").first).to_contain_text("homer")
    open_stream(page, site, "take_stock")
    expect(page.locator("#replay-player")).to_be_hidden()
    page.locator("#step-next").click()
    expect(page.locator("#replay-steps")).to_contain_text("event 1 of")
    page.locator("#step-next").click()
    expect(page.locator("#replay-steps")).to_contain_text("event 2 of")
    page.goto(site.url("/admin/streamable_http/session/dashboard/"))
    expect(page.get_by_text("take_stock").first).to_be_visible()


def test_in_the_dark_text_is_light_on_dark(dark_page: Page, site: Site, picture: Picture) -> None:
    page = dark_page
    agents.call(site.mcp_url, SEARCH, STOCK)
    open_newest_session(page, site)
    for selector in ("body", "pre.wire-json", "#session-facts"):
        lightness = page.evaluate(
            """selector => {
                const style = getComputedStyle(document.querySelector(selector));
                return style.color.match(/[0-9.]+/g).slice(0, 3).map(Number);
            }""",
            selector,
        )
        assert min(lightness) > 127, (selector, lightness)
    picture(page, "session-dark")
