"""Who may use the API: the permissions that a view names for an action."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from streamable_http.operations.permissions import VIEW_PAYLOADS


class HasRights(BasePermission):
    """Has the Django permissions that the view's ``rights`` name for the action; an action without any is refused."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Tell whether the user has all of them."""
        # What the view does not serve is answered with 405, to whoever may use it at all.
        if view.action is None:
            return True
        needed = view.rights.get(view.action)
        return needed is not None and sees(request, *needed)


def sees(request: Request, *permissions: str) -> bool:
    """Tell whether the user of a request has these permissions."""
    user: Any = request.user
    # Without UNAUTHENTICATED_USER nobody is None.
    return bool(user is not None and user.has_perms(permissions))


def sees_payloads(request: Request) -> bool:
    """Tell whether the user may see what was said."""
    return sees(request, VIEW_PAYLOADS)
