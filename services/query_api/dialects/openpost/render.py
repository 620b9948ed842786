"""Answers as OpenPost's replies. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schemas.metrics import COMMENTS, IMPRESSIONS, LIKES, SHARES, Values
from services.query_api.dialects.openpost.models import PLATFORM_NAMES
from services.query_api.reads.query import (
    PostHistory,
    Snapshot,
    Target,
    or_zero,
    totals,
    with_fallback,
)
from services.runtime.clock import iso_seconds


def snapshot_list(snapshots: Sequence[Snapshot]) -> dict[str, Any]:
    """Snapshots of a workspace, newest first."""
    return {"data": [_row(snapshot) for snapshot in snapshots]}


def post_metrics(history: PostHistory) -> dict[str, Any]:
    """Latest figures of a post, target by target, with each target's snapshots."""
    targets = history.post.targets
    return {
        "data": {
            "post_id": history.post.post_id,
            "totals": _figures(totals(target.values for target in targets)),
            "targets": [_target(target, history.snapshots.get(target.target_id, ())) for target in targets],
        }
    }


def _target(target: Target, snapshots: Sequence[Snapshot]) -> dict[str, Any]:
    return {
        "target_id": target.target_id,
        "platform": PLATFORM_NAMES.get(target.platform, target.platform),
        "username": target.username,
        "status": target.status,
        "post_url": target.url,
        **_figures(with_fallback(target.values)),
        "snapshots": [_row(snapshot) for snapshot in snapshots],
    }


def _row(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "id": f"{snapshot.event_id}:{snapshot.target_id}",
        "post_target_id": snapshot.target_id,
        "integration_id": snapshot.channel_id,
        **_figures(with_fallback(snapshot.values)),
        "platform_data": snapshot.part,
        "captured_at": iso_seconds(snapshot.captured_at),
    }


def _figures(values: Values) -> dict[str, int]:
    return {
        "impressions": or_zero(values[IMPRESSIONS]),
        "likes": or_zero(values[LIKES]),
        "comments": or_zero(values[COMMENTS]),
        "shares": or_zero(values[SHARES]),
    }
