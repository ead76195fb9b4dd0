"""What a request leaves behind: nothing that only the garbage collector finds.

Bodies are megabytes, and the collector counts objects and not bytes: what waits for it can be gigabytes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import services

pytestmark = pytest.mark.acceptance


def test_a_request_leaves_nothing_to_the_garbage_collector(sqlite_template: Path, tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite3"
    path.write_bytes(sqlite_template.read_bytes())
    done = subprocess.run(
        [sys.executable, "-m", "tests.site.garbage"],
        capture_output=True,
        text=True,
        check=False,
        cwd=services.ROOT,
        env={**os.environ, "DATABASE_URL": f"sqlite:///{path}", "DJANGO_SETTINGS_MODULE": "tests.site.settings"},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {}
