from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mcp_types
import pytest

from streamable_http.server import MCPServer, notifications, set_publisher

MODELS: dict[str, Any] = {
    notifications.RESOURCE_UPDATED: mcp_types.ResourceUpdatedNotification,
    notifications.RESOURCE_LIST_CHANGED: mcp_types.ResourceListChangedNotification,
    notifications.TOOL_LIST_CHANGED: mcp_types.ToolListChangedNotification,
    notifications.PROMPT_LIST_CHANGED: mcp_types.PromptListChangedNotification,
}


class Publisher:
    def __init__(self) -> None:
        self.published: list[tuple[Any, ...]] = []

    def publish(self, server_name: str, method: str, params: dict[str, Any] | None, topic: str) -> None:
        self.published.append((server_name, method, params, topic))


@pytest.fixture
def publisher(monkeypatch) -> Iterator[Publisher]:
    before = notifications._publisher
    made = Publisher()
    set_publisher(made)
    yield made
    set_publisher(before)


def test_news_go_to_the_publisher_under_their_topic(publisher):
    server = MCPServer("shop")
    server.notify_resource_updated("books://978")
    server.notify_resource_list_changed()
    server.notify_tool_list_changed()
    server.notify_prompt_list_changed()
    assert publisher.published == [
        ("shop", "notifications/resources/updated", {"uri": "books://978"}, "books://978"),
        ("shop", "notifications/resources/list_changed", None, "notifications/resources/list_changed"),
        ("shop", "notifications/tools/list_changed", None, "notifications/tools/list_changed"),
        ("shop", "notifications/prompts/list_changed", None, "notifications/prompts/list_changed"),
    ]
    for _, method, params, _ in publisher.published:
        MODELS[method].model_validate({"method": method, "params": params})


def test_without_a_publisher_the_reason_is_told(publisher):
    set_publisher(None)
    with pytest.raises(RuntimeError, match=r"put 'streamable_http' into INSTALLED_APPS and set Django up"):
        MCPServer("shop").notify_tool_list_changed()
