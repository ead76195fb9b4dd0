"""Principals, permissions and throttles by Django REST framework's classes."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db import connections
from django.http import Http404
from django_redis.cache import RedisCache
from pytest_django import Settings
from rest_framework import exceptions as drf
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission, IsAuthenticated
from rest_framework.throttling import BaseThrottle, SimpleRateThrottle

from streamable_http import authentication, exceptions
from streamable_http.delivery import engine as engines
from streamable_http.endpoint import principals
from streamable_http.protocol import http
from streamable_http.server import MCPServer
from tests.delivery.conftest import with_memory
from tests.endpoint.client import Client, messages

HERE = "tests.test_authentication"


class User:
    """A user with just what is looked at."""

    is_authenticated = True

    def __init__(self, name: str | None) -> None:
        self.pk = name


class ByHeader(BaseAuthentication):
    """The header is the user's name, or the error to raise."""

    asked = 0

    def authenticate(self, request: Any) -> tuple[User, str] | None:
        ByHeader.asked += 1
        name = request.headers.get("Authorization")
        if name is None:
            return None
        if name in ERRORS:
            raise ERRORS[name]
        if name in NO_KEYS:
            return User(NO_KEYS[name]), "token"
        return User(name), f"token of {name}"

    def authenticate_header(self, request: Any) -> str:
        return "Name"


ERRORS: dict[str, drf.APIException] = {
    "wrong": drf.AuthenticationFailed("no such user"),
    "denied": drf.PermissionDenied("not you"),
    "fast": drf.Throttled(wait=7),
    "broken": drf.APIException("the directory is away"),
}


NO_KEYS = {"unsaved": None, "empty": ""}


class Raises(BasePermission):
    """Says no to everybody but one in the way of the day."""

    error: Exception = drf.PermissionDenied()

    def has_permission(self, request: Any, view: Any) -> bool:
        if getattr(request.user, "pk", None) != "ada":
            raise Raises.error
        return True


class Outage:
    """Asks something that does not answer."""

    asks = "database"

    def _ask(self) -> bool:
        if Outage.asks == "database":
            try:
                with connections["log"].cursor() as cursor:
                    cursor.execute("SELECT 1 FROM no_such_secret_table")
            finally:
                connections["log"].close()
        if Outage.asks == "cache":
            RedisCache("redis://127.0.0.1:1", {}).get("key")
        redis.Redis(port=1).get("key")
        return True


class AsksInAuthentication(Outage, BaseAuthentication):
    def authenticate(self, request: Any) -> None:
        self._ask()


class AsksInPermission(Outage, BasePermission):
    def has_permission(self, request: Any, view: Any) -> bool:
        return self._ask()


class AsksInThrottle(Outage, BaseThrottle):
    def allow_request(self, request: Any, view: Any) -> bool:
        return self._ask()


class NotMallory(BasePermission):
    """Everybody but one."""

    def has_permission(self, request: Any, view: Any) -> bool:
        return getattr(request.user, "pk", None) != "mallory"


class OnlyAda(BasePermission):
    """One alone, and only with the credentials that came along."""

    def has_permission(self, request: Any, view: Any) -> bool:
        return getattr(request.user, "pk", None) == "ada" and request.auth == "token of ada" and view.action in SECRETS


SECRETS = ("secret_tool", "secret_prompt", "secret")


class TwoAMinute(SimpleRateThrottle):
    """Two requests a minute of each user and thing."""

    rate = "2/min"

    def get_cache_key(self, request: Any, view: Any) -> str:
        return f"{getattr(request.user, 'pk', None)}.{view.throttle_scope}"


class Never(BaseThrottle):
    """Lets nothing through, and does not say for how long."""

    def allow_request(self, request: Any, view: Any) -> bool:
        return False


server = MCPServer("guarded")


@server.tool(annotations={"readOnlyHint": True})
async def whoami() -> str:
    """Tell nothing."""
    return "somebody"


@server.tool(permission_classes=[OnlyAda], annotations={"readOnlyHint": True})
async def secret_tool() -> str:
    """Known to one alone."""
    return "secret"


@server.tool(throttle_classes=[TwoAMinute], annotations={"readOnlyHint": True})
async def slow_tool() -> str:
    """Not too often."""
    return "done"


@server.resource("test://secret", name="secret", permission_classes=[OnlyAda])
async def secret() -> str:
    """Readable for one alone."""
    return "secret"


@server.prompt(permission_classes=[OnlyAda])
def secret_prompt() -> str:
    """For one alone."""
    return "secret"


@pytest.fixture(autouse=True)
async def _engine(settings: Settings) -> AsyncIterator[None]:
    settings.ALLOWED_HOSTS = ["localhost"]
    with_memory(settings, HISTORY="off", AUTHENTICATION_CLASSES=[f"{HERE}.ByHeader"])
    engine = engines.current()
    yield
    await engine.stop()
    engines._engine = None


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    cache.clear()
    ByHeader.asked = 0
    yield
    cache.clear()


def change(settings: Settings, **changes: Any) -> None:
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, **changes}


def client(name: str | None = None, of: MCPServer = server) -> Client:
    made = Client(of, authenticator=authentication.authenticator(), gate=authentication.DRFGate)
    if name is not None:
        made.headers["authorization"] = name
    return made


@pytest.mark.parametrize(
    ("name", "status", "header"),
    [
        ("ada", 200, None),
        (None, 200, None),
        ("wrong", 401, ("www-authenticate", "Name")),
        ("denied", 403, None),
        ("fast", 429, ("retry-after", "7")),
        ("broken", 503, ("retry-after", "5")),
    ],
)
async def test_what_a_class_raises_is_answered_as_drf_answers_it(
    name: str | None, status: int, header: tuple[str, str] | None
) -> None:
    response = await client(name).open()
    assert response.status == status
    if header is not None:
        assert response.headers[header[0]] == header[1]


async def test_anonymous_callers_are_refused_where_none_are_allowed(settings: Settings) -> None:
    change(settings, ALLOW_ANONYMOUS=False)
    response = await client().open()
    assert (response.status, response.headers["www-authenticate"]) == (401, "Name")


async def test_a_result_is_reused_for_a_while(settings: Settings) -> None:
    ada = client("ada")
    await ada.open()
    await ada.post("ping")
    assert ByHeader.asked == 1
    change(settings, AUTHENTICATION_CACHE_SECONDS=0)
    await ada.post("ping")
    assert ByHeader.asked == 2


async def test_what_was_permitted_to_one_method_is_asked_again_for_another(settings: Settings) -> None:
    change(settings, PERMISSION_CLASSES=["rest_framework.permissions.IsAuthenticatedOrReadOnly"])
    anybody = client()
    assert (await anybody.open()).status == 401
    # Permitted, and refused for something else: there is no session.
    assert (await anybody.request("GET")).status == 400
    assert (await anybody.open()).status == 401


async def test_permission_classes_decide_who_may_call_at_all(settings: Settings) -> None:
    change(settings, PERMISSION_CLASSES=[f"{HERE}.NotMallory", "rest_framework.permissions.IsAuthenticated"])
    assert (await client("ada").open()).status == 200
    assert (await client("mallory").open()).status == 403
    assert (await client().open()).status == 401


async def test_throttle_classes_count_each_request_of_a_caller(settings: Settings) -> None:
    change(settings, THROTTLE_CLASSES=[f"{HERE}.TwoAMinute"])
    ada = client("ada")
    assert [(await ada.open()).status, (await ada.post("ping")).status] == [200, 200]
    refused = await ada.post("ping")
    assert refused.status == 429
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert (await client("bob").open()).status == 200


async def test_a_throttle_that_names_no_time_gets_one(settings: Settings) -> None:
    change(settings, THROTTLE_CLASSES=[f"{HERE}.Never"])
    assert (await client("ada").open()).headers["retry-after"] == "1"


async def test_the_gate_asks_the_classes_with_the_callers_credentials() -> None:
    ada = client("ada")
    await ada.open()
    principal = await ada.endpoint._authenticator.authenticate(_request(ada))
    gate = authentication.DRFGate(_request(ada), principal)
    assert await gate.permits([OnlyAda, IsAuthenticated], "secret_tool")
    assert not await gate.permits([OnlyAda], "other_tool")
    assert await gate.throttled([TwoAMinute], "tool") is None
    assert await gate.throttled([TwoAMinute], "tool") is None
    seconds = await gate.throttled([TwoAMinute], "tool")
    assert seconds is not None
    assert 0 < seconds <= 60
    assert await gate.throttled([TwoAMinute], "another") is None


async def test_the_gate_of_an_anonymous_caller() -> None:
    anybody = client()
    principal = await anybody.endpoint._authenticator.authenticate(_request(anybody))
    gate = authentication.DRFGate(_request(anybody), principal)
    assert not await gate.permits([IsAuthenticated], "tool")
    assert await gate.permits([], "tool")


def _request(of: Client) -> Any:
    raw = [(name.encode(), value.encode()) for name, value in of.headers.items()]
    return http.Request(method="POST", path="/mcp", scheme="http", headers=http.Headers(raw))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"AUTHENTICATION_CLASSES": [], "ALLOW_ANONYMOUS": False}, "no way to authenticate"),
        (
            {"AUTHENTICATION_CLASSES": ["rest_framework.authentication.SessionAuthentication"]},
            "SessionAuthentication cannot guard",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(settings: Settings, changes: dict[str, Any], message: str) -> None:
    change(settings, **changes)
    with pytest.raises(ImproperlyConfigured, match=message):
        authentication.authenticator()


@pytest.mark.parametrize("name", NO_KEYS)
async def test_a_user_without_a_key_is_refused_since_others_without_one_would_own_its_sessions(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await client(name).open()).status == 403
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert "User says that it is authenticated and has no pk" in record.getMessage()


@pytest.mark.parametrize("asks", ["database", "redis", "cache"])
@pytest.mark.parametrize(
    ("setting", "class_"),
    [
        ("AUTHENTICATION_CLASSES", "AsksInAuthentication"),
        ("PERMISSION_CLASSES", "AsksInPermission"),
        ("THROTTLE_CLASSES", "AsksInThrottle"),
    ],
)
async def test_row_69_who_cannot_be_checked_may_come_again_and_learns_no_details(
    setting: str,
    class_: str,
    asks: str,
    log_alias: str,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Outage, "asks", asks)
    change(settings, **{setting: [f"{HERE}.{class_}"]})
    response = await client().open()
    assert (response.status, response.headers["retry-after"]) == (503, "5")
    [answer] = await messages(response)
    assert answer["error"] == {"code": -32603, "message": authentication.UNAVAILABLE}
    [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.exc_info is not None


async def test_row_69_a_gate_that_cannot_be_asked_is_no_refusal(
    log_alias: str, caplog: pytest.LogCaptureFixture
) -> None:
    ada = client("ada")
    await ada.open()
    gate = authentication.DRFGate(_request(ada), await ada.endpoint._authenticator.authenticate(_request(ada)))
    for asked in (gate.permits([AsksInPermission], "tool"), gate.throttled([AsksInThrottle], "tool")):
        with pytest.raises(exceptions.Unavailable, match=authentication.UNAVAILABLE):
            await asked
    assert len(caplog.records) == 2


IN_A_CHILD = """
import asyncio, os, django
django.setup()
from streamable_http import authentication

def run():
    return asyncio.run(asyncio.wait_for(authentication._pool.run(os.getpid), 30))

assert run() == os.getpid()
child = os.fork()
if not child:
    try:
        os._exit(0 if run() == os.getpid() else 1)
    except BaseException:
        os._exit(2)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_process_that_was_forked_after_the_first_request_has_threads_of_its_own() -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    subprocess.run([sys.executable, "-c", IN_A_CHILD], check=True, env=environment, timeout=60)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (drf.PermissionDenied(), 403),
        (drf.NotAuthenticated(), 401),
        (drf.NotFound(), 403),
        (PermissionDenied(), 403),
        (Http404(), 403),
        (drf.Throttled(wait=3), 429),
        (drf.APIException("away"), 503),
    ],
)
async def test_a_permission_class_that_raises_refuses_the_caller(
    error: Exception, status: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Raises, "error", error)
    change(settings, PERMISSION_CLASSES=[f"{HERE}.Raises"])
    assert (await client("bob").open()).status == status
    assert (await client("ada").open()).status == 200


LISTS = {"tools/list": "tools", "resources/list": "resources", "prompts/list": "prompts"}


@pytest.mark.parametrize(("name", "sees"), [("ada", True), ("bob", False), (None, False)])
async def test_what_a_caller_may_not_use_is_not_listed_and_does_not_exist(name: str | None, sees: bool) -> None:
    caller = client(name)
    await caller.open()
    names = set()
    for method, member in LISTS.items():
        [listed] = await messages(await caller.post(method))
        names |= {each["name"] for each in listed["result"][member]}
    assert names - set(SECRETS) == {"whoami", "slow_tool"}
    assert names & set(SECRETS) == (set(SECRETS) if sees else set())
    answers = {
        "tool": await caller.call("secret_tool"),
        "unknown tool": await caller.call("unknown_tool"),
        "read": (await messages(await caller.post("resources/read", {"uri": "test://secret"})))[-1],
        "subscribe": (await messages(await caller.post("resources/subscribe", {"uri": "test://secret"})))[-1],
        "prompt": (await messages(await caller.post("prompts/get", {"name": "secret_prompt"})))[-1],
    }
    codes = {what: answer.get("error", {}).get("code") for what, answer in answers.items()}
    refused = {"tool": -32602, "read": -32002, "subscribe": -32002, "prompt": -32602}
    assert codes == {"unknown tool": -32602, **(dict.fromkeys(refused) if sees else refused)}
    if not sees:
        assert answers["tool"]["error"]["message"] == answers["unknown tool"]["error"]["message"].replace(
            "unknown_tool", "secret_tool"
        )


hiding = MCPServer("hiding")


@hiding.tool(permission_classes=[Raises])
async def hidden_tool() -> str:
    """Known to one alone."""
    return "secret"


@hiding.resource("test://hidden", name="hidden", permission_classes=[Raises])
async def hidden() -> str:
    """Readable for one alone."""
    return "secret"


@hiding.prompt(permission_classes=[Raises])
def hidden_prompt() -> str:
    """For one alone."""
    return "secret"


@pytest.mark.parametrize(
    "error", [drf.PermissionDenied("hush"), drf.NotAuthenticated(), drf.NotFound(), PermissionDenied(), Http404()]
)
async def test_what_a_permission_class_refuses_by_raising_does_not_exist(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Raises, "error", error)
    bob, ada = client("bob", hiding), client("ada", hiding)
    await bob.open()
    await ada.open()
    for method, member in LISTS.items():
        assert [answer["result"][member] for answer in await messages(await bob.post(method))] == [[]]
        [listed] = await messages(await ada.post(method))
        assert len(listed["result"][member]) == 1
    assert (await bob.call("hidden_tool"))["error"] == {"code": -32602, "message": "unknown tool: hidden_tool"}
    for method, params, code in (
        ("resources/read", {"uri": "test://hidden"}, -32002),
        ("resources/subscribe", {"uri": "test://hidden"}, -32002),
        ("prompts/get", {"name": "hidden_prompt"}, -32602),
    ):
        refused = (await messages(await bob.post(method, params)))[-1]["error"]
        assert refused["code"] == code
        assert "hush" not in refused["message"]
        assert "result" in (await messages(await ada.post(method, params)))[-1]


async def test_a_throttled_tool_says_in_band_when_to_come_again() -> None:
    ada = client("ada")
    await ada.open()
    results = [(await ada.call("slow_tool"))["result"] for _ in range(3)]
    assert [result["isError"] for result in results] == [False, False, True]
    assert "try again in" in results[2]["content"][0]["text"]


# Calls that run again


@pytest.fixture
def grace(transactional_db: None) -> Any:
    return get_user_model().objects.create_user("grace")


class Grace(BaseAuthentication):
    """Everybody is the one user that there is."""

    def authenticate(self, request: Any) -> tuple[Any, str]:
        return get_user_model().objects.get(), "token"


class OnlyActiveGrace(BasePermission):
    """One alone, by name; credentials do not matter."""

    def has_permission(self, request: Any, view: Any) -> bool:
        if request.user.username == "ghost":
            raise drf.PermissionDenied
        return request.user.username == "grace"


async def recall(key: str) -> principals.Principal | None:
    return await authentication.authenticator().recall(key, _request(client()))


async def test_a_user_of_the_project_is_recalled_by_key(settings: Settings, grace: Any) -> None:
    change(settings, AUTHENTICATION_CLASSES=[f"{HERE}.Grace"])
    known = await authentication.authenticator().authenticate(_request(client()))
    assert known.is_recallable
    again = await recall(known.key)
    assert again == known
    assert again is not None
    assert (again.user, again.auth) == (grace, None)


async def test_a_user_of_another_model_is_not_taken_for_one_of_the_projects() -> None:
    known = await authentication.authenticator().authenticate(_request(client("ada")))
    assert (known.key, known.is_recallable) == ("user:ada", False)


async def test_who_is_gone_or_inactive_is_not_recalled(grace: Any) -> None:
    key = f"user:{grace.pk}"
    users = get_user_model().objects.filter(pk=grace.pk)
    assert await recall(key) is not None
    await users.aupdate(is_active=False)
    assert await recall(key) is None
    await users.adelete()
    assert await recall(key) is None


async def test_permission_classes_are_asked_again(settings: Settings, grace: Any) -> None:
    change(settings, PERMISSION_CLASSES=[f"{HERE}.OnlyActiveGrace"])
    key = f"user:{grace.pk}"
    assert await recall(key) is not None
    for name in ("ghost", "other"):
        await get_user_model().objects.aupdate(username=name)
        assert await recall(key) is None


async def test_anonymous_callers_are_recalled_where_they_are_allowed(settings: Settings) -> None:
    assert await recall("") == principals.ANONYMOUS
    change(settings, ALLOW_ANONYMOUS=False)
    assert await recall("") is None


async def test_where_everybody_is_anonymous_nobody_else_is_recalled(settings: Settings) -> None:
    change(settings, AUTHENTICATION_CLASSES=[])
    assert await recall("") == principals.ANONYMOUS
    assert await recall("user:1") is None
