"""Resources: what a client may read, by its URI or by the template of many URIs."""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import mcp_types
from typing_extensions import TypedDict

from streamable_http import exceptions
from streamable_http.server import arguments as resource_arguments
from streamable_http.server import (
    content,
    context,
    definitions,
    docstrings,
    features,
    outputs,
    results,
    running,
    signatures,
    templates,
)

URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s\\]+", re.ASCII)
"""A scheme and something behind it (RFC 3986, section 3)."""

TEXT: Final = "text/plain"
JSON: Final = "application/json"
BINARY: Final = "application/octet-stream"


class Options(TypedDict, total=False):
    """What can be said about a resource; see :meth:`MCPServer.add_resource`."""

    name: str | None
    title: str | None
    description: str | None
    mime_type: str | None
    annotations: dict[str, Any] | mcp_types.Annotations | None
    icons: Sequence[definitions.IconLike] | None
    size: int | None
    meta: dict[str, Any] | None
    permission_classes: Sequence[Any]


@dataclass(frozen=True, slots=True)
class ResourceContents:
    """What a resource holds, with more to say about it than its value; return it alone or in a list."""

    value: Any
    """A text, bytes, or anything with a JSON form."""

    mime_type: str | None = None
    """Else the resource's own, or what goes with the value."""

    uri: str | None = None
    """Else the one that was read; one of several contents may have its own."""

    meta: dict[str, Any] | None = None


READY: Final = (mcp_types.TextResourceContents, mcp_types.BlobResourceContents)
CONTENTS: Final = (ResourceContents, *READY)

UNSTRUCTURED: Final = (bytes, bytearray, memoryview, content.Image, *CONTENTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One resource, or all those of a template. Unchangeable, so that calls share it freely."""

    uri: str
    """The URI, or the template."""

    template: templates.Template | None
    name: str
    title: str | None
    description: str
    mime_type: str | None
    annotations: mcp_types.Annotations
    icons: list[dict[str, Any]]
    size: int | None
    """Bytes, where it is known without reading."""

    meta: dict[str, Any] | None
    permission_classes: tuple[Any, ...]
    callee: running.Callee
    arguments: resource_arguments.Arguments
    output: outputs.Output | None
    """How to write what the function returns, where its type is data."""

    def definition(self, having: features.Features) -> dict[str, Any]:
        """Return the resource as a list shows it."""
        return definitions.make(
            having,
            {
                "uri" if self.template is None else "uriTemplate": self.uri,
                "name": self.name,
                "title": self.title,
                "description": self.description,
                "mimeType": self.mime_type,
                "annotations": definitions.dump(self.annotations, having),
                "icons": self.icons,
                "size": self.size,
                "_meta": self.meta,
            },
        )

    def variables(self, uri: str) -> dict[str, Any] | None:
        """Return the function's arguments for a URI; ``None`` if it is not one of this resource's."""
        found: dict[str, str] | None = {} if self.template is None and uri == self.uri else None
        if self.template is not None:
            found = self.template.match(uri)
        if found is None:
            return None
        try:
            return self.arguments.validate(found)
        except exceptions.ToolError:
            # What does not fit the type names nothing: /books/abc, where numbers are expected.
            return None

    async def read(
        self, uri: str, variables: dict[str, Any], ctx: context.Context, run_sync: running.RunSync
    ) -> dict[str, Any]:
        """Return the result of ``resources/read``.

        Raises:
            CallFailed: there is nothing behind the URI, or the function failed.
            CallCancelled: the call is over.
        """
        try:
            return await self.callee.call(
                variables, ctx, run_sync, functools.partial(self._result, uri=uri, having=ctx.features)
            )
        except exceptions.ResourceNotFound as error:
            raise not_found(uri, str(error)) from None

    def _result(self, value: Any, *, uri: str, having: features.Features) -> dict[str, Any]:
        if value is None:
            # A query that found nothing.
            raise exceptions.ResourceNotFound
        several = value if isinstance(value, list | tuple) and value and _are_contents(value) else [value]
        contents = [self._contents(each, uri, having) for each in several]
        content.require_size(contents)
        return {"contents": contents}

    def _contents(self, value: Any, uri: str, having: features.Features) -> dict[str, Any]:
        if isinstance(value, READY):
            return content.without(having.absent_members, value.model_dump(by_alias=True, exclude_none=True))
        if not isinstance(value, ResourceContents):
            value = ResourceContents(value)
        usual, body = self._body(value.value)
        contents = {"uri": value.uri or uri, "mimeType": value.mime_type or self.mime_type or usual, **body}
        if value.meta is not None and "_meta" not in having.absent_members:
            contents["_meta"] = content.plain(value.meta)
        return contents

    def _body(self, value: Any) -> tuple[str, dict[str, str]]:
        """Return the usual MIME type for a value, and the value as text or in base64."""
        if isinstance(value, str):
            return TEXT, {"text": value}
        if isinstance(value, content.Image):
            return value.mime_type, {"blob": base64.b64encode(value.data).decode("ascii")}
        if isinstance(value, bytes | bytearray | memoryview):
            return BINARY, {"blob": base64.b64encode(value).decode("ascii")}
        if self.output is not None:
            return JSON, {"text": self.output.dump(value)[1]}
        return JSON, {"text": content.json_text(value)}


def not_found(uri: str, reason: str = "") -> exceptions.CallFailed:
    """Return the error for a URI that nothing is behind (2025-11-25, Resources, Error Handling)."""
    return exceptions.CallFailed(exceptions.RESOURCE_NOT_FOUND, reason or NOT_FOUND, data={"uri": uri})


NOT_FOUND: Final = "resource not found"


def from_function(
    uri: str,
    function: Callable[..., Any],
    *,
    name: str | None = None,
    title: str | None = None,
    description: str | None = None,
    mime_type: str | None = None,
    annotations: dict[str, Any] | mcp_types.Annotations | None = None,
    icons: Sequence[definitions.IconLike] | None = None,
    size: int | None = None,
    meta: dict[str, Any] | None = None,
    permission_classes: Sequence[Any] = (),
) -> Resource:
    """Build a resource from a function; braces in ``uri`` make it a template.

    Raises:
        TypeError: the function's signature does not suit the URI.
        ValueError: the URI or an option does not fit.
    """
    label = f"resource '{uri}'"
    template = templates.parse(uri, label=label) if templates.is_template(uri) else None
    if not URI.fullmatch(uri if template is None else template.prefix + "x"):
        raise ValueError(f"{label}: it is no URI; begin with a scheme, such as shop://hours or books://{{isbn}}")
    if template is not None and size is not None:
        raise ValueError(f"{label}: size belongs to one resource, and this is a template; leave it out")
    signature = signatures.read(function, label=label)
    docstring = docstrings.parse(getattr(function, "__doc__", None))
    arguments = resource_arguments.build(signature.parameters, docstring.arguments, label=label)
    _check_variables(template, arguments, label)
    return Resource(
        uri=uri,
        template=template,
        name=definitions.name_of(function, name),
        title=title,
        description=docstring.description if description is None else description,
        mime_type=mime_type,
        annotations=definitions.read_annotations(mcp_types.Annotations, annotations, label=label),
        icons=definitions.icons(icons, label=label),
        size=size,
        meta=definitions.json_object(meta, label=label, what="meta"),
        permission_classes=tuple(permission_classes),
        callee=running.Callee.of(
            function, signature, label=label, passing=(*running.PASSING, exceptions.ResourceNotFound)
        ),
        arguments=arguments,
        output=_output(signature.returns, label),
    )


def _check_variables(template: templates.Template | None, arguments: resource_arguments.Arguments, label: str) -> None:
    names = set(template.names) if template is not None else set()
    taken = set(arguments.schema["properties"])
    required = set(arguments.schema.get("required", ()))
    if names - taken:
        raise TypeError(f"{label}: the function does not take {resource_arguments.listed(names - taken)}; add it")
    if required - names:
        raise TypeError(
            f"{label}: the function requires {resource_arguments.listed(required - names)}, which the URI does not "
            "have; put it there in braces, or give it a default"
        )


def _are_contents(values: Sequence[Any]) -> bool:
    return all(isinstance(value, CONTENTS) for value in values)


def _output(annotation: Any, label: str) -> outputs.Output | None:
    """Return how to write a return type that is data; ``None`` for text, bytes and ready contents."""
    if not results.is_data(annotation, UNSTRUCTURED):
        return None
    try:
        return outputs.build(annotation, label=label)
    except TypeError:
        # Without a schema, which nobody publishes here, the value is written as it is.
        return None
