"""Sample replies of insights, and the schemas of these replies. Pure."""

from __future__ import annotations

from typing import Any

from services.query_api.tidemark.insights.measures import (
    LEAST_FIGURE,
    LEAST_OF_AGE,
    LEAST_OF_CELL,
    LEAST_OF_CHANNEL,
    METRICS,
)

Schema = dict[str, Any]

_INSTANT: Schema = {"type": "string", "format": "date-time"}
_TIME: Schema = {"type": ["string", "null"], "format": "date-time"}
_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_INTEGER: Schema = {"type": "integer"}
_SHARE: Schema = {"type": ["number", "null"]}
# There only if the request chose them.
_CHOSEN: Schema = {"channel_ids": {"type": "array", "items": _TEXT}}


def _object(name: str, properties: Schema) -> Schema:
    return {
        "title": name,
        "type": "object",
        "required": [name for name in properties if name not in _CHOSEN],
        "additionalProperties": False,
        "properties": properties,
    }


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


_ASKED: Schema = {
    "metric": {"type": "string", "enum": list(METRICS)},
    "channel_id": {"type": ["string", "null"]},
    **_CHOSEN,
    "from": _INSTANT,
    "to": _INSTANT,
    "tz": _TEXT,
}
_SAMPLE_ASKED = {
    "metric": "engagements",
    "channel_id": None,
    "from": "2026-03-30T00:00:00Z",
    "to": "2026-06-28T00:00:00Z",
    "tz": "Europe/Berlin",
}

BEST_TIMES: Schema = {
    **_SAMPLE_ASKED,
    "age_hours": 24,
    "minimum": {"channel_targets": LEAST_OF_CHANNEL, "cell_posts": LEAST_OF_CELL},
    "cells": [
        {"weekday": 1, "hour": 8, "score": None, "posts": 2, "targets": 3},
        {"weekday": 1, "hour": 9, "score": 1.42, "posts": 11, "targets": 14},
    ],
}
BEST_TIMES_SCHEMA = _object(
    "BestTimes",
    {
        **_ASKED,
        "age_hours": _COUNT,
        "minimum": _object("BestTimesMinimum", {"channel_targets": _COUNT, "cell_posts": _COUNT}),
        "cells": _list(
            _object(
                "BestTimesCell",
                {
                    "weekday": {"type": "integer", "minimum": 1, "maximum": 7, "description": "1 is Monday."},
                    "hour": {"type": "integer", "minimum": 0, "maximum": 23},
                    "score": {
                        **_SHARE,
                        "description": "The median of figure / the channel's usual: 1 is as usual; null for few posts.",
                    },
                    "posts": _COUNT,
                    "targets": _COUNT,
                },
            )
        ),
    },
)

DECAY: Schema = {
    **_SAMPLE_ASKED,
    "base_days": 28,
    "minimum": {"targets": LEAST_OF_AGE},
    "ages": [
        {"age_hours": 1, "share": 0.21, "posts": 40, "targets": 52},
        {"age_hours": 672, "share": 1.0, "posts": 44, "targets": 57},
    ],
}
DECAY_SCHEMA = _object(
    "Decay",
    {
        **_ASKED,
        "base_days": _COUNT,
        "minimum": _object("DecayMinimum", {"targets": _COUNT}),
        "ages": _list(
            _object(
                "DecayAge",
                {
                    "age_hours": _COUNT,
                    "share": {
                        **_SHARE,
                        "description": "The median of figure / figure at base_days; null: too few targets.",
                    },
                    "posts": _COUNT,
                    "targets": _COUNT,
                },
            )
        ),
    },
)

UNUSUAL: Schema = {
    **_SAMPLE_ASKED,
    "factor": 3.0,
    "minimum": {"channel_targets": LEAST_OF_CHANNEL, "figure": LEAST_FIGURE},
    "posts": [
        {
            "post_id": "post-1",
            "target_id": "target-1",
            "channel_id": "ch-ig",
            "published_at": "2026-06-20T09:00:00Z",
            "age_hours": 168,
            "value": 3201,
            "usual": 402.5,
            "ratio": 7.952795031055901,
            "direction": "above",
            "targets": 31,
        }
    ],
    "falls": [
        {
            "post_id": "post-2",
            "target_id": "target-2",
            "channel_id": "ch-x",
            "metric": "likes",
            "before": 120,
            "value": 113,
            "captured_at": "2026-06-21T10:00:00Z",
            "event_id": "019f1d4e-6a10-7000-8000-000000000001",
        }
    ],
    "late": [
        {
            "post_id": "post-3",
            "target_id": "target-3",
            "channel_id": "ch-x",
            "platform": "x",
            "tier": "30m",
            "captured_at": "2026-06-27T21:00:00Z",
            "next_poll_at": "2026-06-27T21:28:00Z",
            "late_seconds": 9120,
        }
    ],
}
_OF_TARGET: Schema = {"post_id": _TEXT, "target_id": _TEXT, "channel_id": _TEXT}
UNUSUAL_SCHEMA = _object(
    "Unusual",
    {
        **_ASKED,
        "factor": {"type": "number"},
        "minimum": _object("UnusualMinimum", {"channel_targets": _COUNT, "figure": _COUNT}),
        "posts": _list(
            _object(
                "UnusualPost",
                {
                    **_OF_TARGET,
                    "published_at": _INSTANT,
                    "age_hours": {**_COUNT, "description": "The age at which the target is compared."},
                    "value": _INTEGER,
                    "usual": {"type": "number", "description": "The median of the channel's targets at this age."},
                    "ratio": {"type": "number"},
                    "direction": {"type": "string", "enum": ["above", "below"]},
                    "targets": {**_COUNT, "description": "The number of targets behind the usual figure."},
                },
            )
        ),
        "falls": _list(
            _object(
                "FallenCounter",
                {
                    **_OF_TARGET,
                    "metric": _TEXT,
                    "before": _INTEGER,
                    "value": _INTEGER,
                    "captured_at": _INSTANT,
                    "event_id": _TEXT,
                },
            )
        ),
        "late": _list(
            _object(
                "LatePoll",
                {
                    **_OF_TARGET,
                    "platform": _TEXT,
                    "tier": {"type": ["string", "null"]},
                    "captured_at": _TIME,
                    "next_poll_at": _INSTANT,
                    "late_seconds": _COUNT,
                },
            )
        ),
    },
)
