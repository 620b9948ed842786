"""The sample reply and the schema of PostBeam's document."""

from __future__ import annotations

from typing import Any

from services.query_api.serving.shapes import COUNT, TEXT, TIME_OR_NULL, listed, shape

SAMPLE: dict[str, Any] = {
    "beam": "p-7",
    "reactions": 318,
    "by_channel": [{"channel": "c1", "network": "x", "reactions": 318}],
    "as_of": "2026-06-28T09:14:22Z",
}
SCHEMA = shape(
    "PostbeamReactions",
    {
        "beam": TEXT,
        "reactions": COUNT,
        "by_channel": listed(shape("PostbeamChannel", {"channel": TEXT, "network": TEXT, "reactions": COUNT})),
        "as_of": TIME_OR_NULL,
    },
)
