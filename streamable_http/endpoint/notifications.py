"""News for all sessions of a server, from whatever process of the project has some.

They are committed to the listening streams like any event. A worker of ours does that in its log's thread; in
another process, such as a management command, the caller's thread does, and the workers find it at their next poll.
"""

from __future__ import annotations

import asyncio
import functools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import connections, transaction

from streamable_http.delivery import engine, threads
from streamable_http.protocol import jsonrpc
from streamable_http.server import notifications
from streamable_http.stores import base


class Publisher:
    """What :meth:`~streamable_http.server.MCPServer.notify_resource_updated` and its kind go through."""

    def publish(self, server_name: str, method: str, params: dict[str, Any] | None, topic: str) -> None:
        """Send a notification to every session of a server that wants it; safe in any thread.

        Inside ``atomic()`` it is sent on commit: earlier, clients would read what is still the old state.
        """
        blocks = [connection for connection in connections.all(initialized_only=True) if connection.in_atomic_block]
        if blocks:
            # Asked again then: another transaction may be around that one.
            again = functools.partial(self.publish, server_name, method, params, topic)
            transaction.on_commit(again, using=blocks[0].alias)
            return
        message = {"jsonrpc": "2.0", "method": method, **({"params": params} if params else {})}
        news = (server_name, topic, jsonrpc.dumps(message).decode(), method != notifications.RESOURCE_UPDATED)
        running = engine.running()
        if running is not None:
            running.loop.call_soon_threadsafe(running.notify, *news)
        else:
            _publish_from_outside(*news)


def _publish_from_outside(server_name: str, topic: str, payload: str, is_for_all: bool) -> None:
    work = functools.partial(_tell, engine.store(), server_name, topic, payload, is_for_all)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        work()
        return
    # Django refuses its databases to a thread that runs an event loop.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(_with_own_connection, work).result()


def _tell(store: base.Store, server_name: str, topic: str, payload: str, is_for_all: bool) -> None:
    for session_ids in store.audience(server_name, topic, is_for_all=is_for_all):
        store.notify(session_ids, topic, payload, is_for_all=is_for_all)


def _with_own_connection(work: functools.partial[Any]) -> None:
    try:
        work()
    finally:
        threads.close_connections()
