"""The settings: defaults, overrides, and names that do not exist."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from streamable_http import conf


def test_a_setting_that_the_project_does_not_name_has_its_default(settings: Settings) -> None:
    settings.STREAMABLE_HTTP = {}
    assert conf.settings.MAX_JSON_DEPTH == 64
    assert conf.settings.MODE == "sessions"


def test_an_override_counts_at_once_and_only_while_it_lasts(settings: Settings) -> None:
    settings.STREAMABLE_HTTP = {"MAX_JSON_DEPTH": 7}
    assert conf.settings.MAX_JSON_DEPTH == 7
    settings.STREAMABLE_HTTP = {"MAX_BODY_BYTES": 9}
    assert conf.settings.MAX_JSON_DEPTH == 64
    assert conf.settings.MAX_BODY_BYTES == 9


def test_lists_are_read_as_tuples_so_that_nobody_changes_them(settings: Settings) -> None:
    settings.STREAMABLE_HTTP = {"ALLOWED_ORIGINS": ["https://app.example.com"]}
    assert conf.settings.ALLOWED_ORIGINS == ("https://app.example.com",)


def test_an_unknown_name_in_the_project_is_refused_with_the_nearest(settings: Settings) -> None:
    settings.STREAMABLE_HTTP = {"MAX_BODY_BITES": 1}
    with pytest.raises(ImproperlyConfigured, match="did you mean 'MAX_BODY_BYTES'"):
        conf.require_known()


def test_an_unknown_name_in_the_code_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'NOTHING_LIKE_IT' is not a setting"):
        _ = conf.settings.NOTHING_LIKE_IT  # type: ignore[attr-defined]
