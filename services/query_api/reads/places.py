"""Which question is answered from where. Pure.

The store holds what the compacted topics hold: posts with the latest figures of their targets, channels and the totals
of their windows. Whatever looks back, reads payloads, or sums and ranks many posts is
ClickHouse's. While the store may be
old, ClickHouse answers all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from services.query_api.reads.query import (
    AccountHistoryQuestion,
    AccountQuestion,
    ChannelWindowQuestion,
    HealthQuestion,
    LivePostQuestion,
    PostHistoryQuestion,
    PostQuestion,
    PostScoresQuestion,
    Question,
    SnapshotsQuestion,
    TargetQuestion,
    WindowTotalsQuestion,
)


class Place(Enum):
    """Where an answer comes from."""

    STORE = "the store"
    STORE_AND_CLICKHOUSE = "the post from the store, the rest from ClickHouse"
    CLICKHOUSE = "ClickHouse"
    MEMORY = "the channels in memory"


PLACES: Final[Mapping[type[Question[Any]], Place]] = {
    PostQuestion: Place.STORE,
    TargetQuestion: Place.STORE,
    # With what a live pull brought, merged over the store's registers.
    LivePostQuestion: Place.STORE,
    # A window that a target entered or left since it was told is computed from ClickHouse.
    ChannelWindowQuestion: Place.STORE,
    PostHistoryQuestion: Place.STORE_AND_CLICKHOUSE,
    # Of channels with few thousand posts in the span; of larger ones ClickHouse compares.
    PostScoresQuestion: Place.STORE,
    # Of each total whether the platform told it, which no topic says.
    WindowTotalsQuestion: Place.CLICKHOUSE,
    SnapshotsQuestion: Place.CLICKHOUSE,
    # A snapshot of an account shows its payloads.
    AccountQuestion: Place.CLICKHOUSE,
    AccountHistoryQuestion: Place.CLICKHOUSE,
    HealthQuestion: Place.MEMORY,
}
