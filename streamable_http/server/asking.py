"""What a client declared that it can be asked."""

from __future__ import annotations

from typing import Any, TypeVar

import pydantic

from streamable_http import exceptions
from streamable_http.server import problems

Model = TypeVar("Model", bound=pydantic.BaseModel)


def require(client_capabilities: dict[str, Any] | None, name: str) -> dict[str, Any] | None:
    """Return what the client declared about a capability; ``None`` where nobody knows what the client can.

    Without a session the client never said what it can; the outlet knows whether it can be asked.

    Raises:
        AskRefused: it declared that it has none.
    """
    if client_capabilities is None:
        return None
    capability = client_capabilities.get(name)
    if not isinstance(capability, dict):
        raise exceptions.AskRefused(f"the client cannot be asked: it does not support {name}")
    return capability


def read(model: type[Model], result: dict[str, Any], *, what: str) -> Model:
    """Read the client's result.

    Raises:
        AskError: it is no such result.
    """
    try:
        return model.model_validate(result)
    except pydantic.ValidationError as error:
        raise exceptions.AskError(f"the client's answer is no {what}: {problems.describe(error)}") from None
