"""What the group says that ends a place in it: a new one is taken, or the process ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError

from services.runtime import membership
from services.runtime.membership import GroupRefused, Membership
from services.runtime.settings import KafkaSettings

FENCED = "Fatal error: Broker: Static consumer fenced by other consumer with same group.instance.id"


class _Message:
    def __init__(self, error: KafkaError) -> None:
        self._error = error

    def error(self) -> KafkaError:
        return self._error


class _Consumers:
    """Consumers in place of librdkafka's: the first one is told an error by its first poll."""

    def __init__(self, loop: asyncio.AbstractEventLoop, error: KafkaError) -> None:
        self.options: list[dict[str, Any]] = []
        self.second_polls = asyncio.Event()
        self._loop = loop
        self._error = error

    def __call__(self, options: dict[str, Any]) -> _Consumers:
        self.options.append(options)
        return self

    def subscribe(self, topics: list[str], **_: Callable[..., None]) -> None:
        """Nobody is given a partition."""

    def poll(self, _: float) -> _Message | None:
        if len(self.options) == 1:
            return _Message(self._error)
        self._loop.call_soon_threadsafe(self.second_polls.set)
        return None

    def close(self) -> None:
        """Nothing is open."""


class _Listener:
    async def gained(self, partitions: Sequence[int], not_before: int) -> None:
        """Takes no part."""

    async def revoked(self, partitions: Sequence[int]) -> None:
        """Takes no part."""

    async def lost(self, partitions: Sequence[int]) -> None:
        """Takes no part."""

    def proven(self, sent_at: int) -> None:
        """Takes no part."""


def _member(monkeypatch: pytest.MonkeyPatch, error: KafkaError) -> tuple[Membership, _Consumers]:
    consumers = _Consumers(asyncio.get_running_loop(), error)
    monkeypatch.setattr(membership, "Consumer", consumers)
    made = Membership(
        KafkaSettings(kafka_bootstrap="kafka:9092"), "group", "topic", _Listener(), instance_id="poller-0",
        session_seconds=6, drain_seconds=1, position=lambda _: 0,
    )  # fmt: skip
    return made, consumers


@pytest.mark.parametrize(
    "error",
    [KafkaError(KafkaError.FENCED_INSTANCE_ID), KafkaError(KafkaError._FATAL, FENCED)],
    ids=["by its own code", "as a poll tells it"],
)
async def test_who_is_fenced_goes_on_under_no_name(monkeypatch: pytest.MonkeyPatch, error: KafkaError) -> None:
    """A poll's error is not marked as fatal: the place stayed lost for ever, on a consumer that is dead."""
    assert not error.fatal()
    member, consumers = _member(monkeypatch, error)
    running = asyncio.create_task(member.run())
    try:
        async with asyncio.timeout(20):
            await consumers.second_polls.wait()
    finally:
        await member.stop()
    await running
    assert [options.get("group.instance.id") for options in consumers.options] == ["poller-0", None]


async def test_another_fatal_error_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    member, _ = _member(monkeypatch, KafkaError(KafkaError._FATAL, "Fatal error: Local: something else"))
    try:
        async with asyncio.timeout(20):
            with pytest.raises(GroupRefused, match="something else"):
                await member.run()
    finally:
        await member.stop()
