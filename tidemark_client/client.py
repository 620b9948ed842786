"""The client of Tidemark's own API, `/tidemark/v1`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date
from pathlib import Path
from secrets import token_hex
from typing import Any, Literal, TypeVar

from tidemark_client.changes import ChangeCalls
from tidemark_client.insights import BestTimes, Decay, Unusual
from tidemark_client.models import (
    Answer,
    Capabilities,
    Capability,
    Channel,
    ChannelEvent,
    ChannelEvents,
    Explanation,
    Page,
    Post,
    Series,
    Target,
    Totals,
    Usage,
    Window,
)
from tidemark_client.transport import parsed, quoted
from tidemark_client.webhooks import WebhookCalls

_PREFIX = "/tidemark/v1"
MOST_IDS = 500

Moment = date | str
"""A datetime with an offset, a date, or ISO 8601 text."""
Step = Literal["hour", "day"]
Mode = Literal["cumulative", "increments"]
Attribution = Literal["published", "received"]
Dataset = Literal["posts", "targets", "channels", "post-snapshots", "channel-snapshots"]
Length = Literal["24h", "7d", "28d"]
Order = Literal["desc", "asc"]
FileFormat = Literal["csv", "ndjson", "parquet", "arrow"]
_Row = TypeVar("_Row")
_Answer = TypeVar("_Answer", bound=Answer)


class Tidemark(ChangeCalls, WebhookCalls):
    """Reads the workspace that the key belongs to, and keeps its webhooks.

    Every method raises TidemarkError. Calls that only read are tried again where that may help.
    """

    def post(self, post_id: str) -> Post:
        """A post with its targets."""
        return self._get(Post, f"posts/{quoted(post_id)}")

    def target(self, target_id: str) -> Target:
        """One post on one channel."""
        return self._get(Target, f"targets/{quoted(target_id)}")

    def channel(self, channel_id: str) -> Channel:
        """A connected account with its latest figures."""
        return self._get(Channel, f"channels/{quoted(channel_id)}")

    def posts_by_ids(self, ids: Sequence[str]) -> Page[Post]:
        """Any number of posts, in the order of their ids; ids that do not exist are under `missing`."""
        return self._by_ids(Page[Post], "posts", ids)

    def targets_by_ids(self, ids: Sequence[str]) -> Page[Target]:
        """Any number of targets, in the order of their ids; ids that do not exist are under `missing`."""
        return self._by_ids(Page[Target], "targets", ids)

    def channels_by_ids(self, ids: Sequence[str]) -> Page[Channel]:
        """Any number of channels, in the order of their ids; ids that do not exist are under `missing`."""
        return self._by_ids(Page[Channel], "channels", ids)

    def posts(
        self,
        *,
        channel_id: str | None = None,
        channel_ids: Sequence[str] = (),
        platform: str | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
        order: Order = "desc",
        page_size: int = 100,
    ) -> Iterator[Post]:
        """All posts published within `[start, end)`, the newest or the oldest first; fetched page by page."""
        asked = {**_chosen(channel_id, channel_ids), "platform": platform, "from": _text(start), "to": _text(end)}
        return self._pages(Page[Post], "posts", {**asked, "order": _rising(order), "limit": page_size})

    def targets(
        self,
        *,
        channel_id: str | None = None,
        channel_ids: Sequence[str] = (),
        platform: str | None = None,
        external_id: str | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
        order: Order = "desc",
        page_size: int = 100,
    ) -> Iterator[Target]:
        """All targets published within `[start, end)`, by time; `external_id` needs `platform`."""
        asked = {**_chosen(channel_id, channel_ids), "platform": platform, "from": _text(start), "to": _text(end)}
        return self._pages(
            Page[Target], "targets", {**asked, "order": _rising(order), "external_id": external_id, "limit": page_size}
        )

    def channels(
        self, *, platform: str | None = None, external_id: str | None = None, page_size: int = 100
    ) -> Iterator[Channel]:
        """All channels, ordered by id; `external_id` needs `platform`."""
        asked = {"platform": platform, "external_id": external_id, "limit": page_size}
        return self._pages(Page[Channel], "channels", asked)

    def top_posts(
        self,
        metric: str,
        *,
        order: Order = "desc",
        channel_id: str | None = None,
        channel_ids: Sequence[str] = (),
        platform: str | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
        page_size: int = 50,
    ) -> Iterator[Post]:
        """Posts by one metric, the greatest or the least first; posts without the metric are left out."""
        asked = {"metric": metric, "order": order, **_chosen(channel_id, channel_ids), "platform": platform}
        span = {"from": _text(start), "to": _text(end), "limit": page_size}
        return self._pages(Page[Post], "top/posts", {**asked, **span})

    def explain_post(self, post_id: str, metric: str) -> Explanation:
        """The answers and targets that a post's total is made of."""
        return self._get(Explanation, f"posts/{quoted(post_id)}/explain", {"metric": metric})

    def explain_target(self, target_id: str, metric: str) -> Explanation:
        """The answer that a target's figure is from."""
        return self._get(Explanation, f"targets/{quoted(target_id)}/explain", {"metric": metric})

    def capabilities(self) -> list[Capability]:
        """For each platform and metric, whether the platform reports the metric, and how late."""
        return self._get(Capabilities, "capabilities").data

    def usage(self) -> Usage:
        """What the workspace's polls cost in this month."""
        return self._get(Usage, "usage")

    def post_series(
        self,
        post_id: str,
        metrics: Sequence[str],
        *,
        start: Moment | None = None,
        end: Moment | None = None,
        step: Step = "day",
        tz: str = "UTC",
        mode: Mode = "cumulative",
    ) -> Series:
        """A post's figures over time; without a span, over the last 28 days."""
        return self._series(f"posts/{quoted(post_id)}", metrics, start, end, step, tz, mode)

    def target_series(
        self,
        target_id: str,
        metrics: Sequence[str],
        *,
        start: Moment | None = None,
        end: Moment | None = None,
        step: Step = "day",
        tz: str = "UTC",
        mode: Mode = "cumulative",
    ) -> Series:
        """A target's figures over time; without a span, over the last 28 days."""
        return self._series(f"targets/{quoted(target_id)}", metrics, start, end, step, tz, mode)

    def channel_series(
        self,
        channel_id: str,
        metrics: Sequence[str],
        *,
        start: Moment | None = None,
        end: Moment | None = None,
        step: Step = "day",
        tz: str = "UTC",
        mode: Mode = "cumulative",
        source: Literal["posts", "channel"] = "posts",
    ) -> Series:
        """A channel's figures over time: sums over its posts, or the platform's own figures of the account."""
        return self._series(f"channels/{quoted(channel_id)}", metrics, start, end, step, tz, mode, {"source": source})

    def workspace_series(
        self,
        metrics: Sequence[str],
        *,
        start: Moment | None = None,
        end: Moment | None = None,
        step: Step = "day",
        tz: str = "UTC",
        mode: Mode = "cumulative",
        channel_ids: Sequence[str] = (),
    ) -> Series:
        """The workspace's figures over time, summed over all channels or those named."""
        return self._series("", metrics, start, end, step, tz, mode, _chosen(None, channel_ids))

    def best_times(
        self,
        metric: str = "engagements",
        *,
        channel_id: str | None = None,
        channel_ids: Sequence[str] = (),
        start: Moment | None = None,
        end: Moment | None = None,
        tz: str = "UTC",
        age_hours: int = 24,
    ) -> BestTimes:
        """What posts of each hour of the week had at an age, against their channel's usual."""
        span = _span(start, end, tz)
        return self._get(
            BestTimes,
            "insights/best-times",
            {"metric": metric, **_chosen(channel_id, channel_ids), **span, "age_hours": age_hours},
        )

    def decay(
        self,
        metric: str = "engagements",
        *,
        channel_id: str | None = None,
        channel_ids: Sequence[str] = (),
        start: Moment | None = None,
        end: Moment | None = None,
        tz: str = "UTC",
        base_days: int = 28,
    ) -> Decay:
        """How fast posts reach the figure that they have after some days."""
        span = _span(start, end, tz)
        return self._get(
            Decay,
            "insights/decay",
            {"metric": metric, **_chosen(channel_id, channel_ids), **span, "base_days": base_days},
        )

    def unusual(
        self,
        metric: str = "engagements",
        *,
        channel_id: str | None = None,
        channel_ids: Sequence[str] = (),
        start: Moment | None = None,
        end: Moment | None = None,
        tz: str = "UTC",
        factor: float = 3.0,
    ) -> Unusual:
        """Posts far from their channel's usual, counters that fell, and late polls."""
        span = _span(start, end, tz)
        return self._get(
            Unusual,
            "insights/unusual",
            {"metric": metric, **_chosen(channel_id, channel_ids), **span, "factor": factor},
        )

    def totals(
        self,
        *,
        channel_id: str | None = None,
        channel_ids: Sequence[str] = (),
        start: Moment | None = None,
        end: Moment | None = None,
        tz: str = "UTC",
        attribution: Attribution = "published",
        is_compared: bool = False,
    ) -> Totals:
        """Figures of the workspace, or of channels, in a window; `is_compared` adds those of the window before."""
        path = "totals" if channel_id is None else f"channels/{quoted(channel_id)}/totals"
        span = {**_span(start, end, tz), "format": "json"}
        compare = "previous" if is_compared else None
        return self._get(
            Totals, path, {**span, **_chosen(None, channel_ids), "attribution": attribution, "compare": compare}
        )

    def channel_events(self, channel_id: str) -> list[ChannelEvent]:
        """What happened to a channel's connection in the last 30 days, the latest first."""
        return self._get(ChannelEvents, f"channels/{quoted(channel_id)}/events").data

    def channel_window(self, channel_id: str, length: Length = "28d") -> Window:
        """A channel's totals over the window of a length (`24h`, `7d`, `28d`) that ends now."""
        return self._get(Window, f"channels/{quoted(channel_id)}/windows", {"range": length})

    def export(
        self,
        dataset: Dataset,
        *,
        fmt: FileFormat = "csv",
        channel_id: str | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
        tz: str = "UTC",
    ) -> AbstractContextManager[Iterator[bytes]]:
        """A whole data set as a file, in chunks; raises during iteration when the file can't be finished."""
        span = _span(start, end, tz)
        return self._stream(f"{_PREFIX}/exports/{dataset}", {**span, "channel_id": channel_id, "format": fmt})

    def export_to(self, path: Path, dataset: Dataset, **asked: Any) -> None:
        """Write `export` to a file, which appears only once it is whole."""
        # Another export to the same file writes a part of its own.
        part = path.with_name(f"{path.name}.{token_hex(8)}.part")
        try:
            with self.export(dataset, **asked) as chunks, part.open("xb") as file:
                file.writelines(chunks)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def _get(self, model: type[_Answer], path: str, params: Mapping[str, Any] | None = None) -> _Answer:
        return self._read(model, f"{_PREFIX}/{path}", params)

    def _series(
        self,
        subject: str,
        metrics: Sequence[str],
        start: Moment | None,
        end: Moment | None,
        step: Step,
        tz: str,
        mode: Mode,
        more: Mapping[str, str | None] | None = None,
    ) -> Series:
        span = {**_span(start, end, tz), "format": "json"}
        asked = {"metrics": ",".join(metrics), "step": step, "mode": mode, **span, **(more or {})}
        return self._get(Series, f"{subject}/series".lstrip("/"), asked)

    def _by_ids(self, model: type[Page[_Row]], subject: str, ids: Sequence[str]) -> Page[_Row]:
        data: list[_Row] = []
        missing: list[str] = []
        for first in range(0, len(ids), MOST_IDS):
            body = {"ids": list(ids[first : first + MOST_IDS])}
            reply = self._call("POST", f"{_PREFIX}/{subject}/query", json=body, repeatable=True)
            page = parsed(model, reply)
            data += page.data
            missing += page.missing
        return model(data=data, missing=missing, next_cursor=None)

    def _pages(self, model: type[Page[_Row]], path: str, asked: Mapping[str, Any]) -> Iterator[_Row]:
        cursor: str | None = None
        while True:
            page = self._get(model, path, {**asked, "cursor": cursor})
            yield from page.data
            cursor = page.next_cursor
            if cursor is None:
                return


def _span(start: Moment | None, end: Moment | None, tz: str) -> dict[str, str | None]:
    return {"from": _text(start), "to": _text(end), "tz": tz}


def _chosen(channel_id: str | None, channel_ids: Sequence[str]) -> dict[str, str | None]:
    return {"channel_id": channel_id, "channel_ids": ",".join(channel_ids) or None}


def _rising(order: Order) -> Order | None:
    # Servers before this parameter know one order only.
    return order if order == "asc" else None


def _text(moment: Moment | None) -> str | None:
    return moment.isoformat() if isinstance(moment, date) else moment
