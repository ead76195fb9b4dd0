"""``manage.py mcp_resend STREAM --as USERNAME``: make a recorded call again, for real."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandParser

from streamable_http import operations, shells
from streamable_http.management import base, entries, finding, reasons
from streamable_http.operations import audit, permissions, resending
from streamable_http.replay import messages


class Command(base.Command):
    """Sends a request again."""

    help = (
        "Send the recorded request of a call again, in this process and with the rights of a user; audited. "
        f"A call that takes longer than {resending.RESEND_SECONDS:g} s is cancelled."
    )
    asks = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the call, whose rights count, and why."""
        super().add_arguments(parser)
        parser.add_argument("stream", metavar="STREAM", help="its id, or the first six digits or more")
        parser.add_argument("--as", dest="username", metavar="USERNAME", required=True, help="with this user's rights")
        reasons.add_argument(parser)

    def run(self, options: dict[str, Any]) -> None:
        """Show the request, ask, send it, and print the answer."""
        stream = finding.stream(options["stream"])
        user = _user(options["username"])
        review = operations.review(stream.pk)
        if review.refusal:
            raise base.Refused(f"it cannot be sent again: {review.refusal}")
        for warning in review.warnings:
            self.warn(f"warning: {warning}")
        if options["interactive"]:
            for line in messages.pretty(review.request).split("\n"):
                self.warn(line)
        call = f"{review.method} {review.name}".strip()
        self.confirm(f"Send {call} again to server {review.server}, as {options['username']}?", options)
        # The admin's log has the user whose rights count, who need not be whoever sits here.
        audit.note(None, stream, f"Sent again as {options['username']}", reason=options["reason"])
        reason = f"{options['reason']} (by {audit.command_line()})".strip()
        try:
            with self.progress(f"calling {call}"):
                sent = operations.resend(stream.pk, user=user, reason=reason)
        except ValueError as error:
            raise base.Refused(f"it was not sent again: {error}") from error
        except operations.ResendTimeout as error:
            if self.output.is_json:
                self.output.json({"stream": f"{error.stream_id:x}", "timed_out": True})
            raise base.Failed(str(error)) from error
        finally:
            shells.end_behind()
        self._show(sent)

    def _show(self, sent: operations.Resend) -> None:
        if self.output.is_json:
            self.output.json(
                {
                    "stream": f"{sent.stream_id:x}",
                    "method": sent.method,
                    "name": sent.name,
                    "response": entries.parsed(sent.response),
                }
            )
            return
        self.output.line(f"Sent as stream {sent.stream_id:x}.")
        for line in messages.pretty(sent.response).split("\n"):
            self.output.line(line)


def _user(username: str) -> Any:
    model = get_user_model()
    try:
        user = model.objects.get_by_natural_key(username)
    except model.DoesNotExist:
        raise base.NotFound(f"there is no user '{username}'") from None
    # As the admin and the API have it: nobody does anything to what they may not see.
    for needed in (permissions.VIEW_SESSIONS, permissions.RESEND):
        if not (user.is_active and user.has_perm(needed)):
            raise base.Refused(f"user '{username}' may not resend: that needs the permission {needed}")
    return user
