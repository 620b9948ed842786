"""Totals of channels' windows as they are stored, with the ends that they are exact for. Pure but for the snapshot."""

from __future__ import annotations

from typing import NamedTuple

from schemas.events import CatalogChannel
from schemas.metrics import POST_METRICS, Values
from schemas.windows import FOLLOWERS, RANGES
from services.query_api.reads.query import ChannelWindow, ChannelWindowQuestion
from services.query_api.store.reading import View

_METRICS = len(POST_METRICS)


class WindowRow(NamedTuple):
    """Totals of a channel's window, with the ends that they are exact for."""

    source: str
    start: int
    end: int
    valid_from: int | None
    valid_until: int | None
    engagements: int | None
    views_or_impressions: int | None
    impressions_or_views: int | None
    followers: int | None
    values: Values

    def is_exact_at(self, end: int) -> bool:
        """Whether the totals are those of the window that ends at `end`."""
        return (self.valid_from is None or self.valid_from < end) and (
            self.valid_until is None or end <= self.valid_until
        )


def stored_window(view: View, workspace_id: str, channel_id: str, length: str) -> WindowRow | None:
    """The totals of a window as they were last told."""
    held = view.window(workspace_id, channel_id, length)
    if held is None:
        return None
    return WindowRow(
        held.source,
        held.start,
        held.end,
        held.valid_from,
        held.valid_until,
        held.engagements,
        held.views_or_impressions,
        held.impressions_or_views,
        held.values[FOLLOWERS],
        held.values[:_METRICS],
    )


def shown_window(question: ChannelWindowQuestion, channel: CatalogChannel, row: WindowRow) -> ChannelWindow:
    """The answer that a row gives to a question whose end it is exact at."""
    native = row.source == "channel"
    return ChannelWindow(
        channel_id=question.channel_id,
        platform=channel.platform,
        range=question.range,
        source=row.source,
        start=row.start if native else question.end - RANGES[question.range],
        end=row.end if native else question.end,
        values=row.values,
        engagements=row.engagements,
        views_or_impressions=row.views_or_impressions,
        impressions_or_views=row.impressions_or_views,
        followers=row.followers,
    )
