"""Pages of other sites, through both shells: allowed ones may call and read, and nobody is authenticated before."""

from __future__ import annotations

import httpx
import pytest

from tests.acceptance.conftest import SHELLS, Site
from tests.acceptance.wire import Wire

pytestmark = pytest.mark.acceptance

APP = "https://app.example.com"
SETTINGS = {
    "ALLOWED_ORIGINS": [APP],
    "AUTHENTICATION_CLASSES": ["rest_framework.authentication.TokenAuthentication"],
    "ALLOW_ANONYMOUS": False,
    "MAX_BODY_BYTES": 1_000,
}
EXPOSED = {"mcp-session-id", "streamable-http-recovered", "retry-after", "www-authenticate"}
PREFLIGHT = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,mcp-protocol-version,mcp-session-id",
}


@pytest.fixture
def wires(new_site: Site) -> list[Wire]:
    server = new_site.serve(settings=SETTINGS)
    return [Wire(server.url + path) for path in SHELLS.values()]


async def test_row_70_allowed_pages_may_call_and_read(wires: list[Wire]) -> None:
    for wire in wires:
        own = f"http://{httpx.URL(wire.url).netloc.decode()}"
        for origin in (APP, own):
            answer = await wire.send("OPTIONS", headers={**PREFLIGHT, "origin": origin})
            assert answer.status_code == 204
            assert answer.content == b""
            assert answer.headers["access-control-allow-origin"] == origin
            assert answer.headers["access-control-allow-methods"] == "POST, GET, DELETE"
            assert answer.headers["access-control-allow-headers"] == PREFLIGHT["access-control-request-headers"]
            assert int(answer.headers["access-control-max-age"]) > 0
            assert answer.headers["vary"] == "Origin"
        refused = {
            401: await wire.post(wire.request("ping"), headers={"origin": APP}),
            413: await wire.post(wire.request("ping", {"_meta": {"x": "x" * 1_000}}), headers={"origin": APP}),
            400: await wire.post(wire.request("ping"), headers={"origin": APP, "host": "evil.example"}),
        }
        for status, answer in refused.items():
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == APP
            assert set(answer.headers["access-control-expose-headers"].lower().split(", ")) == EXPOSED
        assert refused[401].headers["www-authenticate"] == "Token"


async def test_row_70_other_pages_are_told_nothing(wires: list[Wire]) -> None:
    for wire in wires:
        for headers in ({**PREFLIGHT, "origin": "https://evil.example"}, {"origin": APP}, PREFLIGHT, {}):
            answer = await wire.send("OPTIONS", headers=headers)
            assert answer.status_code == 405
            assert answer.headers["allow"] == "POST, GET, DELETE"
        for method in ("TRACE", "HEAD", "PUT"):
            answer = await wire.send(method)
            assert answer.status_code == 405
            assert answer.headers["allow"] == "POST, GET, DELETE"
        for origin in ("https://evil.example", f"{APP}.evil.example"):
            answer = await wire.send("OPTIONS", headers={**PREFLIGHT, "origin": origin})
            assert "access-control-allow-origin" not in answer.headers
            answer = await wire.post(wire.request("ping"), headers={"origin": origin})
            assert "access-control-allow-origin" not in answer.headers


async def test_a_rebound_name_gets_no_leave(wires: list[Wire]) -> None:
    for wire in wires:
        headers = {**PREFLIGHT, "host": "evil.example", "origin": "http://evil.example"}
        answer = await wire.send("OPTIONS", headers=headers)
        assert answer.status_code == 400
        assert "access-control-allow-origin" not in answer.headers
