"""Recorded calls to paste: run by a real curl and by the official client, against real servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from streamable_http import redaction
from streamable_http.protocol import jsonrpc
from streamable_http.replay import Direction, Entry, Kind, as_python
from tests.acceptance.conftest import RunningSite, Site
from tests.acceptance.test_bad_sessions import TOKENS, users
from tests.acceptance.waiting import until

pytestmark = pytest.mark.acceptance


@pytest.mark.parametrize("has_token", [True, False])
def test_the_copy_of_a_call_gets_its_answer_again(site: RunningSite, tmp_path: Path, has_token: bool) -> None:
    request = jsonrpc.Request(1, "tools/call", {"name": "count", "arguments": {"n": 2}})
    recorded = Entry(
        key="r1",
        at=datetime.now(UTC),
        direction=Direction.IN,
        kind=Kind.REQUEST,
        stream_id=1,
        sequence=None,
        method=request.method,
        name="count",
        request_id="1",
        size_bytes=0,
        pair="",
        latency_ms=None,
        cursor="",
        payload=jsonrpc.dumps(jsonrpc.request(request)).decode(),
        facts={"method": "POST", "headers": {"authorization": f"Bearer {redaction.MASK}"} if has_token else {}},
    )
    ran = run(tmp_path, sys.executable, "-c", as_python(recorded, site.mcp_url), TOKEN="any")
    assert "counted to 2" in ran


COPY = """
import dataclasses, json
from streamable_http import models, replay
record = models.Record.objects.filter(method="tools/call").first()
if record is not None:
    [asked, *_] = replay.stream_timeline(record.pk, with_payloads=True).entries
    url = {origin!r} + replay.path_of(asked)
    print(json.dumps({{name: copy(asked, url) for name, copy in replay.FORMS.items()}}))
"""


@pytest.mark.parametrize("new_site_url", ["sqlite"], indirect=True)
async def test_copies_pass_the_frameworks_own_authentication_where_the_call_went(
    new_site: Site, mcp_path: str, tmp_path: Path
) -> None:
    server = new_site.serve(settings=TOKENS)
    [user] = await users(new_site, f"{server.url}{mcp_path}", "ada")
    await user.initialize()
    user.headers["x-api-key"] = "the key"
    assert await user.result("count", n=2) == "counted to 2"

    def copied() -> str:
        return new_site.manage("shell", "--no-imports", "-c", COPY.format(origin=server.url))

    copies = json.loads(await until(copied))
    variables = {
        "TOKEN": user.headers["authorization"].removeprefix("Token "),
        "X_API_KEY": "the key",
        "MCP_SESSION_ID": user.headers["mcp-session-id"],
    }
    assert f"{server.url}{mcp_path}" in copies["curl"]
    assert variables["TOKEN"] not in copies["curl"] + copies["python"]
    assert "counted to 2" in run(tmp_path, "sh", "-c", copies["curl"], **variables)
    assert "counted to 2" in run(tmp_path, sys.executable, "-c", copies["python"], **variables)


def run(directory: Path, *command: str, **variables: str) -> str:
    """Return what a program prints."""
    ran = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **variables}, timeout=60, cwd=directory
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout
