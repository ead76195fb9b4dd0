from __future__ import annotations

import pytest

from streamable_http import exceptions
from streamable_http.server import Root, roots


@pytest.mark.parametrize("capabilities", [None, {"roots": {}}, {"roots": {"listChanged": True}}])
def test_client_is_asked_for_its_roots(capabilities):
    assert roots.params(capabilities) == {}


@pytest.mark.parametrize("capabilities", [{}, {"roots": None}, {"sampling": {}}])
def test_client_without_roots_is_not_asked(capabilities):
    with pytest.raises(exceptions.AskRefused, match=r"^the client cannot be asked: it does not support roots$"):
        roots.params(capabilities)


def test_roots_are_folders_with_names():
    read = roots.read({"roots": [{"uri": "file:///home/ada", "name": "Home"}, {"uri": "file:///srv"}]})
    assert read == [Root(uri="file:///home/ada", name="Home"), Root(uri="file:///srv")]
    assert roots.read({"roots": []}) == []


@pytest.mark.parametrize(
    "result", [{}, {"roots": {}}, {"roots": [{}]}, {"roots": [{"uri": "http://169.254.169.254"}]}]
)
def test_answer_that_is_no_list_of_roots_is_an_error(result):
    with pytest.raises(exceptions.AskError, match=r"^the client's answer is no list of roots: roots"):
        roots.read(result)
