"""The doctor's look from outside, through real proxies."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from streamable_http.management import probing
from streamable_http.management.findings import Finding, Verdict
from tests.acceptance.buffering import Holds, buffering
from tests.acceptance.conftest import RunningSite, Site

pytestmark = pytest.mark.acceptance


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held back does not come at all, so that less patience finds the same."""
    monkeypatch.setattr(probing, "FIRST_BYTE_SECONDS", 2.0)


def probe(url: str, *, waits_for_keep_alive: bool = False, **headers: str) -> dict[str, Finding]:
    found = list(probing.probe(url, headers, waits_for_keep_alive=waits_for_keep_alive))
    return {finding.about: finding for finding in found}


def test_an_endpoint_without_a_proxy_is_fine(site: RunningSite, mcp_path: str) -> None:
    found = probe(f"{site.server.url}{mcp_path}")
    assert {finding.verdict for finding in found.values()} == {Verdict.OK}
    assert found.keys() == {"endpoint", "session", "proxies", "stream"}
    assert "X-Accel-Buffering: no arrived" in found["proxies"].what


def test_who_logs_in_is_not_shown(site: RunningSite) -> None:
    found = probe(site.mcp_url.replace("//", "//user:hidden@"))
    assert f"{site.mcp_url} speaks MCP" in found["endpoint"].what
    assert "hidden" not in str(found)


def test_a_proxy_that_passes_things_on_is_fine(site: RunningSite) -> None:
    with buffering(site.server.url, Holds.NOTHING, {"x-accel-buffering": "", "via": "1.1 front"}) as url:
        found = probe(f"{url}/mcp")
    assert {finding.verdict for finding in found.values()} == {Verdict.OK}
    assert "was taken on the way, as nginx does; it came through 1.1 front" in found["proxies"].what


@pytest.mark.parametrize(
    ("holds", "said"), [(Holds.BODY, "no byte of the stream"), (Holds.EVERYTHING, "no header of the stream")]
)
def test_a_proxy_that_holds_the_stream_back_is_found(site: RunningSite, holds: Holds, said: str) -> None:
    with buffering(site.server.url, holds) as url:
        found = probe(f"{url}/mcp")
    assert found["endpoint"].verdict is found["session"].verdict is Verdict.OK
    assert found["stream"].verdict is Verdict.FAILED
    assert said in found["stream"].what
    assert "proxy_buffering off" in found["stream"].hint


def test_a_proxy_that_compresses_is_found(site: RunningSite) -> None:
    with buffering(site.server.url, Holds.NOTHING, {"content-encoding": "x-none"}) as url:
        found = list(probing.probe(f"{url}/mcp", {}, waits_for_keep_alive=False))
    [warned] = [finding for finding in found if finding.verdict is not Verdict.OK]
    assert warned.verdict is Verdict.WARNING
    assert "compressed on its way (x-none)" in warned.what


def test_a_proxy_that_cuts_what_is_silent_is_found(site: RunningSite) -> None:
    with buffering(site.server.url, Holds.SILENCE) as url:
        found = probe(f"{url}/mcp", waits_for_keep_alive=True)
    assert found["stream"].verdict is Verdict.OK
    assert found["keep-alive"].verdict is Verdict.FAILED
    assert "KEEP_ALIVE_SECONDS" in found["keep-alive"].hint


def test_the_keep_alive_comment_is_waited_for(new_site: Site, settings: Settings) -> None:
    settings.STREAMABLE_HTTP = {"KEEP_ALIVE_SECONDS": 0.5}
    server = new_site.serve(settings={"KEEP_ALIVE_SECONDS": 0.5})
    assert probe(f"{server.url}/mcp", waits_for_keep_alive=True)["keep-alive"].verdict is Verdict.OK


def test_without_sessions_there_is_nothing_to_listen_to(new_site: Site) -> None:
    server = new_site.serve(settings={"MODE": "sessionless"})
    found = probe(f"{server.url}/mcp")
    assert "keeps no sessions" in found["stream"].what
    assert {finding.verdict for finding in found.values()} == {Verdict.OK}


def test_workers_that_share_no_sessions_are_found(new_site: Site) -> None:
    memory = {"STORE": {"BACKEND": "streamable_http.stores.memory.MemoryStore"}}
    server = new_site.serve(settings=memory, workers=4)
    # Which worker takes which connection is chance: of many probes one meets another worker.
    verdicts = set()
    for _ in range(10):
        found = probe(f"{server.url}/mcp")
        verdicts |= {finding.verdict for finding in found.values()}
    assert Verdict.FAILED in verdicts


def test_nobody_there_is_a_finding(site: RunningSite) -> None:
    found = probe(f"{site.server.url}/nowhere")
    assert found.keys() == {"endpoint"}
    assert found["endpoint"].verdict is Verdict.FAILED
