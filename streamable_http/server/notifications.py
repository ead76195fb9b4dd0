"""News for every session of a server: lists that changed, resources that were updated.

Where they go is the business of the publisher, which the Django app installs.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

RESOURCE_UPDATED: Final = "notifications/resources/updated"
RESOURCE_LIST_CHANGED: Final = "notifications/resources/list_changed"
TOOL_LIST_CHANGED: Final = "notifications/tools/list_changed"
PROMPT_LIST_CHANGED: Final = "notifications/prompts/list_changed"


class Publisher(Protocol):
    """Takes news to the listening streams of all sessions, on every worker."""

    def publish(self, server_name: str, method: str, params: dict[str, Any] | None, topic: str) -> None:
        """Send a notification to every session of a server that wants it; from any thread.

        ``topic`` is the URI for ``notifications/resources/updated``, which goes to its subscribers alone, and
        else the method. Inside ``atomic()`` it is sent on commit.
        """


class _Nobody:
    """Stands where no publisher was installed."""

    def publish(self, server_name: str, method: str, params: dict[str, Any] | None, topic: str) -> None:
        raise RuntimeError(
            f"{method} cannot be sent: nothing takes notifications here; put 'streamable_http' into "
            "INSTALLED_APPS and set Django up (django.setup()) first"
        )


_publisher: Publisher = _Nobody()


def set_publisher(publisher: Publisher | None) -> None:
    """Install what takes the news from now on; ``None`` removes it."""
    global _publisher
    _publisher = publisher if publisher is not None else _Nobody()


def publish(server_name: str, method: str, params: dict[str, Any] | None = None, *, topic: str | None = None) -> None:
    """Give a notification to the publisher.

    Raises:
        RuntimeError: there is none.
    """
    _publisher.publish(server_name, method, params, method if topic is None else topic)
