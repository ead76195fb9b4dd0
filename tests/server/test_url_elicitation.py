from __future__ import annotations

import mcp_types
import pytest
from mcp_types import methods

from streamable_http import exceptions
from streamable_http.server import ElicitResult, UrlElicitation, UrlElicitationRequired, features, url_elicitation
from tests.server import recording

NOW = features.OF_REVISION[recording.R2025_11_25]
SECOND = features.OF_REVISION[recording.R2025_06_18]

PAGE = UrlElicitation("Connect your calendar.", "https://example.com/connect", "e1")


def test_page_is_asked_for_as_the_protocol_has_it():
    made = url_elicitation.params(PAGE, NOW, {"elicitation": {"url": {}}})
    assert made == {
        "mode": "url",
        "elicitationId": "e1",
        "url": "https://example.com/connect",
        "message": "Connect your calendar.",
    }
    methods.parse_server_request("elicitation/create", recording.R2025_11_25, made)
    assert url_elicitation.params(PAGE, NOW, None) == made


@pytest.mark.parametrize(
    "capabilities", [{}, {"elicitation": {}}, {"elicitation": {"form": {}}}, {"elicitation": None}]
)
def test_client_that_cannot_is_not_asked(capabilities):
    with pytest.raises(exceptions.AskRefused):
        url_elicitation.params(PAGE, NOW, capabilities)
    assert not url_elicitation.is_supported(NOW, capabilities)


def test_older_revisions_have_no_pages():
    with pytest.raises(exceptions.AskRefused, match="its protocol revision cannot send users to a page"):
        url_elicitation.params(PAGE, SECOND, {"elicitation": {"url": {}}})
    assert not url_elicitation.is_supported(SECOND, {"elicitation": {"url": {}}})
    assert not url_elicitation.is_supported(SECOND, None)


def test_client_that_declares_pages_supports_them_and_one_without_session_may():
    assert url_elicitation.is_supported(NOW, {"elicitation": {"url": {}}})
    assert url_elicitation.is_supported(NOW, None)


def test_ids_differ_and_cannot_be_guessed():
    ids = {UrlElicitation("", "https://example.com").elicitation_id for _ in range(100)}
    assert len(ids) == 100
    assert min(map(len, ids)) >= 16


@pytest.mark.parametrize(
    "url", ["", "/connect", "example.com", "https://", "https://a b", "javascript:alert(1)", "http://[x"]
)
def test_what_is_no_url_is_refused(url):
    with pytest.raises(ValueError, match="is no URL that a user can visit; give an absolute one"):
        UrlElicitation("", url)


@pytest.mark.parametrize("action", ["accept", "decline", "cancel"])
def test_answer_is_what_the_user_did(action):
    assert url_elicitation.read({"action": action, "content": {"a": 1}}) == ElicitResult(action, None)


@pytest.mark.parametrize("result", [{}, {"action": "maybe"}, {"action": None}])
def test_unknown_action_is_an_error(result):
    with pytest.raises(exceptions.AskError, match="unknown action"):
        url_elicitation.read(result)


def test_completion_is_a_notification():
    message = url_elicitation.complete("e1")
    assert message["params"] == {"elicitationId": "e1"}
    mcp_types.ElicitCompleteNotification.model_validate(message)


def test_required_pages_are_an_error_that_lists_them():
    ready = {"mode": "url", "elicitationId": "e2", "url": "https://example.com/2", "message": "b"}
    error = UrlElicitationRequired([PAGE, ready])
    assert (error.code, error.http_status) == (mcp_types.URL_ELICITATION_REQUIRED, 200)
    assert str(error) == "this needs the user to visit a page first"
    assert error.data == {"elicitations": [PAGE.params(), ready]}
    mcp_types.ElicitationRequiredErrorData.model_validate(error.data)
