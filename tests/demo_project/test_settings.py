"""The demo project's settings are those of a supported set-up."""

import json
from pathlib import Path

import pytest

from tests import services, setups

SHOW = """
import json
from django.conf import settings
print(json.dumps([settings.CACHES, settings.CHANNEL_LAYERS, settings.STREAMABLE_HTTP["WAKEUPS"]]))
"""


def test_with_redis_it_is_the_set_up_that_the_docs_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {
        "DEMO_DATA_DIR": str(tmp_path),
        "DATABASE_URL": "postgresql://library@127.0.0.1/library",
        "REDIS_URL": "redis://127.0.0.1:6379/0",
        "DATABASE_PASSWORD": "",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    written = setups.REDIS.written()
    shown = services.manage("shell", "--verbosity=0", "--command", SHOW, environment=environment)
    assert json.loads(shown) == [
        written["CACHES"],
        written["CHANNEL_LAYERS"],
        written["STREAMABLE_HTTP"]["WAKEUPS"],
    ]
