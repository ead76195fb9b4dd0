"""``make demo``: prepare the data, say what is where, serve."""

import os
import secrets
import socket
import sys
from contextlib import closing
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

HOST = "127.0.0.1"
ADMIN = "admin"

CONNECT = """
  Landing page     {base}/
  MCP endpoint     {base}/mcp
  Admin            {base}/admin/   {account}

Connect Claude Code:

  claude mcp add --transport http bookshop {base}/mcp

Connect the MCP Inspector:

  npx @modelcontextprotocol/inspector --transport http --server-url {base}/mcp

Connect a Python client (pip install mcp):

  import asyncio
  from mcp import Client

  async def main():
      async with Client("{base}/mcp") as client:
          print(await client.call_tool("search_books", {{"query": "homer"}}))

  asyncio.run(main())

See what only the staff may do (send the token as "Authorization: Token …"):

  {manage} drf_create_token {admin}

Ctrl-C ends the server.
"""

KEPT_ACCOUNT = """\
user {admin}; the password was printed at the first run.
                   To set another: {manage} changepassword {admin}
                   To start afresh: rm -r {data}"""


class Command(BaseCommand):
    help = "Prepare the demo project's data, say what is where, and serve it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--no-serve", action="store_true", help="only prepare the data")

    def handle(self, *args: Any, port: int, no_serve: bool, **options: Any) -> None:
        if not no_serve:
            _require_free(port)
        for alias in settings.DATABASES:
            call_command("migrate", database=alias, verbosity=0)
        call_command("seed_bookshop", stdout=self.stdout)
        account = _make_admin() or _kept_account()
        self.stdout.write(CONNECT.format(base=f"http://{HOST}:{port}", account=account, manage=_manage(), admin=ADMIN))
        if not no_serve:
            self.stdout.flush()
            _serve(port)


def _require_free(port: int) -> None:
    with closing(socket.socket()) as probe:
        # As the server will do it, so that connections of an earlier run that still linger do not matter.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise CommandError(f"cannot serve on port {port}: {error.strerror}; try PORT={port + 1}") from None


def _make_admin() -> str | None:
    """Return what to log in with, or ``None`` if there is an admin already."""
    users = get_user_model().objects
    if users.filter(username=ADMIN).exists():
        return None
    password = secrets.token_urlsafe(9)
    users.create_superuser(ADMIN, password=password)
    return f"user {ADMIN}, password {password}"


def _kept_account() -> str:
    return KEPT_ACCOUNT.format(admin=ADMIN, manage=_manage(), data=settings.DATA_DIR)


def _manage() -> str:
    return f"{sys.executable} manage.py"


def _serve(port: int) -> None:
    """Become the server: signals reach it directly."""
    os.chdir(settings.BASE_DIR)
    command = [sys.executable, "-m", "daphne", "-b", HOST, "-p", str(port), "demo_project.asgi:application"]
    os.execv(sys.executable, command)  # noqa: S606  # no shell wanted
