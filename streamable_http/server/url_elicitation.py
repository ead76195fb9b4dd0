"""Pages that the user is asked to visit: for what must not pass through the client, such as passwords.

Never put personal data into the URL, nor anything that logs its bearer in, and check on the page that its visitor is
the user who was asked (2025-11-25, Elicitation, Safe URL Handling, Phishing).
"""

from __future__ import annotations

import secrets
import urllib.parse
from dataclasses import dataclass, field
from typing import Any, Final

from streamable_http import exceptions
from streamable_http.protocol import jsonrpc
from streamable_http.server import asking, elicitation, features

COMPLETE: Final = "notifications/elicitation/complete"


def new_id() -> str:
    """Return an id that nobody can guess."""
    return secrets.token_urlsafe(16)


@dataclass(frozen=True, slots=True)
class UrlElicitation:
    """A page that the user is asked to visit."""

    message: str
    """Why, for the user to read."""

    url: str
    elicitation_id: str = field(default_factory=new_id)
    """What tells this request from others, to say later that it is complete."""

    def __post_init__(self) -> None:
        """Refuse what is no URL (2025-11-25, URL Mode Elicitation Requests).

        Raises:
            ValueError: it is not absolute.
        """
        try:
            parts = urllib.parse.urlsplit(self.url)
        except ValueError:
            parts = urllib.parse.urlsplit("")
        if not parts.scheme or not parts.netloc or any(character.isspace() for character in self.url):
            raise ValueError(f"{self.url!r} is no URL that a user can visit; give an absolute one, https://...")

    def params(self) -> dict[str, Any]:
        """Return it as it goes on the wire."""
        return {"mode": "url", "elicitationId": self.elicitation_id, "url": self.url, "message": self.message}


def params(
    asked: UrlElicitation, having: features.Features, client_capabilities: dict[str, Any] | None
) -> dict[str, Any]:
    """Return the parameters of the ask.

    Raises:
        AskRefused: the revision or the client cannot show pages.
    """
    if not having.elicitation_modes:
        raise exceptions.AskRefused("the client cannot be asked: its protocol revision cannot send users to a page")
    capability = asking.require(client_capabilities, "elicitation")
    if capability is not None and "url" not in capability:
        raise exceptions.AskRefused("the client cannot be asked: it does not send users to pages (elicitation.url)")
    return asked.params()


def is_supported(having: features.Features, client_capabilities: dict[str, Any] | None) -> bool:
    """Whether the client knows what to do with a page for the user, as far as we can tell."""
    if client_capabilities is None:
        return having.elicitation_modes
    capability = client_capabilities.get("elicitation")
    return having.elicitation_modes and isinstance(capability, dict) and "url" in capability


def read(result: dict[str, Any]) -> elicitation.ElicitResult[None]:
    """Read the client's result. To accept means to have agreed to visit the page, not to have finished there.

    Raises:
        AskError: it is no such result.
    """
    action = result.get("action")
    if action not in elicitation.ACTIONS:
        raise exceptions.AskError("the client answered with an unknown action")
    return elicitation.ElicitResult(action, None)


def complete(elicitation_id: str) -> dict[str, Any]:
    """Return the notification that the user has finished."""
    return jsonrpc.notification(COMPLETE, {"elicitationId": elicitation_id})
