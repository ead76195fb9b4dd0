"""Principals from Django REST framework's authentication classes, and its permission and throttle classes.

They run in a thread pool of their own, on an ``ASGIRequest`` without body. Who calls, and whether they may call at
all, is reused for ``AUTHENTICATION_CACHE_SECONDS``, under a keyed digest of the credentials; throttles are asked
each time.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import io
import logging
import math
import secrets
import time
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any, Final

from django import db
from django.contrib.auth import get_user_model
from django.core import exceptions as django_exceptions
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIRequest
from django.db import connections
from django.http import Http404
from django.utils.module_loading import import_string
from django_redis.exceptions import ConnectionInterrupted
from redis.exceptions import RedisError
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import (
    APIException,
    AuthenticationFailed,
    NotAuthenticated,
    PermissionDenied,
    Throttled,
)
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.throttling import BaseThrottle, ScopedRateThrottle

from streamable_http import conf, exceptions, forks
from streamable_http.delivery import threads
from streamable_http.endpoint import principals
from streamable_http.protocol import http

logger = logging.getLogger(__name__)

THREADS: Final = 4
CACHED: Final = 10_000
NO_CREDENTIALS: Final = frozenset(
    (
        "content-length",
        "last-event-id",
        "mcp-method",
        "mcp-name",
        "mcp-protocol-version",
        "mcp-session-id",
        "traceparent",
        "tracestate",
    )
)
"""Headers that differ from request to request and are no credentials; a class may read any other."""

REFUSALS: Final = (APIException, django_exceptions.PermissionDenied, Http404)
"""What DRF's views answer when a class raises it."""

CHALLENGED: Final = (NotAuthenticated, AuthenticationFailed)
"""The ones among them that ask for credentials."""

OUTAGES: Final = (db.Error, RedisError, ConnectionInterrupted, OSError)
"""What a class raises when a database, a cache or another server that it asks does not answer."""

UNAVAILABLE: Final = "the caller cannot be checked now"


class _View:
    """What permission and throttle classes are given for a view: it names what is asked for."""

    def __init__(self, name: str) -> None:
        self.action = self.basename = self.throttle_scope = name
        self.kwargs: dict[str, Any] = {}


ENDPOINT: Final = "mcp"
"""What the endpoint as a whole is called in ``view.action`` and ``view.throttle_scope``."""

_USER: Final = "user:"
"""How the keys of users begin."""

_ENDPOINT: Final = _View(ENDPOINT)

_pool = threads.Pool(THREADS, "streamable-http-auth")


def _renew_pool() -> None:
    global _pool
    _pool = threads.Pool(THREADS, "streamable-http-auth")


# The threads of the parent's pool are not in the child.
forks.after_in_child(_renew_pool)


class DRFAuthenticator:
    """Asks DRF's classes in turn, as an API view does."""

    def __init__(
        self,
        classes: Sequence[type[BaseAuthentication]],
        *,
        permissions: Sequence[type[BasePermission]] = (),
        throttles: Sequence[type[BaseThrottle]] = (),
    ) -> None:
        self._classes = classes
        self._permissions = permissions
        self._throttles = throttles
        self._key = secrets.token_bytes(32)
        self._cache: dict[bytes, tuple[float, principals.Principal]] = {}

    async def authenticate(self, request: http.Request) -> principals.Principal:
        """Return who calls.

        Raises:
            Unauthorized: the credentials are wrong, or missing where some are needed.
            Forbidden: a permission class refuses the principal, or nobody could tell their sessions from others'.
            TooManyRequests: a throttle class does.
            Unavailable: a class could not ask its database, cache or server.
        """
        principal = await self._identify(request)
        if self._throttles:
            seconds = await _pool.run(_seconds_to_wait, self._throttles, request, principal, _ENDPOINT)
            if seconds is not None:
                raise exceptions.TooManyRequests("too many requests", retry_after_seconds=math.ceil(seconds))
        return principal

    async def _identify(self, request: http.Request) -> principals.Principal:
        seconds = conf.settings.AUTHENTICATION_CACHE_SECONDS
        if seconds <= 0:
            return await self._ask(request)
        digest = self._digest(request)
        now = time.monotonic()
        until, principal = self._cache.get(digest, (0.0, principals.ANONYMOUS))
        if until <= now:
            principal = await self._ask(request)
            self._keep(digest, now + seconds, principal)
        return principal

    async def _ask(self, request: http.Request) -> principals.Principal:
        return await _pool.run(self._authenticate, request)

    def _authenticate(self, request: http.Request) -> principals.Principal:
        drf_request = Request(_asgi_request(request), authenticators=[class_() for class_ in self._classes])
        with _asking():
            try:
                principal = self._principal(drf_request)
                if not _permits(self._permissions, drf_request, _ENDPOINT):
                    raise PermissionDenied if principal.user is not None else NotAuthenticated
            except CHALLENGED as error:
                raise _translated(error, self._challenge(drf_request)) from error
        return principal

    async def recall(self, key: str, request: http.Request) -> principals.Principal | None:
        """Return the anonymous principal or a user of Django's by its key; ``None``: gone, inactive or not permitted.

        Permission classes see the user and what is kept of the request, and no credentials (``auth`` is ``None``).
        """
        return await _pool.run(self._recall, key, request)

    def _recall(self, key: str, request: http.Request) -> principals.Principal | None:
        with _asking():
            principal = _principal_of(key)
        if principal is None or not _principal_may(self._permissions, request, principal, _ENDPOINT):
            return None
        return principal

    def _principal(self, request: Request) -> principals.Principal:
        user = request.user
        if getattr(user, "is_authenticated", False):
            return principals.Principal(_key(user), user=user, auth=request.auth, is_recallable=_is_djangos(user))
        if not conf.settings.ALLOW_ANONYMOUS:
            raise NotAuthenticated
        return principals.ANONYMOUS

    def _challenge(self, request: Request) -> str | None:
        return self._classes[0]().authenticate_header(request) if self._classes else None

    def _digest(self, request: http.Request) -> bytes:
        headers = sorted(item for item in request.headers.items() if item[0] not in NO_CREDENTIALS)
        asked = (request.method, request.path, headers, request.query, request.client)
        credentials = repr(asked).encode("utf-8", "surrogatepass")
        return hmac.new(self._key, credentials, hashlib.sha256).digest()

    def _keep(self, digest: bytes, until: float, principal: principals.Principal) -> None:
        if len(self._cache) >= CACHED:
            self._cache.clear()
        self._cache[digest] = (until, principal)


class DRFGate:
    """Asks DRF's permission and throttle classes about single tools, resources and prompts.

    They see a ``POST`` request of the caller, and a view whose ``action`` and ``throttle_scope`` are the thing's name.
    """

    __slots__ = ("_principal", "_request")

    def __init__(self, request: http.Request, principal: principals.Principal) -> None:
        self._request = request
        self._principal = principal

    async def permits(self, permission_classes: Sequence[Any], name: str) -> bool:
        """Whether the caller may see and use the thing of this name.

        Raises:
            Unavailable: a class could not ask its database, cache or server.
        """
        return await _pool.run(_principal_may, permission_classes, self._request, self._principal, _View(name))

    async def throttled(self, throttle_classes: Sequence[Any], name: str) -> float | None:
        """Return how many seconds the caller has to wait before using it; ``None`` where it may be used now.

        Raises:
            Unavailable: a class could not ask its database, cache or server.
        """
        return await _pool.run(_seconds_to_wait, throttle_classes, self._request, self._principal, _View(name))


async def acting(user: Any, request: http.Request) -> principals.Principal:
    """Return a user of Django's as the principal of what they do here by hand.

    Raises:
        Forbidden: the project's permission classes do not let them call, or they have no identity.
        Unavailable: a class could not ask its database, cache or server.
    """
    principal = principals.Principal(_key(user), user=user)
    permissions = [import_string(path) for path in conf.settings.PERMISSION_CLASSES]
    if not await _pool.run(_principal_may, permissions, request, principal, _ENDPOINT):
        raise exceptions.Forbidden("this user may not call")
    return principal


def authenticator() -> principals.Authenticator:
    """Return the authenticator of the settings.

    Raises:
        ImproperlyConfigured: a class cannot be used here.
    """
    classes: list[type[BaseAuthentication]] = [import_string(path) for path in conf.settings.AUTHENTICATION_CLASSES]
    if not classes and not conf.settings.ALLOW_ANONYMOUS:
        raise ImproperlyConfigured(
            f"{conf.SETTING}['ALLOW_ANONYMOUS'] is off and there is no way to authenticate; name DRF authentication "
            f"classes in {conf.SETTING}['AUTHENTICATION_CLASSES']."
        )
    permissions = [import_string(path) for path in conf.settings.PERMISSION_CLASSES]
    throttles = [import_string(path) for path in conf.settings.THROTTLE_CLASSES]
    if not classes and not permissions and not throttles:
        return principals.Anybody()
    for class_ in classes:
        if issubclass(class_, SessionAuthentication):
            raise ImproperlyConfigured(
                "SessionAuthentication cannot guard an MCP endpoint: a browser sends its cookie along with requests "
                "of other sites, and there is no CSRF token here. Use a token instead, such as TokenAuthentication."
            )
    return DRFAuthenticator(classes, permissions=permissions, throttles=throttles)


def require_rate(class_: type[BaseThrottle], name: str) -> None:
    """Check that a throttle class has the rate that it needs for a thing of this name.

    Raises:
        ImproperlyConfigured: it has none; or whatever else the class raises.
    """
    throttle = class_()
    if isinstance(throttle, ScopedRateThrottle):
        # Others ask for theirs as they are made.
        throttle.scope = getattr(_View(name), throttle.scope_attr, None)
        if throttle.scope:
            throttle.parse_rate(throttle.get_rate())


def _key(user: Any) -> str:
    """Return the key of a user's sessions.

    Raises:
        Forbidden: the user has no primary key, so that all such users would own one another's sessions.
    """
    pk = getattr(user, "pk", None)
    if pk is None or pk == "":
        logger.warning(
            "a caller was refused: %s says that it is authenticated and has no pk, so its sessions would be those of "
            "every such user",
            type(user).__qualname__,
        )
        raise exceptions.Forbidden("this user has no identity here")
    return f"{_USER}{pk}"


def _principal_may(
    classes: Sequence[Any], request: http.Request, principal: principals.Principal, view: _View
) -> bool:
    try:
        with _asking():
            return _permits(classes, _known_request(request, principal), view)
    except exceptions.Unavailable:
        raise
    except exceptions.ProtocolError:
        # Raising is another way to say no.
        return False


def _permits(classes: Sequence[Any], request: Request, view: Any) -> bool:
    return all(class_().has_permission(request, view) for class_ in classes)


def _seconds_to_wait(
    classes: Sequence[Any], request: http.Request, principal: principals.Principal, view: Any
) -> float | None:
    """Ask all throttles, as DRF does, so that each one counts the request; the longest wait, if there is one."""
    drf_request = _known_request(request, principal)
    with _asking():
        throttles = [class_() for class_ in classes]
        waits = [throttle.wait() for throttle in throttles if not throttle.allow_request(drf_request, view)]
    return max((seconds or 1.0 for seconds in waits), default=None)


def _known_request(request: http.Request, principal: principals.Principal) -> Request:
    drf_request = Request(_asgi_request(request))
    drf_request.user = principal.user if principal.user is not None else _nobody()
    drf_request.auth = principal.auth
    return drf_request


def _is_djangos(user: Any) -> bool:
    """Whether a user is one of the project's user model; another one of the same key would be somebody else."""
    try:
        return isinstance(user, get_user_model())
    except ImproperlyConfigured:
        # django.contrib.auth is not installed.
        return False


def _principal_of(key: str) -> principals.Principal | None:
    if not key:
        return principals.ANONYMOUS if conf.settings.ALLOW_ANONYMOUS else None
    users: Any = get_user_model()._default_manager  # noqa: SLF001  # as Django's own backends look users up
    user = users.filter(pk=key.removeprefix(_USER)).first()
    if user is None or not getattr(user, "is_active", True):
        return None
    return principals.Principal(key, user=user, is_recallable=True)


def _nobody() -> Any:
    make: Any = api_settings.UNAUTHENTICATED_USER
    return make() if make else None


@contextlib.contextmanager
def _asking() -> Iterator[None]:
    """Ask the project's classes: what they raise is translated, and their database connections are minded.

    Raises:
        ProtocolError: what DRF's views would answer; ``Unavailable`` where something could not be asked, which is
            logged here and told to nobody else.
    """
    try:
        yield
    except REFUSALS as error:
        raise _translated(error) from error
    except OUTAGES as error:
        logger.exception("%s", UNAVAILABLE)
        raise exceptions.Unavailable(UNAVAILABLE) from error
    finally:
        for connection in connections.all(initialized_only=True):
            connection.close_if_unusable_or_obsolete()


def _translated(error: Exception, challenge: str | None = None) -> exceptions.ProtocolError:
    """Return what the caller is told: as DRF's views answer, but that a 404 would say that the session has ended."""
    if not isinstance(error, APIException):
        return exceptions.Forbidden()
    reason = str(error.detail)
    if isinstance(error, CHALLENGED):
        return exceptions.Unauthorized(reason, headers={"www-authenticate": challenge} if challenge else {})
    if isinstance(error, Throttled):
        return exceptions.TooManyRequests(reason, retry_after_seconds=math.ceil(getattr(error, "wait", None) or 1))
    if error.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return exceptions.Unavailable(reason)
    return exceptions.Forbidden(reason)


def _asgi_request(request: http.Request) -> ASGIRequest:
    scope: dict[str, Any] = {
        "type": "http",
        "method": request.method,
        "path": request.path,
        "scheme": request.scheme,
        "query_string": request.query,
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in request.headers.items()],
        "client": (request.client, 0) if request.client else None,
    }
    return ASGIRequest(scope, io.BytesIO())
