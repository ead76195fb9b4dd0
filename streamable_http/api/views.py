"""The resources. A project that wants something else subclasses a view and routes it itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from django.http import Http404, StreamingHttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.renderers import OpenApiJsonRenderer, OpenApiYamlRenderer
from drf_spectacular.types import OpenApiTypes
from rest_framework.decorators import action
from rest_framework.exceptions import NotAcceptable, NotFound, ValidationError
from rest_framework.permissions import IsAdminUser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.viewsets import ViewSet

from streamable_http import models, operations, replay, shells, streaming
from streamable_http.api import (
    exceptions,
    fields,
    pagination,
    parsers,
    permissions,
    renderers,
    schema,
    serializers,
)
from streamable_http.operations.permissions import PURGE, REPLAY, RESEND, TERMINATE, VIEW_SESSIONS
from streamable_http.replay import paging
from streamable_http.tables import rows_of


class OperatorViewSet(ViewSet):
    """What the views share. Authentication and throttles are the project's own, as DRF has them."""

    permission_classes = [IsAdminUser, permissions.HasRights]
    renderer_classes = [renderers.JSON]
    parser_classes = [parsers.JSONParser]
    schema = AutoSchema()
    lookup_url_kwarg = "id"
    lookup_value_regex = "[^/]+"

    rights: ClassVar[dict[str, tuple[str, ...]]] = {}
    """By action: the Django permissions that it takes."""

    renderers_by_action: ClassVar[dict[str, list[type[BaseRenderer]]]] = {}
    """For actions that do not answer by JSON."""

    @classmethod
    def as_view(cls, actions: Any = None, **initkwargs: Any) -> Callable[..., HttpResponseBase]:  # type: ignore[override]
        """Return the view, never in a transaction of the whole request (ATOMIC_REQUESTS).

        A request that is sent again is written by another thread, which on SQLite would wait for its end.
        """
        return shells.outside_transactions(super().as_view(actions, **initkwargs))

    def initialize_request(self, request: Any, *args: Any, **kwargs: Any) -> Request:
        """Read the URL as UTF-8, whatever charset the body claims to have."""
        request.encoding = "utf-8"
        return super().initialize_request(request, *args, **kwargs)

    def get_renderers(self) -> list[Any]:
        """Return how the action may answer."""
        # There is no action where the method is not allowed.
        classes = self.renderers_by_action.get(self.action or "", self.renderer_classes)
        return [each() for each in classes]

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """Choose a renderer; an ``Accept`` that cannot be read accepts nothing, nor does an unknown ``format``."""
        # A method that is not allowed is told so, whatever it accepts.
        force = force or self.action is None
        if not force and request.query_params.get(api_settings.URL_FORMAT_OVERRIDE or "") == "":
            # DRF takes it for none.
            raise NotAcceptable
        try:
            return super().perform_content_negotiation(request, force)
        except (Http404, LookupError, ValueError) as error:
            raise NotAcceptable from error

    def handle_exception(self, exc: Exception) -> Response:
        """Answer an error, by JSON whatever was asked for."""
        if isinstance(exc, exceptions.OUTAGES):
            exc = exceptions.Unavailable()
        self.request.accepted_renderer = renderers.JSON()
        self.request.accepted_media_type = renderers.JSON.media_type
        return super().handle_exception(exc)

    @property
    def sees_payloads(self) -> bool:
        """Whether what was said may be in the answer."""
        return permissions.sees_payloads(self.request)


class SessionViewSet(OperatorViewSet):
    """Sessions."""

    rights = {
        "list": (VIEW_SESSIONS,),
        "retrieve": (VIEW_SESSIONS,),
        "events": (VIEW_SESSIONS,),
        "recent": (VIEW_SESSIONS,),
        "export": (VIEW_SESSIONS, REPLAY),
        "terminate": (VIEW_SESSIONS, TERMINATE),
        "destroy": (VIEW_SESSIONS, PURGE),
    }
    renderers_by_action = {"export": [renderers.JSONLines]}

    @schema.described("sessions_list", query=serializers.SessionQuery, answer=serializers.SessionPage, has_id=False)
    def list(self, request: Request) -> Response:
        """List sessions, the newest first.

        A page may hold less than fits, even nothing, while `next` says that there are others.
        """
        asked = serializers.SessionQuery.read(request)
        filters = {"state": asked["state"], "server": asked["server"], "principal": asked["principal"]}
        page = pagination.KeysetPage(
            operations.find_sessions(**filters, text=asked["q"]),
            before=asked["cursor"],
            limit=asked["limit"],
            # An id is found by the key, however old it is.
            is_scan=any(filters.values()) or (bool(asked["q"]) and not fields.is_id(asked["q"])),
        )
        return Response({"next": _link_behind(request, page.next), "results": self._show(page.rows)})

    @schema.described("sessions_retrieve", answer=serializers.SessionAnswer)
    def retrieve(self, request: Request, id: str) -> Response:
        """Show a session."""
        return Response(self._show([_session(id)])[0])

    @schema.described("sessions_events", query=serializers.TimelineQuery, answer=serializers.TimelinePage)
    @action(detail=True)
    def events(self, request: Request, id: str) -> Response:
        """Show a page of a session's timeline, both directions.

        With a filter a page may hold little, even nothing, and others behind it more.
        """
        asked = serializers.TimelineQuery.read(request)
        filters = replay.Filters(
            direction=replay.Direction(asked["direction"]) if asked["direction"] else None,
            method=asked["method"],
            stream_id=asked["stream"],
            errors=asked["errors"],
            text=asked["text"],
        )
        with exceptions.not_found():
            try:
                page = replay.session_timeline(
                    fields.parse_id(id), asked["cursor"], filters=filters, with_payloads=self.sees_payloads
                )
            except ValueError as error:
                raise ValidationError({"cursor": [str(error)]}) from error
        return Response(
            {
                "previous": pagination.link(request, cursor=page.earlier),
                "next": pagination.link(request, cursor=page.later),
                "lanes": serializers.LaneAnswer.show(page.lanes, with_payloads=False),
                "results": self._show_entries(page.entries),
            }
        )

    @schema.described("sessions_recent", query=serializers.RecentQuery, answer=serializers.RecentPage)
    @action(detail=True)
    def recent(self, request: Request, id: str) -> Response:
        """Show what happened since a time, at most the newest 1,000 entries of the last hour; and when to ask next.

        Two answers overlap by some seconds: drop repeats by `key`.
        """
        asked = serializers.RecentQuery.read(request)
        session = _session(id)
        news = replay.recent(session.pk, asked["since"], with_payloads=self.sees_payloads)
        shown = self._show_entries(news.entries)
        return Response({"since": news.until, "is_cut": news.is_cut, "results": shown})

    @schema.described(
        "sessions_export", streamed=[renderers.JSONLines], answer="An object a line; each says its `type`."
    )
    @action(detail=True)
    def export(self, request: Request, id: str) -> StreamingHttpResponse:
        """Download a session with all that was recorded of it, as JSON lines."""
        session = _session(id)
        with exceptions.not_found():
            lines = replay.as_json_lines(session_id=session.pk, with_payloads=self.sees_payloads)
            return streaming.download_lines(request, lines, f"session-{session}.jsonl")

    @schema.described(
        "sessions_terminate", body=serializers.Reason, answer=serializers.SessionAnswer, may_conflict=True
    )
    @action(detail=True, methods=["post"])
    def terminate(self, request: Request, id: str) -> Response:
        """End a session and its calls, as its client's DELETE would."""
        reason = serializers.Reason.read(request)["reason"]
        with exceptions.not_found():
            if not operations.terminate_session(fields.parse_id(id), user=request.user, reason=reason):
                raise exceptions.Conflict("The session is over already.")
        return self.retrieve(request, id)

    @schema.described("sessions_destroy", query=serializers.ReasonQuery, answer=None, status=204, may_conflict=True)
    def destroy(self, request: Request, id: str) -> Response:
        """Delete a session that is over, with all that was recorded of it."""
        reason = serializers.ReasonQuery.read(request)["reason"]
        with exceptions.not_found():
            if not operations.purge_session(fields.parse_id(id), user=request.user, reason=reason):
                raise exceptions.Conflict("The session is still open; terminate it first.")
        return Response(status=204)

    def _show(self, sessions: Any) -> Any:
        summaries = operations.summarize([session.pk for session in sessions])
        return serializers.SessionAnswer.show(sessions, with_payloads=self.sees_payloads, summaries=summaries)

    def _show_entries(self, entries: Any) -> Any:
        return serializers.EntryAnswer.show(entries, with_payloads=self.sees_payloads)


class StreamViewSet(OperatorViewSet):
    """Streams, with a session or without."""

    rights = {
        "list": (VIEW_SESSIONS,),
        "retrieve": (VIEW_SESSIONS,),
        "events": (VIEW_SESSIONS,),
        "replay": (VIEW_SESSIONS, REPLAY),
        "export": (VIEW_SESSIONS, REPLAY),
        "resume": (VIEW_SESSIONS, REPLAY),
        "review": (VIEW_SESSIONS, RESEND),
        "resend": (VIEW_SESSIONS, RESEND),
        "close": (VIEW_SESSIONS, TERMINATE),
        "cancel": (VIEW_SESSIONS, TERMINATE),
    }
    renderers_by_action = {
        "replay": [renderers.JSONLines, renderers.ServerSentEvents],
        "export": [renderers.JSONLines],
    }

    @schema.described("streams_list", query=serializers.StreamQuery, answer=serializers.StreamPage, has_id=False)
    def list(self, request: Request) -> Response:
        """List streams, the newest first.

        A page may hold less than fits, even nothing, while `next` says that there are others.
        """
        asked = serializers.StreamQuery.read(request)
        exact = {name: asked[name] for name in ("state", "outcome", "method", "name")}
        is_filtered = any(exact.values()) or asked["sessionless"] is not None or bool(asked["q"])
        streams = operations.find_streams(
            session_id=asked["session"], sessionless=asked["sessionless"], **exact, text=asked["q"]
        )
        page = pagination.KeysetPage(
            streams,
            before=asked["cursor"],
            limit=asked["limit"],
            is_scan=is_filtered and asked["session"] is None and not operations.is_stream_id(asked["q"]),
        )
        shown = serializers.StreamSummaryAnswer.show(page.rows, with_payloads=self.sees_payloads)
        return Response({"next": _link_behind(request, page.next), "results": shown})

    @schema.described("streams_retrieve", answer=serializers.StreamAnswer)
    def retrieve(self, request: Request, id: str) -> Response:
        """Show a stream."""
        stream = _streams().select_related("owner").filter(pk=fields.parse_id(id)).first()
        if stream is None:
            raise NotFound
        return Response(serializers.StreamAnswer.show(stream, with_payloads=self.sees_payloads))

    @schema.described("streams_events", query=serializers.EventsQuery, answer=serializers.EventPage)
    @action(detail=True)
    def events(self, request: Request, id: str) -> Response:
        """Show a page of a stream: the request that opened it, its events behind `after`, asks and their replies."""
        asked = serializers.EventsQuery.read(request)
        with exceptions.not_found():
            page = replay.stream_timeline(
                fields.parse_id(id), asked["after"], limit=asked["limit"], with_payloads=self.sees_payloads
            )
        shown = serializers.EntryAnswer.show(page.entries, with_payloads=self.sees_payloads)
        return Response({"next": pagination.link(request, after=page.later), "results": shown})

    @schema.described(
        "streams_replay",
        query=serializers.ReplayQuery,
        streamed=[renderers.JSONLines, renderers.ServerSentEvents],
        answer="The entries, an object a line; or the events as a client got them.",
    )
    @action(detail=True)
    def replay(self, request: Request, id: str) -> StreamingHttpResponse:
        """Play a stream again, at the pace of then or faster.

        `Accept: text/event-stream` or `?format=sse`: the events as they went over the wire, redacted; without
        `view_payload` each is empty. Otherwise JSON lines: the entries of both directions.
        """
        asked = serializers.ReplayQuery.read(request)
        stream_id = fields.parse_id(id)
        entries = _entries(stream_id, asked["after"], with_payloads=self.sees_payloads)
        media_type: str = request.accepted_renderer.media_type
        if media_type == renderers.ServerSentEvents.media_type:
            entries, write = _events_only(entries), _event
        else:
            write = _Line(with_payloads=self.sees_payloads)
        pieces = ((pause, write(entry)) for pause, entry in replay.paced(entries, asked["speed"]))
        with exceptions.not_found():
            return streaming.response(request, pieces, media_type)

    @schema.described(
        "streams_export", streamed=[renderers.JSONLines], answer="An object a line; each says its `type`."
    )
    @action(detail=True)
    def export(self, request: Request, id: str) -> StreamingHttpResponse:
        """Download a stream with all that was recorded of it, as JSON lines."""
        stream_id = fields.parse_id(id)
        with exceptions.not_found():
            lines = replay.as_json_lines(stream_id=stream_id, with_payloads=self.sees_payloads)
            return streaming.download_lines(request, lines, f"stream-{stream_id:x}.jsonl")

    @schema.described("streams_resume", query=serializers.AfterQuery, answer=serializers.PreviewAnswer)
    @action(detail=True)
    def resume(self, request: Request, id: str) -> Response:
        """Show what a client would get now that resumes behind `after`."""
        after = serializers.AfterQuery.read(request)["after"]
        with exceptions.not_found():
            preview = replay.preview(fields.parse_id(id), after, with_payloads=self.sees_payloads)
        return Response(serializers.PreviewAnswer.show(preview, with_payloads=self.sees_payloads))

    @schema.described("streams_review", answer=serializers.ResendAnswer)
    @action(detail=True, url_path="resend")
    def review(self, request: Request, id: str) -> Response:
        """Show what sending the request again would do."""
        with exceptions.not_found():
            return self._show_resend(operations.review(fields.parse_id(id)))

    @schema.described(
        "streams_resend",
        body=serializers.Confirmation,
        answer=serializers.ResendAnswer,
        may_conflict=True,
        may_time_out=True,
    )
    @review.mapping.post
    def resend(self, request: Request, id: str) -> Response:
        """Send the request again, for real, as yourself; with `confirm` where there are warnings.

        A call that takes longer than 60 s is cancelled.
        """
        asked = serializers.Confirmation.read(request)
        stream_id = fields.parse_id(id)
        with exceptions.not_found():
            reviewed = operations.review(stream_id)
            if reviewed.refusal:
                raise exceptions.Conflict(reviewed.refusal)
            if reviewed.warnings and not asked["confirm"]:
                raise exceptions.Conflict("Read the warnings and confirm.", warnings=reviewed.warnings)
            try:
                sent = operations.resend(stream_id, user=request.user, reason=asked["reason"])
            except ValueError as error:
                raise exceptions.Conflict(str(error)) from error
            except operations.ResendTimeout as error:
                raise exceptions.TimedOut(error) from error
        return self._show_resend(sent)

    @schema.described("streams_close", body=serializers.Reason, answer=serializers.StreamAnswer, may_conflict=True)
    @action(detail=True, methods=["post"])
    def close(self, request: Request, id: str) -> Response:
        """Close the connection that follows a stream; its client may come again with its cursor."""
        reason = serializers.Reason.read(request)["reason"]
        with exceptions.not_found():
            if not operations.close_stream(fields.parse_id(id), user=request.user, reason=reason):
                raise exceptions.Conflict("No connection follows the stream.")
        return self.retrieve(request, id)

    @schema.described("streams_cancel", body=serializers.Reason, answer=serializers.StreamAnswer, may_conflict=True)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, id: str) -> Response:
        """Cancel the call of an open stream."""
        reason = serializers.Reason.read(request)["reason"]
        with exceptions.not_found():
            if not operations.cancel_call(fields.parse_id(id), user=request.user, reason=reason):
                raise exceptions.Conflict("The call has ended already.")
        return self.retrieve(request, id)

    def _show_resend(self, value: operations.Resend) -> Response:
        return Response(serializers.ResendAnswer.show(value, with_payloads=self.sees_payloads))


class WorkerViewSet(OperatorViewSet):
    """Server processes."""

    rights = {"list": (VIEW_SESSIONS,)}

    @schema.described("workers_list", answer=serializers.WorkerList, has_id=False)
    def list(self, request: Request) -> Response:
        """List the workers that are known, those that ended lately too."""
        return Response({"results": serializers.WorkerAnswer.show(operations.workers(), with_payloads=False)})


class StatisticsViewSet(OperatorViewSet):
    """Figures."""

    rights = {"list": (VIEW_SESSIONS,)}

    @schema.described(
        "statistics", query=serializers.StatisticsQuery, answer=serializers.StatisticsAnswer, has_id=False
    )
    def list(self, request: Request) -> Response:
        """Show the figures of a time range up to now."""
        seconds = serializers.StatisticsQuery.read(request)["seconds"]
        return Response(serializers.StatisticsAnswer.show(operations.statistics(seconds), with_payloads=False))


class SchemaViewSet(OperatorViewSet):
    """OpenAPI."""

    rights = {"list": ()}
    renderer_classes = [OpenApiYamlRenderer, OpenApiJsonRenderer, renderers.JSON]

    urlconf = "streamable_http.api.urls"
    """Whose routes are described."""

    @schema.described("schema", answer=OpenApiTypes.OBJECT, has_id=False)
    def list(self, request: Request) -> Response:
        """Show this schema; YAML unless JSON is asked for."""
        return Response(_generator(self.urlconf).get_schema(request=request, public=True))


class UnknownViewSet(OperatorViewSet):
    """What is not here, as the rest of the API says it."""

    rights = {"list": ()}
    schema = None  # type: ignore[assignment]  # DRF's word for leaving a view out

    def list(self, request: Request, **ignored: str) -> Response:
        """Answer 404."""
        raise NotFound


def _generator(urlconf: str) -> schema.Generator:
    return schema.Generator(urlconf=urlconf)  # type: ignore[no-untyped-call]


# Rows


def _session(id: str) -> models.Session:
    session = rows_of(models.Session).filter(pk=fields.parse_id(id)).first()
    if session is None:
        raise NotFound
    return session


def _streams() -> Any:
    return rows_of(models.Stream)


def _link_behind(request: Request, cursor: int | None) -> str | None:
    return pagination.link(request, cursor=None if cursor is None else f"{cursor:x}")


# Streamed answers


def _entries(stream_id: int, after: int, *, with_payloads: bool) -> Iterator[replay.Entry]:
    return itertools.chain.from_iterable(paging.of_stream(stream_id, after, with_payloads=with_payloads))


def _events_only(entries: Iterator[replay.Entry]) -> Iterator[replay.Entry]:
    return (entry for entry in entries if entry.sequence is not None)


def _event(entry: replay.Entry) -> bytes:
    assert entry.stream_id is not None
    assert entry.sequence is not None
    # Empty for those who may not see what was said.
    return replay.sse_event(entry.stream_id, entry.sequence, entry.payload or "")


class _Line:
    """Writes entries as JSON lines."""

    def __init__(self, *, with_payloads: bool) -> None:
        self._with_payloads = with_payloads
        self._renderer = renderers.JSON()

    def __call__(self, entry: replay.Entry) -> bytes:
        shown = serializers.EntryAnswer.show(entry, with_payloads=self._with_payloads)
        return bytes(self._renderer.render(shown)) + b"\n"
