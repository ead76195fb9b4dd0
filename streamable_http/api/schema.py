"""OpenAPI: how the views describe themselves, whatever schema class the project has by default."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from drf_spectacular.drainage import reset_generator_stats
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import build_root_object, normalize_result_object, sanitize_result_object
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request

import streamable_http
from streamable_http.api import fields, renderers, serializers

View = TypeVar("View", bound=Callable[..., Any])

ID: Final = OpenApiParameter("id", fields.ID_SCHEMA, OpenApiParameter.PATH, description="In hexadecimal.")

_INVALID: Final = {
    "type": "object",
    "description": "What is wrong, by field; or `detail`, where the body as a whole is.",
    "additionalProperties": {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
}

_STREAMED: Final[dict[str, dict[str, Any]]] = {
    renderers.JSONLines.media_type: {"type": "string", "format": "binary"},
    # Of each event.
    renderers.ServerSentEvents.media_type: {
        "type": "object",
        "properties": {
            "id": {"type": "string", "description": "`<stream>.<sequence>`"},
            "data": {"type": "string", "description": "The message as redacted JSON, or nothing."},
        },
        "required": ["id", "data"],
    },
}

_RETRY_AFTER: Final = OpenApiParameter(
    "Retry-After", int, OpenApiParameter.HEADER, description="In seconds.", response=[503], required=True
)

_ANYWHERE: Final = {
    401: OpenApiResponse(serializers.Problem, "Who asks is not known, where the first authentication class says so."),
    403: OpenApiResponse(serializers.Problem, "Not of the staff, or without the permission."),
    406: OpenApiResponse(serializers.Problem, "`Accept` excludes every type that there is."),
    503: OpenApiResponse(serializers.Problem, "The database does not answer."),
}

_OF_BODIES: Final = {
    413: OpenApiResponse(serializers.Problem, "The body is too large."),
    415: OpenApiResponse(serializers.Problem, "The body is no JSON."),
}

_PROBLEMS: Final = {
    400: OpenApiResponse(_INVALID, "A parameter or a member of the body is wrong."),
    404: OpenApiResponse(serializers.Problem, "There is none with this id."),
    409: OpenApiResponse(serializers.ConflictProblem, "It does not fit how things are."),
    504: OpenApiResponse(serializers.TimeoutProblem, "It did not end in time, and was cancelled."),
}


def described(
    operation_id: str,
    *,
    answer: Any,
    status: int = 200,
    streamed: Sequence[type[renderers.ServerSentEvents | renderers.JSONLines]] = (),
    body: Any = None,
    query: Any = None,
    has_id: bool = True,
    may_conflict: bool = False,
    may_time_out: bool = False,
) -> Callable[[View], View]:
    """Describe a view method; its docstring is the text."""
    problems = [
        *([400] if body is not None or query is not None else []),
        *([404] if has_id else []),
        *([409] if may_conflict else []),
        *([504] if may_time_out else []),
    ]
    responses: dict[Any, Any] = {status: answer} if not streamed else {}
    responses |= {(status, each.media_type): OpenApiResponse(_STREAMED[each.media_type], answer) for each in streamed}
    # Problems are JSON, whatever was asked for.
    failures = {code: _PROBLEMS[code] for code in problems} | _ANYWHERE | (_OF_BODIES if body is not None else {})
    responses |= {(code, renderers.JSON.media_type): failure for code, failure in failures.items()}
    describe = extend_schema(
        operation_id=operation_id,
        tags=["mcp"],
        parameters=[*([ID] if has_id else []), *([query] if query is not None else []), _RETRY_AFTER],
        request=body,
        responses=responses,
        filters=False,
    )

    def decorate(view: View) -> View:
        # Without it spectacular extends the project's default class, which may be of another make.
        vars(view).setdefault("kwargs", {}).setdefault("schema", AutoSchema)
        return describe(view)

    return decorate


class Generator(SchemaGenerator):
    """Says what this API is. What the project does to schemas of its own (hooks, names of enums) is for those."""

    def get_schema(self, request: Request | None = None, public: bool = False) -> dict[str, Any]:
        """Return the schema, with the place where the project has put it."""
        reset_generator_stats()
        schema: dict[str, Any] = build_root_object(
            paths=self.parse(request, public),  # type: ignore[no-untyped-call]
            components=self.registry.build({}),
            webhooks={},
            version=streamable_http.__version__,
        )
        schema["info"] = {
            "title": "Sessions and streams",
            "version": streamable_http.__version__,
            "description": "What MCP clients said and got, and what operators can do about it.",
        }
        if request is not None:
            schema["servers"] = [{"url": request.path.removesuffix("schema/").rstrip("/") or "/"}]
        schema = sanitize_result_object(normalize_result_object(schema))  # type: ignore[no-untyped-call]
        return {name: _plain(part) for name, part in schema.items()}


def _plain(value: Any) -> Any:
    """Return a schema without the marks that spectacular leaves for its own hooks."""
    if isinstance(value, dict):
        return {key: _plain(member) for key, member in value.items() if key != "x-spec-enum-id"}
    return [_plain(item) for item in value] if isinstance(value, list) else value
