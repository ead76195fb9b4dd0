"""The dashboard: its numbers are in the page, with and without a script."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.test import Client
from django.urls import reverse

from streamable_http import models
from streamable_http.models import Outcome, StreamState
from streamable_http.operations import permissions
from streamable_http.stores.db import DatabaseStore
from tests.admin.conftest import Person
from tests.stores import writing

URL = "admin:streamable_http_session_dashboard"


def figures(page: str) -> Any:
    """What the script is given."""
    found = re.search(r'<script id="mcp-charts" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


@pytest.fixture
def busy(store: DatabaseStore) -> None:
    """Three calls, one of which failed and one of which runs; a worker, and a hostile name."""
    store.register_worker(7, "web-1", 4711, 3_600)
    session_id = writing.session_of(store, "", client_info={"name": "inspector", "version": "2.12"})
    writing.session_of(store, "", client_info={"name": "</script><b>\u202e", "version": ""})
    for number, row in enumerate(
        [
            {"state": StreamState.ANSWERED, "outcome": Outcome.RESULT, "duration_ms": 12.5},
            {"state": StreamState.ANSWERED, "outcome": Outcome.ERROR, "duration_ms": 12.5},
            {},
        ]
    ):
        stream_id = writing.stream(store, session_id, "1", request_id=str(number), owner_id=7, name="find_books")
        if row:
            models.Stream.objects.using(store.alias).filter(pk=stream_id).update(**row)


@pytest.mark.usefixtures("busy")
def test_it_says_which_calls_the_percentiles_are_of(viewer: Client) -> None:
    assert "Percentiles are of the newest 5,000 calls" in viewer.get(reverse(URL)).content.decode()


@pytest.mark.usefixtures("busy")
def test_the_numbers_are_in_tables_and_for_the_script(viewer: Client) -> None:
    page = viewer.get(reverse(URL)).content.decode()
    tiles = dict(re.findall(r"<dt>(.*?)</dt><dd>(\d+)", page))
    assert tiles == {
        "Open sessions": "2",
        "Running calls": "1",
        "Connected streams": "0",
        "Calls": "3",
        "Errors": "1",
        "Dropped records": "0",
    }
    assert '<th scope="row"><bdi>find_books</bdi></th>' in page
    assert "12.5 ms" in page
    assert "web-1:4711" in page
    assert "alive" in page
    charts = figures(page)
    assert charts["tools"]["labels"] == ["find_books"]
    assert [series["values"] for series in charts["tools"]["series"]] == [[2], [1]]
    assert charts["latency"]["series"][0]["values"] == [12.5]
    assert len(charts["calls"]["labels"]) == len(charts["calls"]["series"][0]["values"])


@pytest.mark.usefixtures("busy")
def test_hostile_names_are_written_out_in_tables_and_charts(viewer: Client) -> None:
    page = viewer.get(reverse(URL)).content.decode()
    assert "\u202e" not in page
    assert "</script><b>" not in page
    assert "</script><b>\\u202e" in map(str.strip, figures(page)["clients"]["labels"])


@pytest.mark.parametrize(
    ("query", "seconds"),
    [({}, 3_600), ({"range": "6h"}, 21_600), ({"range": "7d"}, 604_800), ({"range": "'; --"}, 3_600)],
)
def test_a_time_range_is_chosen_in_the_url(
    store: DatabaseStore, viewer: Client, query: dict[str, str], seconds: int
) -> None:
    response = viewer.get(reverse(URL), query)
    shown = response.context["figures"]
    assert (shown.until - shown.since).total_seconds() == pytest.approx(seconds, rel=0.05)
    assert re.findall(r'href="\?range=(\w+)" aria-current="true"', response.content.decode()) == [
        query["range"] if query.get("range") in ("6h", "7d") else "1h"
    ]


def test_an_empty_log_has_a_dashboard_too(store: DatabaseStore, viewer: Client) -> None:
    page = viewer.get(reverse(URL)).content.decode()
    assert "No calls in this time." in page
    assert "No worker has served anything yet." in page


def test_the_dashboard_needs_the_permission(store: DatabaseStore, person: Person) -> None:
    assert person(permissions.VIEW_PAYLOADS).get(reverse(URL)).status_code == 403
    assert Client().get(reverse(URL)).status_code == 302


def test_the_list_and_the_index_link_to_it(store: DatabaseStore, viewer: Client) -> None:
    for url in [
        reverse("admin:streamable_http_session_changelist"),
        reverse("admin:app_list", args=["streamable_http"]),
    ]:
        assert f'href="{reverse(URL)}"' in viewer.get(url).content.decode()


def test_no_page_has_inline_script_or_style(store: DatabaseStore, viewer: Client) -> None:
    page = viewer.get(reverse(URL)).content.decode()
    assert re.findall(r"<style|\sstyle=|\son\w+=", page) == []
    inline = re.findall(r"<script(?![^>]*\ssrc=)([^>]*)>", page)
    assert inline == [' id="mcp-charts" type="application/json"']


def test_the_chart_library_is_served_from_here_and_names_no_map() -> None:
    path = finders.find("streamable_http/vendor/chart.umd.min.js")
    assert isinstance(path, str)
    script = Path(path).read_text()
    assert script.startswith("/*!\n * Chart.js v4")
    assert "sourceMappingURL" not in script
    directory = Path(path).parent
    assert "MIT" in (directory / "chart.LICENSE.md").read_text()
    version = re.search(r"Chart\.js v([\d.]+)", script)
    assert version is not None
    assert version[1] in (directory / "VERSION.md").read_text()
