"""User functions that are no tools: what they raise becomes a JSON-RPC error.

A tool tells of its failure in its result; resources, prompts and completions have no such place.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from streamable_http import exceptions
from streamable_http.server import context, results, signatures

logger = logging.getLogger(__name__)

RunSync = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs a blocking function elsewhere and returns what it returns; the endpoint's thread pool."""

PASSING: Final = (
    exceptions.ProtocolError,
    exceptions.CallCancelled,
    asyncio.CancelledError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Callee:
    """A user's function, and how to call it."""

    label: str
    """What it is, in errors and logs."""

    function: Callable[..., Any]
    is_async: bool
    context_name: str | None
    """The parameter that takes the context."""

    passing: tuple[type[BaseException], ...] = PASSING
    """What the caller of the function deals with."""

    @classmethod
    def of(
        cls,
        function: Callable[..., Any],
        signature: signatures.Signature,
        *,
        label: str,
        passing: tuple[type[BaseException], ...] = PASSING,
    ) -> Callee:
        """Return how to call a function, by its signature."""
        return cls(
            label=label,
            function=function,
            is_async=signature.is_async,
            context_name=signature.context_name,
            passing=passing,
        )

    async def call(
        self,
        bound: dict[str, Any],
        ctx: context.Context,
        run_sync: RunSync,
        read: Callable[[Any], dict[str, Any]],
    ) -> dict[str, Any]:
        """Run the function and return what ``read`` makes of its value, all on the function's thread.

        Raises:
            ProtocolError: the function ends the call so, or failed.
            CallCancelled: the call is over.
        """
        try:
            if self.is_async:
                return read(await self.function(**self._with(bound, ctx)))
            return await run_sync(functools.partial(self._call_blocking, bound, ctx, read))  # type: ignore[no-any-return]
        except BaseException as error:
            if results.is_closing(error):
                raise
            self._fail(error)

    def _call_blocking(
        self, bound: dict[str, Any], ctx: context.Context, read: Callable[[Any], dict[str, Any]]
    ) -> dict[str, Any]:
        try:
            return read(self.function(**self._with(bound, ctx.to_sync())))
        except BaseException as error:
            # An executor cannot hand over every exception: StopIteration would hang the caller.
            self._fail(error)

    def _with(self, bound: dict[str, Any], ctx: context.Context | context.SyncContext) -> dict[str, Any]:
        return bound if self.context_name is None else {**bound, self.context_name: ctx}

    def _fail(self, error: BaseException) -> NoReturn:
        """Raise what the client may see: never the text of an unexpected error, which may hold anything."""
        error = results.unwrapped(error)
        if isinstance(error, self.passing):
            raise error
        if isinstance(error, results.TELLING):
            raise exceptions.CallFailed(exceptions.INTERNAL_ERROR, str(error) or f"{self.label} failed") from error
        logger.error("%s failed", self.label, exc_info=error)
        raise exceptions.CallFailed(exceptions.INTERNAL_ERROR, f"{self.label} failed: internal error") from error
