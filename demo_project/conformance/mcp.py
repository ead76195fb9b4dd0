"""The fixtures of the official conformance suite: their names, texts and schemas are what the suite expects."""

import asyncio
import base64
from typing import Any, Final, Literal

from pydantic import BaseModel

from streamable_http.server import (
    AudioContent,
    Context,
    EmbeddedResource,
    Image,
    MCPServer,
    TextContent,
    TextResourceContents,
    ToolError,
    UserMessage,
)

PIXEL: Final = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
"""A PNG of one pixel."""

SAMPLE: Final = (
    b"RIFF\x26\x00\x00\x00WAVE"
    b"fmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x80\x3e\x00\x00\x02\x00\x10\x00"
    b"data\x02\x00\x00\x00\x00\x00"
)
"""A WAV of one sample of silence."""

STEP_SECONDS: Final = 0.05
"""How long a step of a tool takes that reports its steps."""

RECONNECT_SECONDS: Final = 0.2
"""How long a client has to come back before the tool goes on."""

server = MCPServer("conformance", version="1.0", title="Fixtures of the official conformance suite")


# Content. The suite calls the first tool with nothing, to see how calls are answered.


@server.tool()
async def test_simple_text() -> str:
    """Return a text."""
    return "This is a simple text response for testing."


@server.tool()
async def test_image_content() -> Image:
    """Return an image."""
    return Image(PIXEL)


@server.tool()
async def test_audio_content() -> AudioContent:
    """Return a sound."""
    return AudioContent(data=base64.b64encode(SAMPLE).decode(), mime_type="audio/wav")


@server.tool()
async def test_embedded_resource() -> EmbeddedResource:
    """Return a resource with its content."""
    return _embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")


@server.tool()
async def test_multiple_content_types() -> list[TextContent | Image | EmbeddedResource]:
    """Return a text, an image and a resource."""
    return [
        TextContent(text="Multiple content types test:"),
        Image(PIXEL),
        _embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
    ]


@server.tool()
async def test_error_handling() -> str:
    """Fail, in words for the model."""
    raise ToolError("This tool intentionally returns an error for testing")


# Messages before the result


@server.tool()
async def test_tool_with_progress(ctx: Context) -> str:
    """Report progress."""
    for done in (0, 50, 100):
        await ctx.report_progress(done, 100, f"Completed step {done} of 100")
        await asyncio.sleep(STEP_SECONDS)
    return "Completed 100 of 100"


@server.tool()
async def test_tool_with_logging(ctx: Context) -> str:
    """Send log messages."""
    await ctx.info("Tool execution started")
    await asyncio.sleep(STEP_SECONDS)
    await ctx.info("Tool processing data")
    await asyncio.sleep(STEP_SECONDS)
    await ctx.info("Tool execution completed")
    return "Logged three messages"


@server.tool()
async def test_reconnection(ctx: Context) -> str:
    """End the HTTP answer early; the client comes back for the rest (SEP-1699)."""
    await ctx.info("Before disconnect")
    ctx.close_connection()
    await asyncio.sleep(RECONNECT_SECONDS)
    await ctx.info("After reconnect")
    return "Reconnection test completed"


# Questions to the client


@server.tool()
async def test_sampling(prompt: str, ctx: Context) -> str:
    """Ask the client's model."""
    answer = await ctx.sample(prompt, max_tokens=100)
    text = answer.content.text if isinstance(answer.content, TextContent) else f"({answer.content.type})"
    return f"LLM response: {text}"


class Contact(BaseModel):
    """What a user is asked for."""

    username: str
    email: str


class Defaults(BaseModel):
    """A form in which every member has a default (SEP-1034)."""

    name: str = "John Doe"
    age: int = 30
    score: float = 95.5
    status: Literal["active", "inactive", "pending"] = "active"
    verified: bool = True


CHOICES: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
        "titledSingle": {
            "type": "string",
            "oneOf": [
                {"const": "value1", "title": "First Option"},
                {"const": "value2", "title": "Second Option"},
                {"const": "value3", "title": "Third Option"},
            ],
        },
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1", "option2", "option3"]}},
        "titledMulti": {
            "type": "array",
            "items": {
                "anyOf": [
                    {"const": "value1", "title": "First Choice"},
                    {"const": "value2", "title": "Second Choice"},
                    {"const": "value3", "title": "Third Choice"},
                ]
            },
        },
    },
}
"""A form with every kind of choice (SEP-1330). Titles and the old ``enumNames`` have no form as a Python type."""


@server.tool()
async def test_elicitation(message: str, ctx: Context) -> str:
    """Ask the user for a name and an address."""
    answer = await ctx.elicit(message, Contact)
    return f"User response: action={answer.action}, content={answer.data.model_dump() if answer.data else None}"


@server.tool()
async def test_elicitation_sep1034_defaults(ctx: Context) -> str:
    """Ask the user with a form that is filled in already."""
    answer = await ctx.elicit("Please review the form", Defaults)
    return f"Elicitation completed: action={answer.action}, content={answer.data}"


@server.tool()
async def test_elicitation_sep1330_enums(ctx: Context) -> str:
    """Ask the user to choose."""
    answer = await ctx.elicit("Please choose", CHOICES)
    return f"Elicitation completed: action={answer.action}, content={answer.data}"


# Schemas written by hand


class Address(BaseModel):
    """Where somebody lives."""

    street: str = ""
    city: str = ""


CONTACT_SCHEMA: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
"""What a form can say in JSON Schema 2020-12, and no signature of a function."""


@server.tool(input_schema=CONTACT_SCHEMA)
async def json_schema_2020_12_tool(
    name: str = "",
    address: Address | None = None,
    contactMethod: Literal["phone", "email"] | None = None,  # noqa: N803  # the schema's name
    phone: str = "",
    email: str = "",
) -> str:
    """Take arguments by a schema that was written by hand."""
    return f"name={name}, address={address}, method={contactMethod}, phone={phone}, email={email}"


# Resources


@server.resource("test://static-text", description="A text that never changes", mime_type="text/plain")
def static_text() -> str:
    """Return a text."""
    return "This is the content of the static text resource."


@server.resource("test://static-binary", description="An image that never changes", mime_type="image/png")
def static_binary() -> bytes:
    """Return an image."""
    return PIXEL


@server.resource("test://watched-resource", description="What can be subscribed to", mime_type="text/plain")
def watched_resource() -> str:
    """Return a text that may change."""
    return "Subscribe to hear when this changes."


@server.resource("test://template/{id}/data", description="Data by its number", mime_type="application/json")
def template_data(id: str) -> dict[str, Any]:
    """Return the data of a number."""
    return {"id": id, "templateTest": True, "data": f"Data for ID: {id}"}


# Prompts


@server.prompt()
def test_simple_prompt() -> str:
    """A prompt without arguments."""
    return "This is a simple prompt for testing."


@server.prompt()
def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    """A prompt with two arguments.

    Args:
        arg1: The first.
        arg2: The second.
    """
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


@server.prompt()
def test_prompt_with_embedded_resource(resourceUri: str) -> list[UserMessage]:  # noqa: N803  # the suite's name
    """A prompt that brings a resource along.

    Args:
        resourceUri: What to bring along.
    """
    return [
        UserMessage(_embedded(resourceUri, "text/plain", "Embedded resource content for testing.")),
        UserMessage("Please process the embedded resource above."),
    ]


@server.prompt()
def test_prompt_with_image() -> list[UserMessage]:
    """A prompt that brings an image along."""
    return [UserMessage(Image(PIXEL)), UserMessage("Please analyze the image above.")]


@server.completion(prompt="test_prompt_with_arguments", argument="arg1")
def complete_arg1(value: str) -> list[str]:
    """Return words that begin like this."""
    return [word for word in ("test", "testing", "tested", "other") if word.startswith(value)]


def _embedded(uri: str, mime_type: str, text: str) -> EmbeddedResource:
    return EmbeddedResource(resource=TextResourceContents(uri=uri, mime_type=mime_type, text=text))
