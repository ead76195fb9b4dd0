"""uvicorn under cProfile: ``python -m benchmarks.servers.profiled <port> <application> <file>``.

What the imports cost is left out, and so are the threads beside the event loop's. CPU time, not the wall clock's:
else what other threads and processes do would be charged to whatever they interrupt.
"""

from __future__ import annotations

import cProfile
import sys
import time

import uvicorn
from uvicorn.importer import import_from_string


def main(port: int, name: str, path: str) -> None:
    """Serve until a signal comes, then write what was measured."""
    application = import_from_string(name)
    profile = cProfile.Profile(time.thread_time)
    try:
        profile.runcall(
            uvicorn.run, application, port=port, http="httptools", loop="uvloop", log_level="warning", access_log=False
        )
    finally:
        profile.dump_stats(path)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
