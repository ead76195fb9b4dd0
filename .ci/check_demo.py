"""Start ``make demo`` as a person does, look at what it serves, and end it with Ctrl-C. Twice: the data stays."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import httpx

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "check", "version": "1"},
    },
}


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        first = run_demo(Path(directory))
        require(re.search(r"user admin, password \S{8,}", first), "the first run prints the password", first)
        second = run_demo(Path(directory))
        require("password was printed at the first run" in second, "the second run keeps the data", second)


def run_demo(data: Path) -> str:
    """Return what ``make demo`` printed from its start to its end."""
    base = f"http://127.0.0.1:{free_port()}"
    log = data / "demo.log"
    with log.open("wb") as output:
        demo = subprocess.Popen(
            ["make", "demo", f"PORT={base.rpartition(':')[2]}"],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "DEMO_DATA_DIR": str(data)},
            start_new_session=True,
            # A shell's background jobs ignore SIGINT, and so would all that they start.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    try:
        wait_for(base, demo, log)
        check(base)
        # What the terminal does on Ctrl-C: the whole group gets it.
        os.killpg(demo.pid, signal.SIGINT)
        demo.wait(timeout=30)
    finally:
        if demo.poll() is None:
            os.killpg(demo.pid, signal.SIGKILL)
    printed = log.read_text()
    require("Traceback" not in printed, "no traceback", printed)
    require(f"claude mcp add --transport http bookshop {base}/mcp" in printed, "the lines to paste", printed)
    return printed


def check(base: str) -> None:
    page = httpx.get(f"{base}/")
    require(page.status_code == 200 and f"{base}/mcp" in page.text, "the landing page", page.text)
    login = httpx.get(f"{base}/admin/login/")
    require(login.status_code == 200, "the admin", login.text)
    style = httpx.get(f"{base}/static/admin/css/base.css")
    require(style.status_code == 200, "the admin's style sheet", style.text)
    answer = httpx.post(
        f"{base}/mcp", json=INITIALIZE, headers={"accept": "application/json, text/event-stream"}, timeout=30
    )
    require(answer.status_code == 200 and "bookshop" in answer.text, "initialize", answer.text)


def wait_for(base: str, demo: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while demo.poll() is None and time.monotonic() < deadline:
        try:
            httpx.get(base, timeout=30)
        except httpx.TransportError:
            time.sleep(0.2)
        else:
            return
    raise SystemExit(f"make demo does not serve:\n{log.read_text()}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def require(fact: object, what: str, shown: str) -> None:
    if not fact:
        raise SystemExit(f"make demo: not as it should be: {what}\n{shown}")
    print(f"ok: {what}")


main()
