from __future__ import annotations

import pydantic
import pytest

from streamable_http import exceptions
from streamable_http.server import asking


class Answer(pydantic.BaseModel):
    sure: bool


def test_capability_is_what_the_client_declared():
    assert asking.require({"sampling": {"tools": {}}}, "sampling") == {"tools": {}}
    assert asking.require({"sampling": {}}, "sampling") == {}


def test_nobody_knows_what_a_client_without_session_can():
    assert asking.require(None, "sampling") is None


@pytest.mark.parametrize("capabilities", [{}, {"sampling": None}, {"sampling": []}, {"sampling": "yes"}])
def test_capability_that_is_not_declared_is_refused(capabilities):
    with pytest.raises(exceptions.AskRefused, match="it does not support sampling"):
        asking.require(capabilities, "sampling")


def test_answer_is_read_or_an_error():
    assert asking.read(Answer, {"sure": True}, what="answer") == Answer(sure=True)
    with pytest.raises(exceptions.AskError, match=r"^the client's answer is no answer: sure: is required$"):
        asking.read(Answer, {}, what="answer")
