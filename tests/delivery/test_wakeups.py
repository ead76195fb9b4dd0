"""Wake-ups: a hint reaches whoever listens, nobody else, and a layer that fails costs nothing but time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from streamable_http.delivery.wakeups import base, channel_layer
from streamable_http.delivery.wakeups.channel_layer import ChannelLayerWakeups
from streamable_http.delivery.wakeups.local import LocalWakeups
from tests.services import OwnService

TOPIC = base.stream_topic(0xABC)


class Heard(asyncio.Queue[str]):
    """What was delivered."""

    async def wait(self) -> str:
        async with asyncio.timeout(10):
            return await self.get()


@contextlib.asynccontextmanager
async def running(wakeups: base.Wakeups) -> AsyncIterator[Heard]:
    heard = Heard()
    await wakeups.start(asyncio.get_running_loop(), heard.put_nowait)
    try:
        yield heard
    finally:
        await wakeups.stop()


@pytest.fixture(params=["memory", "redis"])
def layer(request: pytest.FixtureRequest, settings: Settings) -> None:
    if request.param == "memory":
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
        return
    url = request.getfixturevalue("redis_url")
    backend = "channels_redis.pubsub.RedisPubSubChannelLayer"
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": {"hosts": [url]}}}


async def wake_until_heard(waking: base.Wakeups, topic: str, heard: Heard) -> str:
    """Joining a group takes a moment, and a wake-up before it is lost, as any may be."""
    async with asyncio.timeout(10):
        while heard.empty():
            waking.wake(topic)
            await asyncio.sleep(0.02)
    return heard.get_nowait()


@pytest.mark.usefixtures("layer")
async def test_a_wake_up_reaches_another_worker() -> None:
    listening, waking = ChannelLayerWakeups(), ChannelLayerWakeups()
    async with running(listening) as heard, running(waking) as unheard:
        listening.listen(TOPIC)
        assert await wake_until_heard(waking, TOPIC, heard) == TOPIC
        assert unheard.empty()


@pytest.mark.usefixtures("layer")
async def test_only_topics_that_are_listened_to_are_delivered() -> None:
    listening, waking = ChannelLayerWakeups(), ChannelLayerWakeups()
    other, third = base.ask_topic(1), base.ask_topic(2)
    async with running(listening) as heard, running(waking):
        listening.listen(TOPIC)
        listening.listen(other)
        await wake_until_heard(waking, TOPIC, heard)
        await asyncio.sleep(0)
        listening.ignore(TOPIC)
        while not heard.empty():
            heard.get_nowait()
        waking.wake(TOPIC)
        waking.wake(third)
        delivered = {await wake_until_heard(waking, other, heard)}
        while not heard.empty():
            delivered.add(heard.get_nowait())
        assert delivered == {other}


async def test_a_layer_that_cannot_be_reached_is_said_once_and_harms_nobody(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    backend = "channels_redis.pubsub.RedisPubSubChannelLayer"
    # Port 1 of the loopback interface: nobody listens there.
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": {"hosts": ["redis://127.0.0.1:1"]}}}
    wakeups = ChannelLayerWakeups()
    async with running(wakeups) as heard:
        wakeups.listen(TOPIC)
        for _ in range(3):
            wakeups.wake(TOPIC)
        async with asyncio.timeout(10):
            while not caplog.records:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert heard.empty()
    assert [record.message for record in caplog.records if "polling only" in record.message] == [
        caplog.records[0].message
    ]


async def test_what_was_listened_to_while_the_layer_failed_is_woken_when_it_is_back(
    settings: Settings, own_redis: OwnService, caplog: pytest.LogCaptureFixture
) -> None:
    # Without its client's own patience, which would hide what ours does.
    host = {"address": own_redis.url, "retry": Retry(NoBackoff(), 0)}
    backend = "channels_redis.pubsub.RedisPubSubChannelLayer"
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": {"hosts": [host]}}}
    before, during, given_up = (base.stream_topic(number) for number in (1, 2, 3))
    listening, waking = ChannelLayerWakeups(), ChannelLayerWakeups()
    caplog.set_level("INFO", "streamable_http")
    async with running(listening) as heard, running(waking):
        listening.listen(before)
        assert await wake_until_heard(waking, before, heard) == before
        own_redis.stop()
        listening.listen(during)
        listening.listen(given_up)
        listening.ignore(given_up)
        waking.wake(during)
        async with asyncio.timeout(10):
            while "polling only" not in caplog.text:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        own_redis.start()
        for topic in (during, before):
            async with asyncio.timeout(20):
                while await wake_until_heard(waking, topic, heard) != topic:
                    pass
        assert "works again" in caplog.text


async def test_what_waits_for_the_layer_is_bounded_and_waits_once(settings: Settings) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    # Not started, so that nothing is taken.
    wakeups = ChannelLayerWakeups()
    for _ in range(3):
        wakeups.wake(TOPIC)
        wakeups.listen(TOPIC)
    assert (len(wakeups._hints), len(wakeups._changed)) == (1, 1)
    for number in range(0xABD, 0xABD + channel_layer.HINTS + 10):
        topic = base.stream_topic(number)
        wakeups.wake(topic)
        wakeups.listen(topic)
        wakeups.ignore(topic)
    assert (len(wakeups._hints), len(wakeups._changed)) == (channel_layer.HINTS, 1)


def test_a_layer_that_is_not_configured_is_a_set_up_error(settings: Settings) -> None:
    settings.CHANNEL_LAYERS = {}
    with pytest.raises(ImproperlyConfigured, match="No channel layer 'default'"):
        ChannelLayerWakeups()


async def test_local_wake_ups_stay_in_the_process() -> None:
    wakeups, other = LocalWakeups(), LocalWakeups()
    async with running(wakeups) as heard, running(other) as unheard:
        wakeups.listen(TOPIC)
        other.listen(TOPIC)
        wakeups.wake(TOPIC)
        assert await heard.wait() == TOPIC
        wakeups.ignore(TOPIC)
        wakeups.wake(TOPIC)
        assert heard.empty()
        assert unheard.empty()
