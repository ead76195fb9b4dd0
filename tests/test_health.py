"""What load balancers ask: on real databases, under ASGI and WSGI, by anybody and by the staff."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth import get_user_model
from django.db import connections
from django.http import HttpResponse
from django.test import AsyncClient, AsyncRequestFactory, Client, RequestFactory
from django.urls import include, path, reverse
from pytest_django import DjangoDbBlocker, Settings

from streamable_http import exceptions, health
from streamable_http.delivery import engine as engines
from streamable_http.stores.base import Status
from streamable_http.stores.memory import MemoryStore
from tests import services
from tests.delivery.conftest import with_memory
from tests.services import OwnService

urlpatterns = [path("agents/", include("streamable_http.urls"))]

live = health.HealthView.as_view(probe="live")
ready = health.HealthView.as_view()
factory = AsyncRequestFactory()


class Failing(MemoryStore):
    """A store whose database is gone."""

    def poll(self, stream_ids: Any) -> dict[int, Status]:
        raise exceptions.StoreUnavailable("the password of library is wrong")


class Hanging(MemoryStore):
    """A store whose database answers when it is told to."""

    told = threading.Event()
    asked = 0

    def poll(self, stream_ids: Any) -> dict[int, Status]:
        type(self).asked += 1
        self.told.wait(60)
        return {}


def with_store(settings: Settings, store: type[MemoryStore]) -> None:
    with_memory(settings, STORE={"BACKEND": f"{__name__}.{store.__name__}"})


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    """Each test asks the store itself, and leaves no thread."""
    health._forget()
    yield
    Hanging.told.set()
    for thread in threading.enumerate():
        if thread.name == "streamable-http-health":
            thread.join()
    Hanging.told.clear()
    Hanging.asked = 0


@pytest.fixture
async def core(settings: Settings) -> Any:
    """The started engine of this process, on a store in memory."""
    with_memory(settings)
    running = engines.current()
    await running.start()
    yield running
    await running.stop()
    engines._engine = None


async def asked(view: Any = ready, method: str = "get") -> HttpResponse:
    response = await view(getattr(factory, method)("/readyz"))
    assert isinstance(response, HttpResponse)
    return response


# What anybody is told


@pytest.mark.usefixtures("log_alias")
async def test_a_worker_that_has_served_nothing_is_ready_when_its_database_answers() -> None:
    response = await asked()

    assert (response.status_code, response.content) == (200, b'{"status": "ok"}')
    assert response.headers["Cache-Control"] == "no-store"
    assert engines.running() is None


async def test_it_is_not_ready_without_its_store_and_says_nothing_of_why(settings: Settings) -> None:
    with_store(settings, Failing)

    response = await asked()

    assert (response.status_code, response.content) == (503, b'{"status": "unavailable"}')


async def test_it_lives_nevertheless_and_asks_nothing(settings: Settings) -> None:
    with_store(settings, Hanging)

    response = await asked(live)

    assert (response.status_code, response.content) == (200, b'{"status": "ok"}')
    assert Hanging.asked == 0


async def test_a_store_that_hangs_is_waited_for_only_so_long_and_by_one_thread(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(health, "FRESH_SECONDS", 0.0)
    with_store(settings, Hanging)

    statuses = [(await asked()).status_code for _ in range(3)]

    assert statuses == [503, 503, 503]
    assert Hanging.asked == 1


async def test_the_stores_answer_holds_for_a_while(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "FRESH_SECONDS", 600.0)
    Hanging.told.set()
    with_store(settings, Hanging)

    statuses = [(await asked()).status_code for _ in range(3)]

    assert statuses == [200, 200, 200]
    assert Hanging.asked == 1


@pytest.mark.parametrize("method", ["head", "get"])
async def test_get_and_head_are_answered(method: str, settings: Settings) -> None:
    with_memory(settings)

    assert (await asked(method=method)).status_code == 200


async def test_other_methods_are_not() -> None:
    assert (await asked(method="post")).status_code == 405


def test_it_follows_a_real_database_that_goes_and_comes_back(
    own_postgres: OwnService, settings: Settings, django_db_blocker: DjangoDbBlocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = async_to_sync(asked)
    monkeypatch.setattr(health, "FRESH_SECONDS", 0.0)
    settings.STREAMABLE_HTTP = {"DATABASE": "log"}
    with django_db_blocker.unblock(), services.django_alias(own_postgres.url, alias="log"):
        connections["log"].close()
        statuses = [ask().status_code]
        own_postgres.stop()
        statuses.append(ask().status_code)
        own_postgres.start()
        statuses.append(ask().status_code)

    assert statuses == [200, 503, 200]


# The worker


async def test_a_running_worker_is_ready_until_it_ends(core: engines.Engine) -> None:
    before = await asked()
    await core.drain()
    after = await asked()

    assert (before.status_code, after.status_code) == (200, 503)
    assert (await asked(live)).status_code == 200


async def test_a_worker_without_its_lease_is_not_ready(core: engines.Engine) -> None:
    core.lease._renewed_at = float("-inf")

    assert (await asked()).status_code == 503
    # Looking has no consequences.
    assert not core.lease._has_refused


# Who is told more


@pytest.fixture
def mounted(settings: Settings) -> None:
    """A project that asks for a login and wraps requests in transactions everywhere else."""
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]


def logged_in(*, is_staff: bool) -> Client:
    user = get_user_model().objects.create_user("somebody", is_staff=is_staff)
    client = Client()
    client.force_login(user)
    return client


@pytest.mark.usefixtures("mounted")
@pytest.mark.django_db(transaction=True)
def test_the_staff_is_told_of_the_store_and_the_worker() -> None:
    answer = logged_in(is_staff=True).get("/agents/readyz").json()

    assert answer["status"] == "ok"
    assert answer["store"]["status"] == "ok"
    assert 0 <= answer["store"]["seconds"] < 2
    assert answer["worker"] is None


@pytest.mark.usefixtures("mounted")
@pytest.mark.django_db(transaction=True)
def test_the_staff_is_told_that_the_store_fails_and_no_secrets(settings: Settings) -> None:
    client = logged_in(is_staff=True)
    with_store(settings, Failing)

    response = client.get("/agents/readyz")

    assert response.status_code == 503
    assert response.json()["store"]["status"] == "unavailable"
    assert "password" not in response.text


@pytest.mark.usefixtures("mounted")
@pytest.mark.django_db(transaction=True)
def test_other_users_are_told_no_more_than_anybody() -> None:
    assert logged_in(is_staff=False).get("/agents/readyz").json() == {"status": "ok"}


@pytest.mark.usefixtures("mounted")
@pytest.mark.django_db(transaction=True)
async def test_a_forged_session_is_nobodys() -> None:
    client = AsyncClient()
    client.cookies["sessionid"] = "0" * 32

    assert (await client.get("/agents/readyz")).json() == {"status": "ok"}

    # The session was looked for in the thread of async views, which no request closes here.
    await sync_to_async(connections.close_all)()


async def test_the_staff_is_told_of_a_running_worker(core: engines.Engine) -> None:
    request = factory.get("/readyz")
    request.COOKIES["sessionid"] = "any"

    async def auser() -> Any:
        return get_user_model()(is_staff=True, is_active=True)

    request.auser = auser
    response = await ready(request)

    assert b'"has_lease": true' in response.content
    assert f'"id": "{core.lease.worker_id:x}"'.encode() in response.content


def test_it_answers_under_wsgi(settings: Settings) -> None:
    with_memory(settings)
    settings.ROOT_URLCONF = __name__

    assert Client().get("/agents/readyz").json() == {"status": "ok"}
    assert Client().get("/agents/livez").json() == {"status": "ok"}
    assert RequestFactory().get(reverse("streamable_http:readyz")).path == "/agents/readyz"
