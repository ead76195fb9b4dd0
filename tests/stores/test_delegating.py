"""Stores that pass everything on."""

from __future__ import annotations

import inspect

import pytest

from streamable_http.stores import base
from streamable_http.stores.delegating import DelegatingStore, innermost
from streamable_http.stores.memory import MemoryStore
from tests.stores import writing

NAMES = sorted(base.Store.__abstractmethods__)


@pytest.mark.parametrize("name", NAMES)
def test_each_method_is_passed_on_with_its_arguments_and_result(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DelegatingStore(MemoryStore())
    asked: list[object] = []
    parameters = list(inspect.signature(getattr(base.Store, name)).parameters.values())[1:]
    by_place = [object() for parameter in parameters if parameter.kind is not parameter.KEYWORD_ONLY]
    by_name = {parameter.name: object() for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
    result = object()

    def answer(*arguments: object, **named: object) -> object:
        asked.append((list(arguments), named))
        return result

    monkeypatch.setattr(store.inner, name, answer)
    assert getattr(store, name)(*by_place, **by_name) is result
    assert asked == [(by_place, by_name)]


def test_the_store_behind_all_decorators_is_found() -> None:
    memory = MemoryStore()
    store = DelegatingStore(DelegatingStore(memory))
    assert innermost(store) is memory
    assert innermost(memory) is memory
    session_id = writing.session(store, "d")
    assert memory.is_open(session_id)
