"""The demo project's application, which says in the file that ``SERVED`` names which process served a request."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from demo_project.asgi import application as demo_application

SERVED = Path(os.environ["SERVED"])


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        note(f"{os.getpid()} {scope['method']} {scope['path']}\n")
    await demo_application(scope, receive, send)


def note(line: str) -> None:
    """Append a line, which arrives whole, whoever else appends."""
    with SERVED.open("a") as served:
        served.write(line)
