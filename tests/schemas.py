"""What the schema of a revision says about a message that leaves the server.

2025-11-25 has its own models in ``mcp_types``; they are read as JSON Schema and closed: an unknown member is a
problem, and ``null`` in the place of an absent one, too. The older revisions are that schema without what came
later, as two tables. Their sources are ``schema/<revision>/schema.json`` in the specification's repository.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator
from typing import Any

import jsonschema
import pydantic
from mcp_types import methods

R2025_03_26 = "2025-03-26"
R2025_06_18 = "2025-06-18"
R2025_11_25 = "2025-11-25"

REVISIONS = (R2025_03_26, R2025_06_18, R2025_11_25)

ABSENT_DEFINITIONS = {
    R2025_11_25: frozenset[str](),
    R2025_06_18: frozenset(("Icon", "ElicitRequestURLParams", "ToolExecution", "ToolUseContent", "ToolResultContent")),
    R2025_03_26: frozenset(
        ("Icon", "ElicitRequestURLParams", "ToolExecution", "ToolUseContent", "ToolResultContent", "ResourceLink")
    ),
}
"""Alternatives that a revision's schema does not have."""

ABSENT_MEMBERS: dict[str, dict[str, frozenset[str]]] = {
    R2025_11_25: {
        # Core tasks are experimental, and not served.
        "ServerCapabilities": frozenset(("tasks",)),
        "CreateMessageRequestParams": frozenset(("task",)),
        "ElicitRequestFormParams": frozenset(("task",)),
        "ElicitRequestURLParams": frozenset(("task",)),
    },
    R2025_06_18: {
        "CreateMessageRequestParams": frozenset(("tools", "toolChoice")),
        "ElicitRequestFormParams": frozenset(("mode",)),
        "Implementation": frozenset(("description", "icons", "websiteUrl")),
        "Prompt": frozenset(("icons",)),
        "Resource": frozenset(("icons",)),
        "ResourceLink": frozenset(("icons",)),
        "ResourceTemplate": frozenset(("icons",)),
        "SamplingMessage": frozenset(("_meta",)),
        "Tool": frozenset(("execution", "icons")),
    },
    R2025_03_26: {
        "Annotations": frozenset(("lastModified",)),
        "AudioContent": frozenset(("_meta",)),
        "BlobResourceContents": frozenset(("_meta",)),
        "CallToolResult": frozenset(("structuredContent",)),
        "EmbeddedResource": frozenset(("_meta",)),
        "ImageContent": frozenset(("_meta",)),
        "Implementation": frozenset(("title",)),
        "Prompt": frozenset(("_meta", "title")),
        "PromptArgument": frozenset(("title",)),
        "Resource": frozenset(("_meta", "title")),
        "ResourceTemplate": frozenset(("_meta", "title")),
        "TextContent": frozenset(("_meta",)),
        "TextResourceContents": frozenset(("_meta",)),
        "Tool": frozenset(("_meta", "outputSchema", "title")),
    },
}
"""Members that came after a revision, beside those that came after the next one."""

OPEN_DEFINITIONS = frozenset(("InputSchema", "OutputSchema"))
"""Schemas of the tools' own: any keyword may stand there."""

LISTS_OF_BLOCKS = {R2025_03_26: False, R2025_06_18: False, R2025_11_25: True}
"""Whether a sampling message may hold several blocks."""

URL_ELICITATION_REQUIRED = -32042
"""The only code that has data of a certain shape (2025-11-25, URLElicitationRequiredError)."""

MAX_COMPLETION_VALUES = 100
"""The schema says it in words only: "Must not exceed 100 items"."""


class Violation(AssertionError):
    """A message that its revision's schema does not have."""


def check(message: Any, *, revision: str, requested: Collection[str] = ()) -> None:
    """Refuse a message that a server may not send.

    ``requested`` are the methods that a response may answer; with none, a result is only looked at from outside.

    Raises:
        Violation: with everything that is wrong.
    """
    found = list(problems(message, revision=revision, requested=requested))
    if found:
        raise Violation(f"not a message of {revision}: {'; '.join(found)}\n{str(message)[:2_000]}")


def problems(message: Any, *, revision: str, requested: Collection[str] = ()) -> Iterator[str]:
    """Return what is wrong with a message, one sentence each."""
    if not isinstance(message, dict):
        yield f"a message is an object, not {type(message).__name__}"
    elif "method" in message:
        yield from _call_problems(message, revision)
    elif "error" in message:
        yield from _error_problems(message, revision)
    else:
        yield from _result_problems(message, revision, requested)


# The kinds of messages


def _call_problems(message: dict[str, Any], revision: str) -> Iterator[str]:
    kind = "request" if "id" in message else "notification"
    models: Any = methods.SERVER_REQUESTS if kind == "request" else methods.SERVER_NOTIFICATIONS
    model = models.get((message["method"], revision))
    if model is None:
        yield f"a server has no {kind} {message['method']!r}"
        return
    found = list(_against(_validator(model, revision), message))
    yield from found
    if not found and "requestedSchema" in message.get("params", {}):
        yield from _form_problems(message["params"]["requestedSchema"], revision)


def _error_problems(message: dict[str, Any], revision: str) -> Iterator[str]:
    yield from _against(_error_validator(revision), message)
    error = message["error"]
    if isinstance(error, dict) and error.get("code") == URL_ELICITATION_REQUIRED:
        yield from _url_elicitation_problems(error.get("data"), revision)


def _url_elicitation_problems(data: Any, revision: str) -> Iterator[str]:
    if revision != R2025_11_25:
        yield f"code {URL_ELICITATION_REQUIRED} came later"
        return
    found = list(_against(_URL_ELICITATIONS, data))
    yield from found
    for params in [] if found else data["elicitations"]:
        request = {"jsonrpc": "2.0", "id": 0, "method": "elicitation/create", "params": params}
        yield from _call_problems(request, revision)


def _result_problems(message: dict[str, Any], revision: str, requested: Collection[str]) -> Iterator[str]:
    yield from _against(_RESULT_ENVELOPE, message)
    result = message.get("result")
    alternatives = [list(_result_problems_of(method, result, revision)) for method in requested]
    if alternatives and all(alternatives):
        yield from min(alternatives, key=len)


def _result_problems_of(method: str, result: Any, revision: str) -> Iterator[str]:
    model = methods.SERVER_RESULTS.get((method, revision))
    if model is None:
        yield f"{method!r} has no result"
        return
    found = list(_against(_validator(model, revision), result))
    yield from found
    if not found and method in _FURTHER:
        yield from _FURTHER[method](result)


def _completion_problems(result: dict[str, Any]) -> Iterator[str]:
    if len(result["completion"]["values"]) > MAX_COMPLETION_VALUES:
        yield f"more than {MAX_COMPLETION_VALUES} values"


def _tool_problems(result: dict[str, Any]) -> Iterator[str]:
    for tool in result["tools"]:
        for name in ("inputSchema", "outputSchema"):
            schema = tool.get(name, {})
            try:
                jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator).check_schema(schema)
            except jsonschema.SchemaError as error:
                yield f"{name} of {tool['name']!r} is no JSON Schema: {error.message}"


_FURTHER: dict[str, Callable[[dict[str, Any]], Iterator[str]]] = {
    "completion/complete": _completion_problems,
    "tools/list": _tool_problems,
}
"""What models do not say of a result."""


def _form_problems(schema: dict[str, Any], revision: str) -> Iterator[str]:
    for name, field in schema["properties"].items():
        for problem in _against(_field_validator(revision), field):
            yield f"field {name!r}: {problem}"


def _against(validator: jsonschema.Draft202012Validator, value: Any) -> Iterator[str]:
    if validator.is_valid(value):
        return
    for error in validator.iter_errors(value):
        deepest = jsonschema.exceptions.best_match([error])
        yield f"{deepest.json_path}: {deepest.message[:500]}"


# The schemas


@functools.cache
def _validator(model: Any, revision: str) -> jsonschema.Draft202012Validator:
    schema = pydantic.TypeAdapter(model).json_schema(by_alias=True)
    definitions = schema.pop("$defs", {})
    closed = {name: _closed(name, part, revision) for name, part in definitions.items()}
    whole = {**_closed(schema.get("title", ""), schema, revision), "$defs": closed}
    # A bare result, as of ping, is open in the schema; nothing of ours stands in it.
    return jsonschema.Draft202012Validator({**whole, "additionalProperties": False})


def _closed(name: str, schema: Any, revision: str) -> Any:
    """Return a definition without nulls, unknown members, and what the revision does not have."""
    if isinstance(schema, list):
        return [_closed("", part, revision) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "anyOf" in schema:
        kept = [part for part in schema["anyOf"] if _is_present(part, revision)]
        return {**schema, "anyOf": _closed("", kept, revision)}
    closed = {key: _closed("", part, revision) for key, part in schema.items() if key != "properties"}
    if "properties" in schema:
        absent = _absent_members(name, revision)
        members = {key: part for key, part in schema["properties"].items() if key not in absent}
        closed["properties"] = {key: _closed("", part, revision) for key, part in members.items()}
        if name not in OPEN_DEFINITIONS:
            closed.setdefault("additionalProperties", False)
    return closed


def _absent_members(name: str, revision: str) -> frozenset[str]:
    later = REVISIONS[REVISIONS.index(revision) :]
    return frozenset[str]().union(*(ABSENT_MEMBERS[each].get(name, frozenset()) for each in later))


def _is_present(part: dict[str, Any], revision: str) -> bool:
    if part.get("type") == "null":
        return False
    if part.get("type") == "array" and "items" in part and _is_of_sampling(part["items"]):
        return LISTS_OF_BLOCKS[revision]
    return part.get("$ref", "").removeprefix("#/$defs/") not in ABSENT_DEFINITIONS[revision]


def _is_of_sampling(items: dict[str, Any]) -> bool:
    return any("ToolUseContent" in part.get("$ref", "") for part in items.get("anyOf", []))


def _object(required: Collection[str], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(required),
        "properties": properties,
        "additionalProperties": False,
    }


_VERSION = {"const": "2.0"}
_ID = {"type": ["string", "integer"]}
_TEXT = {"type": "string"}
_COUNT = {"type": "integer"}

_URL_ELICITATIONS = jsonschema.Draft202012Validator(
    _object(
        ("elicitations",),
        elicitations={
            "type": "array",
            "items": {"type": "object", "required": ["mode"], "properties": {"mode": {"const": "url"}}},
        },
    )
)

_RESULT_ENVELOPE = jsonschema.Draft202012Validator(
    _object(("jsonrpc", "id", "result"), jsonrpc=_VERSION, id=_ID, result={"type": "object"})
)


@functools.cache
def _error_validator(revision: str) -> jsonschema.Draft202012Validator:
    error = _object(("code", "message"), code=_COUNT, message=_TEXT, data={"not": {"type": "null"}})
    # An error whose request could not be read has no id since 2025-11-25; before, there was no such message.
    required = ("jsonrpc", "error") if revision == R2025_11_25 else ("jsonrpc", "id", "error")
    return jsonschema.Draft202012Validator(_object(required, jsonrpc=_VERSION, id=_ID, error=error))


@functools.cache
def _field_validator(revision: str) -> jsonschema.Draft202012Validator:
    """Return the schema of one field of a form (PrimitiveSchemaDefinition)."""
    is_rich = revision == R2025_11_25

    def field(kinds: list[str], *required: str, default: dict[str, Any] | None, **keywords: Any) -> dict[str, Any]:
        names = {"type": {"enum": kinds}, "title": _TEXT, "description": _TEXT}
        return _object(("type", *required), **names, **keywords, **({} if default is None else {"default": default}))

    choices = {"type": "array", "items": _TEXT}
    titled = {"type": "array", "items": _object(("const", "title"), const=_TEXT, title=_TEXT)}
    formats = {"enum": ["date", "date-time", "email", "uri"]}
    text = _TEXT if is_rich else None
    fields = [
        field(["boolean"], default={"type": "boolean"}),
        field(["string"], default=text, minLength=_COUNT, maxLength=_COUNT, format=formats),
        field(["string"], "enum", default=text, enum=choices, enumNames=choices),
        field(
            ["number", "integer"],
            default={"type": "number"} if is_rich else None,
            minimum={"type": "number"},
            maximum={"type": "number"},
        ),
    ]
    if is_rich:
        items = {
            "anyOf": [
                _object(("type", "enum"), type={"const": "string"}, enum=choices),
                _object(("anyOf",), anyOf=titled),
            ]
        }
        fields += [
            field(["string"], "oneOf", default=text, oneOf=titled),
            field(["array"], "items", default=choices, items=items, minItems=_COUNT, maxItems=_COUNT),
        ]
    return jsonschema.Draft202012Validator({"anyOf": fields})
