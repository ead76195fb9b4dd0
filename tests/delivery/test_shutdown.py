"""Signals that end a server reach its own handler as well as the engine."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator

import pytest
from pytest_django import Settings

from streamable_http.delivery.engine import Engine
from tests.delivery.conftest import started, with_memory


class Server:
    """What a server does with SIGTERM and SIGINT: remember that it has to end."""

    def __init__(self) -> None:
        self.got: list[int] = []

    def handle(self, number: int, frame: object) -> None:
        self.got.append(number)


@pytest.fixture
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def server(_handlers: None, settings: Settings) -> Server:
    with_memory(settings)
    server = Server()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle)
    return server


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_server_and_the_engine_are_told(server: Server, number: signal.Signals) -> None:
    async with started() as engine:
        assert signal.getsignal(number) != server.handle
        os.kill(os.getpid(), number)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert server.got == [number]
        assert engine.is_draining
        await engine.drain()


async def test_the_server_gets_every_signal(server: Server) -> None:
    async with started():
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
        await asyncio.sleep(0)
    assert server.got == [signal.SIGTERM, signal.SIGTERM, signal.SIGINT]


async def test_an_engine_that_has_ended_leaves_the_handlers_as_they_were(server: Server) -> None:
    async with started():
        pass
    assert signal.getsignal(signal.SIGTERM) == server.handle
    assert signal.getsignal(signal.SIGINT) == server.handle


async def test_an_engine_that_has_ended_passes_on_what_still_reaches_it(server: Server) -> None:
    async with started() as first:
        # In front of the first one.
        second = Engine()
        await second.start()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert server.got == [signal.SIGTERM]
    assert second.is_draining
    assert not first.is_draining
    await second.stop()


@pytest.mark.usefixtures("_handlers")
async def test_without_a_server_nobody_is_in_the_way(settings: Settings) -> None:
    with_memory(settings)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    interrupt = signal.getsignal(signal.SIGINT)
    async with started():
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) == interrupt


def test_an_engine_outside_of_the_main_thread_leaves_signals_alone(server: Server) -> None:
    seen: list[object] = []

    async def use() -> None:
        async with started():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=lambda: asyncio.run(use()))
    thread.start()
    thread.join()
    assert seen == [server.handle]


async def test_a_child_that_was_forked_hands_the_signal_on_alone(server: Server) -> None:
    async with started() as engine:
        engine._signals._pid += 1
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert server.got == [signal.SIGTERM]
        assert not engine.is_draining
