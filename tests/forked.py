"""Workers of uvicorn, forked from a process that has loaded the application and serves nothing.

    python -m tests.forked module:application PORT WORKERS

SIGHUP kills all of them, as a crash does, and starts as many new ones on the same port: within a tenth of a second,
because nothing is loaded again.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

import uvicorn
from uvicorn.importer import import_from_string

HOST = "127.0.0.1"
SIGNALS = {signal.SIGHUP, signal.SIGTERM, signal.SIGINT}


def main() -> None:
    name, port, workers = sys.argv[1:]
    application = import_from_string(name)
    listener = socket.create_server((HOST, int(port)), backlog=512)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    while True:
        children = [fork(application, listener) for _ in range(int(workers))]
        number = signal.sigwait(SIGNALS)
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        if number != signal.SIGHUP:
            return


def fork(application: object, listener: socket.socket) -> int:
    """Start a worker and return its process id."""
    child = os.fork()
    if child:
        return child
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    uvicorn.Server(uvicorn.Config(application)).run(sockets=[listener])
    os._exit(0)


if __name__ == "__main__":
    main()
