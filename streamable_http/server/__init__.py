"""What users write: a server with its tools, resources and prompts, and the context to talk to the caller with.

Runs without Django. The endpoint gives every call its :class:`Context` and takes results from
:meth:`MCPServer.dispatch`.
"""

from __future__ import annotations

from mcp_types import (
    Annotations,
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    Completion,
    CreateMessageResult,
    CreateMessageResultWithTools,
    EmbeddedResource,
    GetPromptResult,
    Icon,
    ImageContent,
    ModelHint,
    ModelPreferences,
    ResourceLink,
    Root,
    TextContent,
    TextResourceContents,
    ToolAnnotations,
    ToolChoice,
    ToolResultContent,
    ToolUseContent,
)

from streamable_http.exceptions import (
    AskError,
    AskRefused,
    AskTimeout,
    CallCancelled,
    CallFailed,
    ResourceNotFound,
    ToolError,
    UrlElicitationRequired,
)
from streamable_http.server.content import Image
from streamable_http.server.context import Context, Gate, Outlet, SessionInfo, SyncContext
from streamable_http.server.dispatch import RunSync
from streamable_http.server.elicitation import ElicitResult
from streamable_http.server.mcp_server import CallNext, MCPServer, Middleware
from streamable_http.server.messages import AssistantMessage, Message, UserMessage
from streamable_http.server.notifications import Publisher, set_publisher
from streamable_http.server.prompts import Prompt
from streamable_http.server.resources import Resource, ResourceContents
from streamable_http.server.tools import Tool
from streamable_http.server.url_elicitation import UrlElicitation

__all__ = [
    "Annotations",
    "AskError",
    "AskRefused",
    "AskTimeout",
    "AssistantMessage",
    "AudioContent",
    "BlobResourceContents",
    "CallCancelled",
    "CallFailed",
    "CallNext",
    "CallToolResult",
    "Completion",
    "Context",
    "CreateMessageResult",
    "CreateMessageResultWithTools",
    "ElicitResult",
    "EmbeddedResource",
    "Gate",
    "GetPromptResult",
    "Icon",
    "Image",
    "ImageContent",
    "MCPServer",
    "Message",
    "Middleware",
    "ModelHint",
    "ModelPreferences",
    "Outlet",
    "Prompt",
    "Publisher",
    "Resource",
    "ResourceContents",
    "ResourceLink",
    "ResourceNotFound",
    "Root",
    "RunSync",
    "SessionInfo",
    "SyncContext",
    "TextContent",
    "TextResourceContents",
    "Tool",
    "ToolAnnotations",
    "ToolChoice",
    "ToolError",
    "ToolResultContent",
    "ToolUseContent",
    "UrlElicitation",
    "UrlElicitationRequired",
    "UserMessage",
    "set_publisher",
]
