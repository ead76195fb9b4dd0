"""The servers that other tests stand on."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg
import pytest
import redis
from django.db import connections

from streamable_http.models import Event
from tests import services
from tests.conftest import StartServer

APPLICATION = "tests.pid_asgi:application"


def serving_pid(url: str, *, timeout_seconds: float = 10) -> int:
    return int(httpx.get(url, timeout=timeout_seconds).text)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_each_postgres_database_is_a_new_and_empty_one(postgres_database: Callable[[], str]) -> None:
    first, second = postgres_database(), postgres_database()
    with psycopg.connect(first) as connection:
        connection.execute("CREATE TABLE mark (id int)")
    with psycopg.connect(second) as connection:
        assert connection.execute("SELECT to_regclass('mark')").fetchone() == (None,)


def test_a_database_is_dropped_even_while_somebody_is_connected(postgres_server: str) -> None:
    with services.database(postgres_server) as url:
        connection = psycopg.connect(url)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    connection.close()


def test_a_database_may_be_the_copy_of_another(postgres_server: str, postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE mark (id int)")
    with services.database(postgres_server, template=postgres_url) as url, psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM mark").fetchone() == (0,)


def test_the_log_may_be_in_a_database_of_its_own(log_alias: str) -> None:
    connection = connections[log_alias]
    assert "streamable_http_event" in connection.introspection.table_names()
    assert "bookshop_book" not in connection.introspection.table_names()
    assert Event.objects.db == log_alias


def test_the_log_is_seen_by_other_threads(log_alias: str) -> None:
    def count() -> int:
        try:
            return Event.objects.count()
        finally:
            connections[log_alias].close()

    with ThreadPoolExecutor() as pool:
        assert pool.submit(count).result() == 0


def test_redis_answers(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.ping()


@pytest.mark.acceptance
@pytest.mark.parametrize("server", services.COMMANDS)
def test_a_server_serves_and_stops_by_itself(server_process: StartServer, server: str) -> None:
    process = server_process(APPLICATION, server=server)
    assert serving_pid(process.url) in process.pids
    assert process.stop() is not None
    assert not process.running


@pytest.mark.acceptance
def test_every_worker_of_a_server_serves(server_process: StartServer) -> None:
    process = server_process(APPLICATION, workers=2)
    assert len(process.pids) == 2
    assert services.wait_until(
        lambda: {serving_pid(process.url) for _ in range(20)} == set(process.pids), timeout_seconds=10
    )


@pytest.mark.acceptance
@pytest.mark.parametrize(("server", "workers"), [("uvicorn", 1), ("uvicorn", 2), ("granian", 2)])
def test_a_killed_server_leaves_no_process_and_starts_again_on_its_port(
    server_process: StartServer, server: str, workers: int
) -> None:
    process = server_process(APPLICATION, server=server, workers=workers)
    pids = [process.pid, *process.pids]
    process.kill()
    assert services.wait_until(lambda: not any(map(alive, pids)), timeout_seconds=5)
    url = process.url
    assert process.start().url == url
    assert serving_pid(url) not in pids


@pytest.mark.acceptance
def test_workers_that_are_restarted_are_others_on_the_same_port(server_process: StartServer) -> None:
    process = server_process(APPLICATION, server="forked", workers=2)
    before, url = process.pids, process.url
    process.restart_workers()
    assert len(process.pids) == 2
    assert not set(before) & set(process.pids)
    assert not any(map(alive, before))
    assert serving_pid(url) in process.pids


@pytest.mark.acceptance
def test_a_paused_server_answers_when_it_goes_on(server_process: StartServer) -> None:
    process = server_process(APPLICATION, workers=2)
    process.pause()
    with pytest.raises(httpx.ReadTimeout):
        serving_pid(process.url, timeout_seconds=0.5)
    process.resume()
    assert serving_pid(process.url) in process.pids


@pytest.mark.acceptance
def test_a_server_that_does_not_start_shows_its_log(server_process: StartServer) -> None:
    with pytest.raises(services.ServerFailed, match="no_such_module"):
        server_process("tests.no_such_module:application")


def test_a_command_that_fails_shows_what_it_printed() -> None:
    with pytest.raises(services.ServerFailed, match="no_such_command"):
        services.manage("no_such_command", environment={"DJANGO_SETTINGS_MODULE": "tests.settings"})
