"""Tools: functions that a client may call."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import mcp_types
from typing_extensions import TypedDict

from streamable_http.server import arguments as tool_arguments
from streamable_http.server import context, definitions, docstrings, features, outputs, results, running, signatures

NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}", re.ASCII)
"""2025-11-25, Tools, Tool Names."""

OnWorkerLoss = Literal["fail", "rerun"]

RunSync = running.RunSync


class Options(TypedDict, total=False):
    """What can be said about a tool; see :meth:`MCPServer.add_tool`."""

    # What clients see
    title: str | None
    description: str | None
    annotations: dict[str, Any] | mcp_types.ToolAnnotations | None
    icons: Sequence[definitions.IconLike] | None
    meta: dict[str, Any] | None
    input_schema: dict[str, Any] | None
    output_schema: dict[str, Any] | None

    # What the server does
    structured_output: bool | None
    on_worker_loss: OnWorkerLoss
    permission_classes: Sequence[Any]
    throttle_classes: Sequence[Any]
    atomic: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One tool. Made by :func:`from_function`; unchangeable, so that calls share it freely."""

    name: str
    title: str | None
    description: str
    annotations: mcp_types.ToolAnnotations
    on_worker_loss: OnWorkerLoss
    """What happens to a call whose worker died: it fails, or another worker runs it again, at most once."""

    function: Callable[..., Any]
    is_async: bool
    context_name: str | None
    """The parameter that takes the context."""

    arguments: tool_arguments.Arguments
    input_schema: dict[str, Any]
    """What is published; the user's own, where there is one."""

    output: outputs.Output | None
    """``None`` where the output is not structured."""

    icons: list[dict[str, Any]]
    meta: dict[str, Any] | None
    permission_classes: tuple[Any, ...]
    throttle_classes: tuple[Any, ...]
    atomic: bool
    """A call is one database transaction, which is rolled back when the function raises."""

    @property
    def may_start_early(self) -> bool:
        """Whether it does no harm when a call ran that nobody knows of."""
        return bool(self.annotations.read_only_hint or self.annotations.idempotent_hint)

    @property
    def may_rerun(self) -> bool:
        """Whether another worker may run a call again."""
        return self.on_worker_loss == "rerun"

    def definition(self, having: features.Features) -> dict[str, Any]:
        """Return the tool as ``tools/list`` shows it."""
        hints = self.annotations.model_dump(by_alias=True, exclude_none=True)
        if self.title is not None and not having.titles:
            # Without a title of its own, the one among the annotations is there for it.
            hints.setdefault("title", self.title)
        definition = definitions.make(
            having,
            {
                "name": self.name,
                "title": self.title,
                "description": self.description,
                "outputSchema": None if self.output is None else self.output.schema,
                "annotations": hints,
                "icons": self.icons,
                "_meta": self.meta,
            },
        )
        # Also an empty one: it is required.
        return {**definition, "inputSchema": self.input_schema}

    async def call(self, arguments: dict[str, Any], ctx: context.Context, run_sync: RunSync) -> dict[str, Any]:
        """Run the function and return the ``result`` of the call; what went wrong is in it.

        Raises:
            CallFailed: the tool ends the call with a JSON-RPC error.
            CallCancelled: the call is over.
        """
        try:
            if self.is_async:
                value = await self.function(**self._bind(arguments, ctx))
                return results.success(value, self.output, ctx.features)
            return await run_sync(functools.partial(self._call_blocking, arguments, ctx))  # type: ignore[no-any-return]
        except BaseException as error:
            if results.is_closing(error):
                raise
            return results.failure(self.name, error)

    def _call_blocking(self, arguments: dict[str, Any], ctx: context.Context) -> dict[str, Any]:
        """Do all of a sync tool's call on its thread.

        Reading the result may touch the database, and an executor cannot hand over every exception
        (``StopIteration`` would hang the caller).
        """
        try:
            with ctx.transaction() if self.atomic else _NO_TRANSACTION:
                value = self.function(**self._bind(arguments, ctx.to_sync()))
                return results.success(value, self.output, ctx.features)
        except BaseException as error:
            return results.failure(self.name, error)

    def _bind(self, arguments: dict[str, Any], ctx: context.Context | context.SyncContext) -> dict[str, Any]:
        bound = self.arguments.validate(arguments)
        if self.context_name is not None:
            bound[self.context_name] = ctx
        return bound


_NO_TRANSACTION: Final = contextlib.nullcontext()


def from_function(
    function: Callable[..., Any],
    *,
    # What clients see
    name: str | None = None,
    title: str | None = None,
    description: str | None = None,
    annotations: dict[str, Any] | mcp_types.ToolAnnotations | None = None,
    icons: Sequence[definitions.IconLike] | None = None,
    meta: dict[str, Any] | None = None,
    input_schema: dict[str, Any] | None = None,
    output_schema: dict[str, Any] | None = None,
    # What the server does
    structured_output: bool | None = None,
    on_worker_loss: OnWorkerLoss = "fail",
    permission_classes: Sequence[Any] = (),
    throttle_classes: Sequence[Any] = (),
    atomic: bool | None = None,
    default_atomic: bool = False,
) -> Tool:
    """Build a tool from a function: its schemas from the type hints, its words from the docstring.

    Raises:
        TypeError: the function's signature does not suit a tool.
        ValueError: a name or an option that does not fit.
    """
    name = _name(function, name)
    label = f"tool '{name}'"
    hints = definitions.read_annotations(mcp_types.ToolAnnotations, annotations, label=label)
    _check_worker_loss(on_worker_loss, hints, label)
    signature = signatures.read(function, label=label)
    docstring = docstrings.parse(getattr(function, "__doc__", None))
    arguments = tool_arguments.build(signature.parameters, docstring.arguments, label=label)
    own_input = definitions.json_object(input_schema, label=label, what="input_schema")
    if own_input is not None:
        tool_arguments.check_input_schema(own_input, arguments, label=label)
    own_output = definitions.json_object(output_schema, label=label, what="output_schema")
    return Tool(
        name=name,
        title=title,
        description=docstring.description if description is None else description,
        annotations=hints,
        on_worker_loss=on_worker_loss,
        function=function,
        is_async=signature.is_async,
        context_name=signature.context_name,
        arguments=arguments,
        input_schema=arguments.schema if own_input is None else own_input,
        output=results.output_of(signature.returns, structured_output, own_output, label=label),
        icons=definitions.icons(icons, label=label),
        meta=definitions.json_object(meta, label=label, what="meta"),
        permission_classes=tuple(permission_classes),
        throttle_classes=tuple(throttle_classes),
        atomic=_atomic(atomic, default_atomic, is_async=signature.is_async, label=label),
    )


def _atomic(atomic: bool | None, default: bool, *, is_async: bool, label: str) -> bool:
    if is_async and atomic:
        raise TypeError(
            f"{label}: atomic=True needs a sync function, for Django's transactions belong to a thread; write it with "
            "def, or open the transaction in a function that you call by sync_to_async"
        )
    return default and not is_async if atomic is None else atomic


def _name(function: Callable[..., Any], name: str | None) -> str:
    name = definitions.name_of(function, name)
    if not NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot name a tool; use 1 to 128 letters, digits, '_', '-' and '.', or give another name="
        )
    return name


def _check_worker_loss(on_worker_loss: str, annotations: mcp_types.ToolAnnotations, label: str) -> None:
    if on_worker_loss not in ("fail", "rerun"):
        raise ValueError(f"{label}: on_worker_loss is 'fail' or 'rerun', not {on_worker_loss!r}")
    if on_worker_loss == "rerun" and not annotations.idempotent_hint:
        raise ValueError(
            f"{label}: on_worker_loss='rerun' runs a call a second time when its worker died, which is safe only for "
            "a tool that may run twice; add annotations={'idempotentHint': True} if it is one, or leave the option out"
        )
