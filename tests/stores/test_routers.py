"""The router: the log's tables where the setting says, and nobody else's beside them."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.db import connections, router
from pytest_django import Settings

from streamable_http import models
from streamable_http.stores.db import DatabaseStore
from streamable_http.stores.routers import LogRouter
from tests.stores import writing


@pytest.fixture(autouse=True)
def _own_database(settings: Settings) -> None:
    settings.STREAMABLE_HTTP = {"DATABASE": "log"}


def test_the_logs_rows_are_read_and_written_in_its_database() -> None:
    for model in (models.Session, models.Event, models.Worker):
        assert router.db_for_read(model) == router.db_for_write(model) == "log"


def test_other_rows_are_none_of_its_business() -> None:
    assert LogRouter().db_for_read(User) is LogRouter().db_for_write(User) is None
    assert router.db_for_read(User) == "default"


@pytest.mark.parametrize(
    ("database", "label", "allowed"),
    [
        ("log", "streamable_http", True),
        ("default", "streamable_http", False),
        ("log", "auth", False),
        ("default", "auth", None),
        ("reports", "auth", None),
    ],
)
def test_tables_are_made_on_one_side_each(database: str, label: str, allowed: bool | None) -> None:
    assert LogRouter().allow_migrate(database, label) is allowed


def test_in_the_default_database_the_log_stands_beside_everything(settings: Settings) -> None:
    settings.STREAMABLE_HTTP = {}
    assert LogRouter().allow_migrate("default", "streamable_http") is True
    assert LogRouter().allow_migrate("default", "auth") is None
    assert LogRouter().allow_migrate("log", "streamable_http") is False


def test_a_database_of_its_own_has_the_logs_tables_alone(log_database: str) -> None:
    tables = connections[log_database].introspection.table_names()
    assert {name.partition("_")[0] for name in tables} == {"django", "streamable"}
    store = DatabaseStore(log_database)
    session_id = writing.session(store)
    assert models.Session.objects.filter(pk=session_id).exists()
    connections[log_database].close()
