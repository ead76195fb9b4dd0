"""Who did what, when and why: Django's own log of the admin, and the logger ``streamable_http.audit``."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any, Final

from django.apps import apps
from django.db import models

from streamable_http import escaping

if sys.platform != "win32":
    import pwd

logger = logging.getLogger("streamable_http.audit")

MAX_REASON_CHARACTERS: Final = 1_000
"""Of what people give as their reason, in the admin, the API and commands: some sentences, or a link to a ticket."""

CHANGE: Final = 2
DELETION: Final = 3
"""As ``django.contrib.admin.models`` has them, which cannot be imported where the admin is not installed."""


def note(user: Any, row: models.Model, what: str, *, reason: str = "", is_deletion: bool = False) -> None:
    """Note that a user did something to a row; ``user`` is ``None`` on the command line, which has no entry.

    ``what`` is a sentence's beginning in the past tense, such as ``Terminated``. The entry is in Django's default
    database, and is there only where ``django.contrib.admin`` is installed.
    """
    # Databases take no NUL, and whoever reads it must not be misled.
    sentence = escaping.printable(f"{what}: {reason}" if reason else what)
    named = f"{row._meta.verbose_name} {row}"  # noqa: SLF001  # Django's public name for it
    if user is None:
        note_command(f"{named}: {sentence}")
    else:
        logger.info("%s: %s, by %s", named, sentence, escaping.printable(str(user)))
    if user is not None and apps.is_installed("django.contrib.admin"):
        _write(user, row, sentence, is_deletion)


def note_command(sentence: str) -> None:
    """Note what was done at the command line, as a warning: where no log is set up, Python shows those on stderr."""
    logger.warning("%s, by %s", escaping.printable(sentence), command_line())


def command_line() -> str:
    """Return who runs a command, as the operating system knows them; the environment may claim anything."""
    if sys.platform == "win32":
        name = os.getlogin()
    else:
        try:
            name = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            # Containers run as users that nobody has named.
            name = str(os.getuid())
    return f"{escaping.printable(name)} at the command line"


def _write(user: Any, row: models.Model, sentence: str, is_deletion: bool) -> None:
    # Models of apps that may not be installed.
    entries = apps.get_model("admin", "LogEntry")
    types = apps.get_model("contenttypes", "ContentType")
    entries.objects.create(
        user_id=user.pk,
        content_type=types.objects.get_for_model(row, for_concrete_model=False),
        object_id=str(row.pk),
        object_repr=str(row)[:200],
        action_flag=DELETION if is_deletion else CHANGE,
        change_message=sentence,
    )
