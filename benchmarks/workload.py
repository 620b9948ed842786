"""Raw events and a catalog for the pipeline's benchmark: the same ones for every contestant. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from schemas.events import CatalogTarget, PlatformRaw, RawTarget

PER_EVENT = 50


@dataclass(frozen=True)
class Workload:
    """A number of snapshots, 50 an event, as X answers.

    Attributes:
        snapshots: in all.
        channels: each with `per_event` posts of one target.
        workspaces: channels are spread over these.
        per_event: targets of one event; 1 where a platform is asked for its posts one by one.
    """

    snapshots: int
    channels: int = 200
    workspaces: int = 200
    per_event: int = PER_EVENT

    @property
    def events(self) -> int:
        """Raw events."""
        return self.snapshots // self.per_event

    def workspace(self, channel: int) -> str:
        """The tenant of a channel."""
        return f"bench-{channel % self.workspaces}"

    def posts(self, now: int) -> Iterator[tuple[str, str, int, list[CatalogTarget]]]:
        """Workspace, post id, publishing time and targets of every post."""
        for channel in range(self.channels):
            for number in range(self.per_event):
                target = CatalogTarget(f"t{channel}-{number}", f"c{channel}", external_id=_external(channel, number))
                yield self.workspace(channel), f"p{channel}-{number}", now - 3_600_000 * (1 + number * 6), [target]

    def raw(self, start: int) -> Iterator[PlatformRaw]:
        """The events, in the order of their capture; `start` ms."""
        chance = random.Random(7)
        for index in range(self.events):
            channel = index % self.channels
            round_number = index // self.channels
            targets = tuple(
                RawTarget(f"t{channel}-{n}", f"p{channel}-{n}", _external(channel, n)) for n in range(self.per_event)
            )
            base = 100 + round_number * 10
            data = [
                {
                    "id": target.external_id,
                    "text": "A post that was published a while ago",
                    "edit_history_tweet_ids": [target.external_id],
                    "public_metrics": {
                        "retweet_count": base + chance.randrange(10),
                        "reply_count": base // 2 + chance.randrange(10),
                        "like_count": base * 8 + chance.randrange(100),
                        "quote_count": chance.randrange(10),
                        "bookmark_count": base // 3,
                        "impression_count": base * 150 + chance.randrange(1000),
                    },
                    "non_public_metrics": {
                        "impression_count": base * 150,
                        "url_link_clicks": base * 2,
                        "user_profile_clicks": base,
                        "engagements": base * 5,
                    },
                }
                for target in targets
            ]
            yield PlatformRaw(
                event_id=f"01999999-0000-7000-8000-{index:012d}",
                workspace_id=self.workspace(channel),
                channel_id=f"c{channel}",
                platform="x",
                kind="POST_METRICS",
                endpoint="/2/tweets",
                request={"tweet.fields": "public_metrics,non_public_metrics"},
                targets=targets,
                http_status=200,
                body=orjson.dumps({"data": data}),
                captured_at=start + index,
                origin="SCHEDULE",
            )


def _external(channel: int, number: int) -> str:
    return str(1_900_000_000_000_000_000 + channel * 1000 + number)
