"""A secret key of this installation's own, made once."""

import contextlib
import os
import tempfile
from pathlib import Path

from django.core.management.utils import get_random_secret_key


def read_or_make(path: Path) -> str:
    """Return the key in the file; make file and key where there is none."""
    if not path.exists():
        _make(path)
    return path.read_text()


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Several workers may start at once: a link appears with all its content, and only one of them wins.
    handle, draft = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "w") as file:
        file.write(get_random_secret_key())
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    os.unlink(draft)
