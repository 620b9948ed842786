"""Answers as PowerPost's replies. Pure."""

from __future__ import annotations

from typing import Any

from schemas.metrics import COMMENTS, LIKES, VIEWS
from services.query_api.dialects.powerpost.models import STATUS_NAMES
from services.query_api.reads.query import Target, or_zero, with_fallback
from services.runtime.clock import iso_seconds


def item_analytics(target: Target) -> dict[str, Any]:
    """The latest figures of one post item; no metrics before its first poll."""
    return {
        "post_item_id": target.target_id,
        "post_type": target.post_type,
        "platform": target.platform,
        "status": STATUS_NAMES[target.status],
        "metrics": None if target.captured_at is None else _metrics(target, target.captured_at),
    }


def _metrics(target: Target, captured_at: int) -> dict[str, Any]:
    values = with_fallback(target.values)
    return {
        "views": or_zero(values[VIEWS]),
        "likes": or_zero(values[LIKES]),
        "comments": or_zero(values[COMMENTS]),
        "fetched_at": iso_seconds(captured_at),
    }
