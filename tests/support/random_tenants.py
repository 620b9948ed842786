"""Tables filled by the aggregator's own folds from random catalogs and answers, for those who check its numbers."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from schemas.events import CatalogChannel, CatalogPost, CatalogTarget, PlatformRaw, RawTarget
from schemas.metrics import CHANNEL_METRICS, INT64_MAX, POST_METRICS, Metric, Values
from schemas.windows import DAY, HOUR
from services.aggregator.batch import Batch, CatalogWrite
from services.aggregator.filling import fill
from services.aggregator.fold import fold_batch
from services.aggregator.reading import Message, RawReading
from services.aggregator.rows import Version
from services.aggregator.state import PartitionState
from services.platforms.base import ChannelReading, PostReading, Reading
from tests.support.state_store import StateStore

_TARGETS = tuple(f"t{number}" for number in range(8))
_POSTS = tuple(f"p{number}" for number in range(4))
_CHANNELS = ("c1", "c2", "c3")


class RandomTenant:
    """One workspace that lives through random steps.

    Args:
        store: takes the rows; may be shared by tenants.
        now: ms, of the first step.
    """

    def __init__(self, store: StateStore, workspace_id: str, now: int, seed: int) -> None:
        self._store = store
        self._workspace_id = workspace_id
        self._chance = random.Random(seed)
        self._state = PartitionState.empty(1000)
        self._now = now
        self._sequence = 0
        self._events = 0
        self._told: list[RawReading] = []

    async def live(self, steps: int) -> None:
        """Take steps: catalog writes, answers, repeats with other instants, restarts, time that goes by."""
        kinds: list[Callable[[Batch], None]] = [
            self._post, self._post, self._channel, self._answer, self._answer, self._answer, self._days, self._lifetime,
            self._window, self._again,
        ]  # fmt: skip
        for _ in range(steps):
            batch = Batch()
            self._chance.choice(kinds)(batch)
            if self._chance.random() < 0.1:
                self._state = PartitionState.empty(1000)
            if self._chance.random() < 0.2:
                self._now += self._chance.choice((1, HOUR, 7 * HOUR, 2 * DAY))
                batch.expired = [(self._workspace_id, channel) for channel in _CHANNELS]
            await self._apply(batch)
        # The aggregator tells windows again when their time ran out.
        await self._apply(Batch(expired=[(self._workspace_id, channel) for channel in _CHANNELS]))

    async def _apply(self, batch: Batch) -> None:
        related = await fill(self._state, batch, self._store, 0, self._now)
        self._sequence += 1
        version = Version(0, 0, (1 << 40) + self._sequence)
        effects = fold_batch(self._state, batch, related, version, self._now)
        self._store.insert(effects.inserts)
        self._store.publish(effects)

    def _post(self, batch: Batch) -> None:
        post_id = self._chance.choice(_POSTS)
        event = None
        if self._chance.random() > 0.1:
            targets = tuple(
                CatalogTarget(
                    target_id,
                    self._chance.choice(_CHANNELS),
                    status=self._chance.choice(("published", "published", "published", "deleted")),
                    published_at=self._instant() if self._chance.random() < 0.3 else None,
                )
                for target_id in self._chance.sample(_TARGETS, self._chance.randrange(4))
            )
            status = self._chance.choice(("published", "published", "published", "draft", "deleted"))
            published_at = self._instant() if self._chance.random() < 0.9 else None
            event = CatalogPost(self._workspace_id, post_id, status, published_at, published_at, targets, self._now)
        batch.catalog.append(CatalogWrite(self._workspace_id, post_id, event, True, self._now))

    def _channel(self, batch: Batch) -> None:
        channel_id = self._chance.choice(_CHANNELS)
        event = None
        if self._chance.random() > 0.2:
            platform = self._chance.choice(("x", "instagram"))
            event = CatalogChannel(self._workspace_id, channel_id, platform, "e", "n", "active", None, self._now)
        batch.catalog.append(CatalogWrite(self._workspace_id, channel_id, event, False, self._now))

    def _answer(self, batch: Batch) -> None:
        asked = self._chance.sample(_TARGETS, self._chance.randrange(1, 4))
        said = []
        for position in range(len(asked)):
            spoken = self._chance.choice((0, 0b1011, (1 << len(POST_METRICS)) - 1, self._chance.getrandbits(17)))
            ranged = spoken & self._chance.choice((0, 0, self._chance.getrandbits(17)))
            values = self._values(POST_METRICS, spoken)
            said.append(PostReading(position, spoken, ranged, values))
        batch.raw.append(self._reading(Reading(posts=said), tuple(asked)))

    def _channel_values(self) -> tuple[int, Values]:
        spoken = self._chance.choice(((1 << len(CHANNEL_METRICS)) - 1, self._chance.getrandbits(13) | 0b11000))
        return spoken, self._values(CHANNEL_METRICS, spoken)

    def _days(self, batch: Batch) -> None:
        """Whole days of the platform's own, now and then with a gap."""
        last = self._now // DAY * DAY - self._chance.choice((0, 0, DAY, 4 * DAY))
        said = []
        for number in range(self._chance.choice((1, 7, 28))):
            if self._chance.random() < 0.98:
                end = last - number * DAY
                said.append(ChannelReading("day", end - DAY, end, *self._channel_values()))
        batch.raw.append(self._reading(Reading(channels=said), ()))

    def _window(self, batch: Batch) -> None:
        end = self._now - self._chance.choice((0, HOUR, 80 * HOUR))
        if self._chance.random() < 0.5:
            end = end // DAY * DAY
        start = end - self._chance.choice((1, 7, 28)) * DAY + self._chance.choice((0, 0, HOUR))
        said = ChannelReading("window", start, end, *self._channel_values())
        batch.raw.append(self._reading(Reading(channels=[said]), ()))

    def _lifetime(self, batch: Batch) -> None:
        said = ChannelReading("lifetime", None, None, *self._channel_values())
        batch.raw.append(self._reading(Reading(channels=[said]), ()))

    def _again(self, batch: Batch) -> None:
        """Publish an earlier answer once more, as it was or as captured at another instant."""
        if not self._told:
            return
        read = self._chance.choice(self._told)
        captured_at = read.event.captured_at + self._chance.choice((0, -1, 1, -HOUR, HOUR))
        batch.raw.append(replace(read, event=replace(read.event, captured_at=captured_at)))

    def _reading(self, said: Reading, targets: tuple[str, ...]) -> RawReading:
        self._events += 1
        event = PlatformRaw(
            f"e{self._chance.randrange(3)}-{self._events}", self._workspace_id, self._chance.choice(_CHANNELS), "x",
            "POST_METRICS", "/", {}, tuple(RawTarget(target, "unknown", target) for target in targets), 200, b"{}",
            self._now - self._chance.choice((0, 1000, HOUR)), "SCHEDULE",
        )  # fmt: skip
        message = Message("platform.raw", 0, self._events, b"w", b"", event.captured_at)
        read = RawReading(message, event, event.event_id.encode(), said)
        self._told.append(read)
        return read

    def _instant(self) -> int:
        return self._now - self._chance.choice((HOUR, 23 * HOUR, DAY, 7 * DAY, 20 * DAY, 28 * DAY, 60 * DAY, -HOUR))

    def _values(self, metrics: Sequence[Metric], spoken: int) -> Values:
        return tuple(self._value(metric) if spoken >> index & 1 else None for index, metric in enumerate(metrics))

    def _value(self, metric: Metric) -> int | None:
        huge = INT64_MAX if self._chance.random() < 0.02 and not metric.is_duration else 7
        return self._chance.choice((None, 0, 1, 1234, 1234, 99_999, 99_999, huge))
