"""What load balancers ask: whether the process lives, and whether it is ready to be given calls.

::

    urlpatterns = [
        path("livez", HealthView.as_view(probe="live")),
        path("readyz", HealthView.as_view()),
        ...
    ]

It answers under ASGI and WSGI, and starts nothing: a worker that has not served MCP yet is ready when its store is.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Literal

from django.conf import settings
from django.db import DatabaseError, connections, transaction
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.views.generic import View

from streamable_http import exceptions, forks
from streamable_http.delivery import engine, threads

logger = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 2.0
"""How long anybody waits for the store, and for the database of the users."""

FRESH_SECONDS: Final = 1.0
"""For so long the store's last answer holds: who may ask is everybody, and each question is a connection."""


class HealthView(View):
    """Answers 200 and ``{"status": "ok"}``, or 503 and ``{"status": "unavailable"}``; the staff is told why."""

    probe: Literal["live", "ready"] = "ready"
    """``live`` touches nothing; ``ready`` asks the store, and this worker's lease and whether it is about to end."""

    http_method_names = ["get", "head", "options"]

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Callable[..., HttpResponseBase]:
        """Return the view: without a login, and outside of a transaction of the whole request."""
        view = super().as_view(**initkwargs)
        for alias in connections:
            # An async view cannot be in one (ATOMIC_REQUESTS).
            view = transaction.non_atomic_requests(using=alias)(view)
        vars(view).update(login_required=False)
        return view

    async def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> JsonResponse:
        """Answer the probe."""
        if self.probe == "live":
            return _answer(True, {})
        core = engine.running()
        store = await _ask_store()
        is_ready = store.is_up and (core is None or _is_ready(core))
        return _answer(is_ready, _details(store, core) if await _is_staff(request) else {})


def _answer(is_well: bool, details: dict[str, Any]) -> JsonResponse:
    status = HTTPStatus.OK if is_well else HTTPStatus.SERVICE_UNAVAILABLE
    content = {"status": "ok" if is_well else "unavailable", **details}
    return JsonResponse(content, status=status, headers={"Cache-Control": "no-store"})


def _is_ready(core: engine.Engine) -> bool:
    # Before it is started it has no lease, and gets one with its first request.
    return not core.is_draining and (not core.is_started or core.lease.is_fresh())


def _details(store: _StoreAnswer, core: engine.Engine | None) -> dict[str, Any]:
    return {
        "store": {"status": "ok" if store.is_up else "unavailable", "seconds": round(store.seconds, 4)},
        "worker": None if core is None else _worker(core),
    }


def _worker(core: engine.Engine) -> dict[str, Any]:
    return {
        "id": f"{core.lease.worker_id:x}" if core.is_started else None,
        "pid": core.pid,
        "has_lease": core.is_started and core.lease.is_fresh(),
        "is_draining": core.is_draining,
        "running_calls": len(core.running),
        "followed_streams": len(core.follows),
        "dropped_records": core.log.dropped_records,
    }


async def _is_staff(request: HttpRequest) -> bool:
    find_user = getattr(request, "auser", None)
    if find_user is None or settings.SESSION_COOKIE_NAME not in request.COOKIES:
        return False
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            user = await find_user()
    except (DatabaseError, TimeoutError):
        # Most likely it is what is asked about that does not answer.
        return False
    return bool(user.is_active and user.is_staff)


# The store


@dataclass(frozen=True, slots=True)
class _StoreAnswer:
    is_up: bool
    seconds: float


class _Question:
    """Asks the store, in a thread of its own: once at a time and once in :data:`FRESH_SECONDS`, whoever asks.

    A store that hangs holds this thread, and nobody else's.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked_at = float("-inf")
        self._asked: Future[_StoreAnswer] | None = None

    def ask(self) -> Future[_StoreAnswer]:
        with self._lock:
            is_old = time.monotonic() - self._asked_at >= FRESH_SECONDS
            if self._asked is None or (self._asked.done() and is_old):
                self._asked_at = time.monotonic()
                self._asked = Future()
                # So that whoever gives up waiting does not cancel it for the others.
                self._asked.set_running_or_notify_cancel()
                name = "streamable-http-health"
                threading.Thread(target=_look, args=(self._asked,), name=name, daemon=True).start()
            return self._asked


def _look(asked: Future[_StoreAnswer]) -> None:
    begun_at = time.monotonic()
    is_up = False
    try:
        core = engine.running()
        store = core.store if core is not None else engine.store()
        store.poll([0])
        is_up = True
    except exceptions.StoreError as error:
        logger.warning("the store does not answer: %s", error)
    except Exception:
        logger.exception("the store cannot be asked")
    finally:
        answer = _StoreAnswer(is_up, time.monotonic() - begun_at)
        try:
            threads.close_connections()
        finally:
            asked.set_result(answer)


async def _ask_store() -> _StoreAnswer:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await asyncio.wrap_future(_question.ask())
    except TimeoutError:
        return _StoreAnswer(False, ANSWER_SECONDS)


_question = _Question()


def _forget() -> None:
    """The thread of a parent process does not answer its child."""
    global _question
    _question = _Question()


forks.after_in_child(_forget)
