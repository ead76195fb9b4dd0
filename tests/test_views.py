from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import pytest
from django.test import AsyncClient, AsyncRequestFactory, Client
from django.urls import include, path, reverse
from pytest_django import Settings

from streamable_http import views
from streamable_http.protocol import http
from streamable_http.server import MCPServer

urlpatterns = [path("agents/", include("streamable_http.urls"))]

REFUSED: dict[str, Any] = {
    "data": "a=1",
    "content_type": "text/plain",
    "headers": {"mcp-protocol-version": "2025-11-25"},
}
"""A request that gets as far as the endpoint, and no further."""

view = views.MCPView.as_view(server=MCPServer("viewed"))
factory = AsyncRequestFactory()


# In a project


@pytest.fixture
def strict_project(settings: Settings) -> Iterator[None]:
    """A project whose other views are guarded in every way that Django has."""
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    settings.DATABASES["default"]["ATOMIC_REQUESTS"] = True
    yield
    settings.DATABASES["default"]["ATOMIC_REQUESTS"] = False


@pytest.mark.usefixtures("strict_project")
async def test_no_csrf_token_no_login_and_no_transaction_stand_before_the_endpoint() -> None:
    response = await AsyncClient(enforce_csrf_checks=True).post("/agents/mcp", **REFUSED)

    assert response.status_code == 415
    assert response.json()["error"]["message"] == "unsupported media type: text/plain"


@pytest.mark.usefixtures("strict_project", "nothing_behind")
def test_the_same_holds_under_wsgi() -> None:
    response = Client(enforce_csrf_checks=True, headers={"host": "testserver"}).post("/agents/mcp", **REFUSED)

    assert response.status_code == 415
    assert response.json()["error"]["message"] == "unsupported media type: text/plain"


def test_the_route_has_a_name(settings: Settings) -> None:
    settings.ROOT_URLCONF = __name__

    assert reverse("streamable_http:mcp") == "/agents/mcp"


@pytest.mark.parametrize("method", ["put", "head", "trace"])
async def test_methods_are_up_to_the_endpoint(method: str) -> None:
    response = await view(getattr(factory, method)("/mcp"))

    assert response.status_code == 405
    assert response.headers["Allow"] == "POST, GET, DELETE"


# Bodies


@pytest.mark.parametrize("announced", [{}, {"headers": {"content-length": "5"}}])
async def test_a_body_over_the_limit_is_refused_by_what_is_there_of_it(
    settings: Settings, announced: dict[str, Any]
) -> None:
    settings.STREAMABLE_HTTP = {"MAX_BODY_BYTES": 10}

    response = await view(factory.post("/mcp", b"x" * 11, content_type="application/json", **announced))

    assert response.status_code == 413
    assert "Connection" not in response.headers


async def test_an_announced_body_over_the_limit_is_not_read(settings: Settings) -> None:
    settings.STREAMABLE_HTTP = {"MAX_BODY_BYTES": 10}
    request = factory.post("/mcp", b"x" * 11, content_type="application/json")

    response = await view(request)

    assert response.status_code == 413
    assert request._read_started is False


async def test_djangos_own_limit_does_not_count(settings: Settings) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1

    response = await view(factory.post("/mcp", b"[1,]", content_type="application/json"))

    assert response.status_code == 400


async def test_a_body_that_middleware_has_read_is_there_all_the_same() -> None:
    request = factory.post("/mcp", b"[1,]", content_type="application/json")
    assert request.body == b"[1,]"
    response = await view(request)

    assert views._read_body(request, http.Headers([])) == b""
    assert response.status_code == 400


# Responses


def test_django_adds_no_content_type_of_its_own() -> None:
    assert dict(views._native(http.Response(202)).headers) == {"content-length": "0"}
    assert dict(views._native(http.Response(200, {"content-type": "x/y"}, b"z")).headers) == {
        "content-type": "x/y",
        "content-length": "1",
    }


class Source:
    """Chunks, and whether they were closed."""

    def __init__(self) -> None:
        self.is_closed = False

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"chunk"
        finally:
            self.is_closed = True


async def test_a_stream_is_closed_as_soon_as_django_reads_no_more() -> None:
    source = Source()
    response = views._native(http.Response(200, {"content-type": "x/y"}, stream=source.chunks()))

    async with contextlib.aclosing(aiter(response)) as content:
        assert await anext(content) == b"chunk"
        assert not source.is_closed

    assert source.is_closed
    assert dict(response.headers) == {"content-type": "x/y"}


async def test_middleware_may_wrap_a_stream() -> None:
    source = Source()
    response = views._native(http.Response(200, stream=source.chunks()))

    async def louder(chunks):
        async for chunk in chunks:
            yield chunk.upper()

    response.streaming_content = louder(response.streaming_content)
    async with contextlib.aclosing(aiter(response)) as content:
        assert await anext(content) == b"CHUNK"

    assert source.is_closed


async def test_row_39_whoever_takes_nothing_for_too_long_is_dropped(settings: Settings, caplog: Any) -> None:
    settings.STREAMABLE_HTTP = {"SEND_TIMEOUT_SECONDS": 0.01}
    source = Source()

    async def send() -> None:
        async with contextlib.aclosing(views._paced(source.chunks())) as chunks:
            async for _ in chunks:
                await asyncio.Event().wait()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(send())

    assert source.is_closed
    assert "took nothing for 0.01 s" in caplog.text


async def test_a_reader_that_is_quick_enough_is_not_dropped_later(settings: Settings) -> None:
    settings.STREAMABLE_HTTP = {"SEND_TIMEOUT_SECONDS": 0.05}
    async with contextlib.aclosing(views._paced(Source().chunks())) as chunks:
        for _ in range(3):
            assert await anext(chunks) == b"chunk"
    # Longer than the limit: no timer is left behind.
    await asyncio.sleep(0.1)
