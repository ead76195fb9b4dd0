"""The signals that end a server: its engine is told, so that it can drain meanwhile.

Servers differ in what they do at such a signal. uvicorn, granian and hypercorn take no new connections and wait for
those that are open, so they get the signal at once. Twisted, which daphne stands on, drops every connection, so it
gets the signal when the engine has drained.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final

SIGNALS: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGBREAK") if hasattr(signal, name))
"""What ends a server; Windows has the last one, and sends it to whoever does not know SIGTERM."""

LINGER_SECONDS: Final = 0.5
"""How long the last bytes of a server that drops its connections have to go out."""

Handler = Callable[[int, FrameType | None], object]


class Signals:
    """A handler in front of a server's own ones, which are always called, too."""

    def __init__(self, drain: Callable[[], asyncio.Future[None]]) -> None:
        """``drain`` is called on the event loop, and the future is done when nothing is left to wait for."""
        self._drain = drain
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._previous: dict[int, Handler] = {}
        self._is_told = False
        self._is_held = False
        """Whether the server is yet to get the signal."""

    def install(self) -> None:
        """Stand in front of the server's handlers, if there is a server: nobody else handles SIGTERM.

        Only the main thread may do that; elsewhere nothing is done.
        """
        if threading.current_thread() is not threading.main_thread() or not callable(signal.getsignal(signal.SIGTERM)):
            return
        for number in SIGNALS:
            previous = signal.getsignal(number)
            if callable(previous):
                self._previous[number] = previous
                signal.signal(number, self._receive)

    def uninstall(self) -> None:
        """Step aside, as far as nobody has come in front meanwhile; a signal is then passed on and no more."""
        self._is_told = True
        if threading.current_thread() is threading.main_thread():
            for number, previous in self._previous.items():
                if signal.getsignal(number) == self._receive:
                    signal.signal(number, previous)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        previous = self._previous[number]
        # A child that was forked has inherited the handler, and nothing else of the engine.
        if self._is_told or os.getpid() != self._pid or not self._loop.is_running():
            # Whoever interrupts again does not want to wait.
            if not self._is_held or number != signal.SIGTERM:
                previous(number, frame)
            return
        self._is_told = True
        self._is_held = _drops_connections(previous)
        self._loop.call_soon_threadsafe(self._begin, functools.partial(previous, number, None))
        if not self._is_held:
            previous(number, frame)

    def _begin(self, pass_on: Callable[[], object]) -> None:
        drained = self._drain()
        if self._is_held:
            drained.add_done_callback(lambda _: self._loop.call_later(LINGER_SECONDS, self._release, pass_on))

    def _release(self, pass_on: Callable[[], object]) -> None:
        self._is_held = False
        pass_on()


def _drops_connections(handler: Handler) -> bool:
    """Tell whether a server ends every connection as soon as it handles the signal."""
    return type(getattr(handler, "__self__", None)).__module__.partition(".")[0] == "twisted"
