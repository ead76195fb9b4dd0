"""``manage.py demo``, which ``make demo`` runs, and the demo project under each server."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests import services
from tests.conftest import StartDemo

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


def demo(data: Path, *arguments: str) -> str:
    return services.manage("demo", *arguments, environment={"DEMO_DATA_DIR": str(data)})


def tables(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]


def initialize(base: str) -> dict[str, object]:
    headers = {"accept": "application/json, text/event-stream"}
    answer = httpx.post(f"{base}/mcp", json=INITIALIZE, headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    result: dict[str, object] = json.loads(answer.text)["result"]
    return result


def test_the_password_is_printed_at_the_first_run_only_and_the_data_stays(tmp_path: Path) -> None:
    first = demo(tmp_path, "--no-serve")
    assert re.search(r"user admin, password [\w-]{12}\n", first)
    key = (tmp_path / "secret_key").read_text()
    second = demo(tmp_path, "--no-serve", "--port=8123")
    assert "password was printed at the first run" in second
    assert "has its rows already" in second
    assert (tmp_path / "secret_key").read_text() == key
    assert "claude mcp add --transport http bookshop http://127.0.0.1:8123/mcp" in second


def test_the_log_has_a_file_of_its_own_with_nothing_else_in_it(seeded_demo: Path) -> None:
    log = tables(seeded_demo / "log.sqlite3")
    assert "streamable_http_event" in log
    assert not [table for table in log if table.startswith(("bookshop_", "auth_"))]
    assert not [table for table in tables(seeded_demo / "shop.sqlite3") if table.startswith("streamable_")]


def test_a_port_that_is_taken_is_said_in_one_sentence_before_anything_is_made(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind((services.HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(services.ServerFailed) as failure:
            demo(tmp_path, f"--port={port}")
    assert f"cannot serve on port {port}: Address already in use; try PORT={port + 1}" in str(failure.value)
    assert "Traceback" not in str(failure.value)
    assert not (tmp_path / "shop.sqlite3").exists()


@pytest.mark.acceptance
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    port = services.free_port()
    log = tmp_path / "demo.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "demo", f"--port={port}"],
            cwd=services.ROOT,
            env={**os.environ, "DEMO_DATA_DIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "demo_project.settings"},
            stdout=output,
            stderr=subprocess.STDOUT,
            # A shell's background jobs ignore SIGINT, and so would all that they start.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    try:
        base = f"http://{services.HOST}:{port}"
        assert services.wait_until(lambda: services.answers(base), timeout_seconds=60), log.read_text()
        initialize(base)
        process.send_signal(number)
        assert process.wait(timeout=20) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text()


@pytest.mark.acceptance
@pytest.mark.parametrize("server", services.COMMANDS)
def test_it_serves_page_admin_and_mcp_under_each_server(demo_server: StartDemo, server: str) -> None:
    process = demo_server(server=server)
    page = httpx.get(process.url)
    assert page.status_code == 200
    assert f"<code>{process.url}/mcp</code>" in page.text
    assert httpx.get(f"{process.url}/admin/login/").status_code == 200
    assert httpx.get(f"{process.url}/static/admin/css/base.css").status_code == 200
    assert initialize(process.url)["serverInfo"] == {"name": "bookshop", "version": "1.0", "title": "Bookshop"}


@pytest.mark.acceptance
def test_it_serves_from_postgres_with_redis(demo_server: StartDemo, postgres_url: str, redis_url: str) -> None:
    process = demo_server(database_url=postgres_url, environment={"REDIS_URL": redis_url}, workers=2)
    assert "<b>1090</b> books" in httpx.get(process.url).text
    assert initialize(process.url)["protocolVersion"] == "2025-11-25"
