"""``manage.py mcp_…`` as programs: exit codes, pipes, Ctrl-C, and a recording as a regression test."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import services
from tests.acceptance.conftest import DATABASES, RunningSite, Site, site_database
from tests.acceptance.wire import Received, Wire, notification, reply
from tests.services import ROOT

pytestmark = pytest.mark.acceptance

CHANGED = "tests.site.changed_asgi:application"


# What a command prints depends on no database; what it calls is tested on both, and a recording is here, too.


@pytest.fixture(scope="module")
def site_vendor() -> str:
    return "sqlite"


@pytest.fixture(params=["sqlite"])
def new_site_url(request: pytest.FixtureRequest) -> Iterator[str]:
    with site_database(request, request.param) as url:
        yield url


def command(site: Site, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, whatever that is."""
    environment = {**os.environ, **site._environment, **options.pop("environment", {})}
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment,
        timeout=60,
        **options,
    )


def started(site: Site, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start a command."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "manage.py"), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **site._environment},
        **options,
    )


def lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """What was printed as JSON lines."""
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def newest_session(site: Site) -> str:
    [(session_id,)] = site.rows("SELECT id FROM streamable_http_session ORDER BY id DESC LIMIT 1")
    return f"{session_id:x}"


async def record_calls(url: str) -> list[int]:
    """Make some calls, one of which asks; the ids of their streams."""
    wire = Wire(url)
    await wire.initialize(capabilities={"elicitation": {}})
    streams = []
    for call in (wire.call("add", a=1, b=2), wire.call("count", n=4)):
        received = Received()
        async with wire.stream(call) as connection:
            await received.read(connection)
        streams.append(received.stream_id)
    received = Received()
    async with wire.stream(wire.call("ask")) as connection:
        await received.read(connection, until=lambda: bool(received.events))
        await wire.post(reply(received.messages[0], action="accept", content={"name": "Ada"}))
        await received.read(connection)
    streams.append(received.stream_id)
    await wire.delete()
    return streams


# A recording as a regression test


@pytest.mark.parametrize("new_site_url", DATABASES, indirect=True)
async def test_a_recorded_session_passes_against_the_same_code_and_fails_against_another(new_site: Site) -> None:
    server = new_site.serve()
    add, count, ask = await record_calls(f"{server.url}/mcp")
    session = newest_session(new_site)

    same = command(new_site, "mcp_replay", session, "--target", f"{server.url}/mcp", "--check", "--strict")
    assert same.returncode == 0, same.stdout + same.stderr
    assert "3 answers compared, all the same" in same.stdout
    assert f"same      {add:x} tools/call add" in same.stdout

    changed = new_site.serve(CHANGED)
    target = ("--target", f"{changed.url}/mcp", "--check")
    differs = command(new_site, "mcp_replay", session, *target)
    assert differs.returncode == 4
    assert "2 of 3 answers differ" in differs.stderr
    assert f"differs   {add:x} tools/call add" in differs.stdout
    assert "$.result.structuredContent.result\n            - 3\n            + 4" in differs.stdout
    # What it counted to is the same, and how is progress.
    assert f"same      {count:x} tools/call count" in differs.stdout
    assert f"differs   {ask:x} tools/call ask" in differs.stdout
    assert '$.asks[0].params.message\n            - "Your name?"\n            + "Your first name?"' in differs.stdout

    one = command(new_site, "mcp_replay", f"{count:x}", *target, "--strict", "--json")
    assert one.returncode == 4
    exchange, summary = map(json.loads, one.stdout.splitlines())
    assert [each["path"] for each in exchange["differences"]] == ["$.notifications[2]", "$.notifications[3]"]
    counts = {"sent": 1, "skipped": 0, "unanswered": 0, "uncompared": 0, "compared": 1, "different": 1}
    assert summary == {"type": "summary", **counts}

    ignored = command(new_site, "mcp_replay", f"{add:x}", *target, "--ignore", "$.result")
    assert ignored.returncode == 0, ignored.stdout + ignored.stderr


async def test_what_was_not_compared_is_counted_and_fails_where_that_is_strict(new_site: Site) -> None:
    server = new_site.serve()
    wire = Wire(f"{server.url}/mcp")
    await wire.initialize()
    await wire.post(wire.request("tools/list"))
    async with wire.stream(wire.call("add", a=1, b=2)) as connection:
        await Received().read(connection)
    asking = wire.call("count", n=1_000, delay_ms=1_000)
    async with wire.stream(asking) as connection:
        await Received().read_events(connection, 1)
        await wire.post(notification("notifications/cancelled", requestId=asking["id"]))
    await wire.delete()
    check = ("mcp_replay", newest_session(new_site), "--target", f"{server.url}/mcp", "--check")

    passed = command(new_site, *check)
    assert passed.returncode == 0, passed.stdout + passed.stderr
    last = "2 requests sent, 1 answers compared, all the same, 1 not compared, 1 unanswered then, 0 skipped"
    assert passed.stdout.splitlines()[-1] == last
    strict = command(new_site, *check, "--strict")
    assert strict.returncode == 4
    assert "0 of 2 answers differ" in strict.stderr
    assert "1 not compared, 1 unanswered then" in strict.stderr


async def test_a_request_with_a_secret_is_skipped_and_fails_the_check(new_site: Site) -> None:
    server = new_site.serve()
    wire = Wire(f"{server.url}/mcp")
    await wire.initialize()
    received = Received()
    async with wire.stream(wire.call("add", a=1, b=2, api_key="hidden")) as connection:
        await received.read(connection)
    stream = f"{received.stream_id:x}"
    target = ("--target", f"{server.url}/mcp")
    checked = command(new_site, "mcp_replay", stream, *target, "--check")
    assert checked.returncode == 4
    assert "skipped" in checked.stdout
    assert "redacted" in checked.stdout
    assert "hidden" not in checked.stdout + checked.stderr
    assert command(new_site, "mcp_replay", stream, *target).returncode == 0


async def test_credentials_come_from_options_or_the_environment(new_site: Site) -> None:
    server = new_site.serve()
    [add, *_] = await record_calls(f"{server.url}/mcp")
    closed = {
        "AUTHENTICATION_CLASSES": ["rest_framework.authentication.TokenAuthentication"],
        "ALLOW_ANONYMOUS": False,
    }
    target = ("mcp_replay", f"{add:x}", "--check", "--target", f"{new_site.serve(settings=closed).url}/mcp")
    refused = command(new_site, *target)
    assert refused.returncode == 1
    assert "wants credentials (HTTP 401); give --header or --token-env" in refused.stderr
    assert command(new_site, *target, "--token-env", "NOT_SET").returncode == 2
    assert command(new_site, *target, "--header", "nonsense").returncode == 2


def test_a_target_that_is_not_there_is_a_sentence(site: RunningSite) -> None:
    done = command(site, "mcp_doctor", "--url", f"http://127.0.0.1:{services.free_port()}/mcp")
    assert done.returncode == 1
    assert "cannot connect to" in done.stdout


# Exit codes


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["mcp_sessions"], 0, ""),
        (["mcp_sessions", "--limit", "-1"], 2, "no whole number"),
        (["mcp_sessions", "--state", "odd"], 2, "invalid choice"),
        (["mcp_inspect"], 2, "required: SESSION"),
        (["mcp_inspect", "0" * 16], 3, "there is no session"),
        (["mcp_inspect", "zzzzzz"], 2, "is no id of a session"),
        (["mcp_inspect", "0" * 16, "--resume-from", "0"], 3, "there is no stream"),
        (["mcp_inspect", "0" * 16, "--resume-from", "x"], 2, "is no cursor"),
        (["mcp_streams"], 0, ""),
        (["mcp_streams", "--outcome", "odd"], 2, "invalid choice"),
        (["mcp_streams", "--session", "0" * 16], 3, "there is no session"),
        (["mcp_tail", "0" * 16], 3, "there is no session"),
        (["mcp_replay", "0" * 16], 3, "there is no session or stream"),
        (["mcp_replay", "0" * 16, "--speed", "fast"], 2, "is no speed"),
        (["mcp_export"], 2, "give a session, or --stream"),
        (["mcp_export", "0" * 16], 3, "there is no session"),
        (["mcp_terminate", "0" * 16, "--no-input"], 3, "there is no session"),
        (["mcp_terminate", "--no-input"], 2, "give one of"),
        (["mcp_purge", "0" * 16, "--no-input"], 3, "there is no session"),
        (["mcp_resend", "0" * 16, "--as", "nobody"], 3, "there is no stream"),
        (["mcp_resend", "0" * 16], 2, "required: --as"),
        (["mcp_prune", "--older-than", "soon"], 2, "is no duration"),
        (["mcp_stats", "--since", "1s"], 2, "--since"),
        (["mcp_stats"], 0, ""),
    ],
)
def test_the_exit_code_tells_what_happened(site: RunningSite, arguments: list[str], code: int, said: str) -> None:
    done = command(site, *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_database_that_is_not_there_is_a_sentence(tmp_path: Path, site: RunningSite) -> None:
    environment = {"DATABASE_URL": f"sqlite:///{tmp_path}/empty.sqlite3"}
    for name in ("mcp_sessions", "mcp_stats", "mcp_prune"):
        done = command(site, name, environment=environment)
        assert done.returncode == 1
        assert "no such table" in done.stderr
        assert "Traceback" not in done.stderr
    examined = command(site, "mcp_doctor", environment=environment)
    assert examined.returncode == 1
    assert "not applied in 'default': 0001_initial" in examined.stdout


async def test_without_a_terminal_nothing_is_done_that_was_not_asked_for(new_site: Site) -> None:
    server = new_site.serve()
    wire = Wire(f"{server.url}/mcp")
    await wire.initialize()
    session = newest_session(new_site)
    refused = command(new_site, "mcp_terminate", session)
    assert refused.returncode == 1
    assert "--no-input does it without asking" in refused.stderr
    assert (await wire.post(wire.request("ping"))).status_code == 200

    done = command(new_site, "mcp_terminate", session[:12], "--no-input", "--reason", "a test")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"Ended session {session}.\n"
    assert (await wire.post(wire.request("ping"))).status_code == 404
    again = command(new_site, "mcp_terminate", session, "--no-input", "--json")
    assert again.returncode == 1
    assert json.loads(again.stdout) == {"session": session, "done": False}

    assert command(new_site, "mcp_purge", session).returncode == 1
    purged = command(new_site, "mcp_purge", session, "--no-input")
    assert purged.returncode == 0, purged.stderr
    assert command(new_site, "mcp_inspect", session).returncode == 3


async def test_a_call_is_made_again_as_somebody(new_site: Site) -> None:
    server = new_site.serve()
    [add, _, ask] = await record_calls(f"{server.url}/mcp")
    password = {"DJANGO_SUPERUSER_PASSWORD": "only for tests"}
    options = ("--noinput", "--username", "ada", "--email", "ada@example.com")
    assert command(new_site, "createsuperuser", *options, environment=password).returncode == 0
    again = command(new_site, "mcp_resend", f"{add:x}", "--as", "ada", "--no-input", "--json")
    assert again.returncode == 0, again.stderr
    sent = json.loads(again.stdout)
    assert sent["response"]["result"]["structuredContent"] == {"result": 3}
    resent_from = new_site.rows("SELECT resent_from FROM streamable_http_stream WHERE id = ?", int(sent["stream"], 16))
    assert resent_from == [(add,)]
    asked = command(new_site, "mcp_resend", f"{ask:x}", "--as", "ada")
    assert asked.returncode == 1
    assert "warning: It was asked something by the server" in asked.stderr
    assert "there is no terminal to ask at" in asked.stderr


async def test_an_open_session_is_not_purged(new_site: Site) -> None:
    server = new_site.serve()
    await Wire(f"{server.url}/mcp").initialize()
    done = command(new_site, "mcp_purge", newest_session(new_site), "--no-input")
    assert done.returncode == 1
    assert "is still open" in done.stderr


def answered_at_a_terminal(site: Site, answer: str, *arguments: str) -> tuple[int, str]:
    """Run a command at a terminal, type an answer; its exit code and what the terminal showed."""
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "manage.py"), *arguments],
        stdin=end,
        stdout=end,
        stderr=end,
        cwd=ROOT,
        env={**os.environ, **site._environment, "TERM": "xterm"},
        start_new_session=True,
    )
    os.close(end)
    shown = b""
    is_answered = False
    while True:
        try:
            chunk = os.read(terminal, 4_096)
        except OSError:
            # The other end is closed.
            break
        if not chunk:
            break
        shown += chunk
        if b"[y/N]" in shown and not is_answered:
            is_answered = True
            os.write(terminal, f"{answer}\n".encode())
    os.close(terminal)
    return process.wait(timeout=30), shown.decode()


async def test_at_a_terminal_it_asks(new_site: Site) -> None:
    server = new_site.serve()
    wire = Wire(f"{server.url}/mcp")
    await wire.initialize()
    session = newest_session(new_site)
    code, shown = answered_at_a_terminal(new_site, "", "mcp_terminate", session)
    assert code == 1
    assert "nothing was done" in shown
    code, shown = answered_at_a_terminal(new_site, "y", "mcp_terminate", session)
    assert code == 0, shown
    assert f"Ended session {session}." in shown


# Terminals and pipes


def test_colors_are_for_terminals_that_want_them(site: RunningSite, monkeypatch: pytest.MonkeyPatch) -> None:
    _, shown = answered_at_a_terminal(site, "", "mcp_doctor")
    assert "\x1b[" in shown
    _, shown = answered_at_a_terminal(site, "", "mcp_doctor", "--no-color")
    assert "\x1b[3" not in shown
    monkeypatch.setenv("NO_COLOR", "1")
    _, shown = answered_at_a_terminal(site, "", "mcp_doctor")
    assert "\x1b[3" not in shown


@pytest.fixture
def tailing(site: RunningSite) -> Iterator[subprocess.Popen[str]]:
    process = started(site, "mcp_tail", "--json", "--since", "1h")
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


async def test_ctrl_c_ends_it_quietly(site: RunningSite, tailing: subprocess.Popen[str]) -> None:
    await record_calls(site.mcp_url)
    assert tailing.stdout is not None
    assert json.loads(tailing.stdout.readline())["type"] == "entry"
    tailing.send_signal(signal.SIGINT)
    _, errors = tailing.communicate(timeout=30)
    assert tailing.returncode == 130
    assert errors == ""


async def test_whoever_reads_may_go_away(site: RunningSite, tailing: subprocess.Popen[str]) -> None:
    await record_calls(site.mcp_url)
    assert tailing.stdout is not None
    tailing.stdout.readline()
    tailing.stdout.close()
    tailing.stdout = None
    deadline = time.monotonic() + 30
    while tailing.poll() is None and time.monotonic() < deadline:
        # Each call is news, which nobody can be told.
        await record_calls(site.mcp_url)
    assert tailing.returncode == 141
    assert tailing.stderr is not None
    assert tailing.stderr.read() == ""


async def test_a_tail_ends_with_its_session(new_site: Site) -> None:
    server = new_site.serve()
    wire = Wire(f"{server.url}/mcp")
    await wire.initialize()
    process = started(new_site, "mcp_tail", newest_session(new_site), "--json", "--payloads", "--since", "10m")
    received = Received()
    async with wire.stream(wire.call("count", n=3)) as connection:
        await received.read(connection)
    await wire.delete()
    told, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    entries = [json.loads(line) for line in told.splitlines()]
    keys = [entry["key"] for entry in entries]
    assert len(keys) == len(set(keys))
    sequences = [entry["sequence"] for entry in entries if entry["stream"] == f"{received.stream_id:x}"]
    assert [each for each in sequences if each is not None] == [1, 2, 3, 4]
    assert any((entry["payload"] or {}).get("result") for entry in entries)
