"""Tells the schedule, before the channels of newly gained partitions are asked, what was captured when.

Two sources, which together leave no gap. `rollups.posts` holds the last capture of each post on each channel, as far as
the aggregator has come; `platform.raw` holds every answer at once, so its end is read from before that point. Where the
aggregator stands still, the raw events of the longest interval are read: what was captured earlier is due in any case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from schemas.codec import Codec, MalformedEvent, RecordCodec
from schemas.conversions import instant as instant_of
from schemas.events import Origin, PlatformRaw, RawKind
from schemas.keys import checked_key, parsed_key
from schemas.topic_names import CHANNEL_SNAPSHOTS, POST_ROLLUPS
from services.poller.catalog import Catalog
from services.poller.connections.accounts import Accounts
from services.poller.keys import ChannelKey
from services.poller.reader import Fold
from services.poller.schedule.entry import Entry
from services.poller.schedule.schedule import Schedule
from services.runtime.brokers import Record
from services.runtime.clock import MILLIS_PER_DAY
from services.runtime.logging import get_logger
from services.runtime.registry import RegistryUnavailable

# What the aggregator has folded by the newest capture that it tells of, less what may be out of order: a producer's
# clock may be ahead by five minutes, and an answer waits for Kafka for a while.
MARGIN = 6 * 60_000
LONGEST_INTERVAL = MILLIS_PER_DAY
# Statuses that are an answer as to when a target was asked. After the others a poll is to be repeated soon.
_ANSWERED = frozenset({200, 400, 403, 404, 410})
_log = get_logger(__name__)


class Bookkeeper(Protocol):
    """Keeps the books of what platforms bill for; see `services.poller.spending`."""

    def target_was_read(self, entry: Entry, at: int) -> None:
        """A target was captured at an instant, ms."""

    def channel_was_read(self, key: ChannelKey, at: int) -> None:
        """A channel's own figures were captured at an instant, ms."""

    def replay(self, event: PlatformRaw) -> None:
        """An answer that was published before."""


class Captures:
    """What is found out while some partitions are loaded.

    Args:
        now: the clock, ms; what was captured later than that, by a clock that was wrong, counts as captured now.
        bookkeeper: told what was captured, so that what platforms bill for is known; by default nobody.

    Attributes:
        channels: when channels' own figures were last captured, ms.
    """

    def __init__(
        self, schedule: Schedule, catalog: Catalog, now: Callable[[], int], bookkeeper: Bookkeeper | None = None
    ) -> None:
        self._schedule = schedule
        self._bookkeeper = bookkeeper
        self._catalog = catalog
        self._now = now
        self._newest: dict[int, int] = {}
        self.channels: dict[ChannelKey, int] = {}

    def rollup(self, codec: RecordCodec) -> Fold:
        """Returns what takes each message of `rollups.posts`: a target is due an interval after its last answer."""

        def fold(_: str, record: Record) -> None:
            if record.value is None:
                return
            rollup = codec.decode(record.value)
            workspace_id, post_id = checked_key(POST_ROLLUPS, record.key, rollup)
            entries = self._catalog.entries(workspace_id, post_id)
            for part in rollup["channels"]:
                captured_at = instant_of(part["captured_at"])
                if captured_at is None:
                    continue
                self._newest[record.partition] = max(captured_at, self._newest.get(record.partition, 0))
                for entry in entries:
                    if entry.key[1] == part["channel_id"]:
                        self._schedule.restore(entry, min(captured_at, self._now()))
                        if self._bookkeeper is not None:
                            self._bookkeeper.target_was_read(entry, captured_at)

        return tolerant(fold)

    def channel_snapshot(self) -> Fold:
        """Returns what takes each message of `metrics.channel-snapshots`; its time is close enough to the capture's."""

        def fold(_: str, record: Record) -> None:
            workspace_id, channel_id = parsed_key(CHANNEL_SNAPSHOTS, record.key)
            self._channel((workspace_id, channel_id), record.timestamp)

        return tolerant(fold)

    def raw_since(self, partitions: Iterable[int], now: int, speed: float) -> dict[int, int]:
        """From when on (ms) raw events are to be read, by partition, after the rollups were.

        Args:
            speed: what intervals are divided by.
        """
        oldest = now - max(MARGIN, int(LONGEST_INTERVAL / speed))
        return {number: max(oldest, min(now, self._newest.get(number, 0)) - MARGIN) for number in partitions}

    def raw(self, codec: Codec[Any]) -> Fold:
        """Returns what takes each message of `platform.raw`, which are newer than the rollups: likewise."""

        def fold(_: str, record: Record) -> None:
            event: PlatformRaw = codec.decode(record.value or b"")
            if self._bookkeeper is not None:
                self._bookkeeper.replay(event)
            if event.origin == Origin.BACKFILL or event.http_status not in _ANSWERED:
                return
            if event.kind == RawKind.CHANNEL_METRICS:
                self._channel((event.workspace_id, event.channel_id), event.captured_at)
            for target in event.targets:
                for entry in self._catalog.entries(event.workspace_id, target.post_id):
                    if entry.target_id == target.target_id and entry.key[1] == event.channel_id:
                        self._schedule.restore(entry, min(event.captured_at, self._now()))

        return tolerant(fold)

    def _channel(self, key: ChannelKey, captured_at: int) -> None:
        if self._bookkeeper is not None:
            self._bookkeeper.channel_was_read(key, captured_at)
        self.channels[key] = max(min(captured_at, self._now()), self.channels.get(key, 0))


def account_events(accounts: Accounts, codec: Codec[Any]) -> Fold:
    """Folds `accounts.events`: which connections were announced as broken."""

    def fold(_: str, record: Record) -> None:
        if record.value is not None:
            accounts.replay(codec.decode(record.value))

    return tolerant(fold)


def tolerant(fold: Fold) -> Fold:
    """The fold, but for messages that can't be read."""

    def tolerating(topic: str, record: Record) -> None:
        try:
            fold(topic, record)
        except MalformedEvent as error:
            _log.error("an event can't be read and is passed over", topic=topic, offset=record.offset, error=str(error))
        except RegistryUnavailable:
            raise
        except Exception as error:
            # One message must not keep the others from being read, whatever is wrong with it or with its decoder.
            _log.error(
                "an event breaks its reader and is passed over", topic=topic, offset=record.offset, error=repr(error)
            )

    return tolerating
