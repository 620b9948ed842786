"""Sample replies of series and totals, and the schemas of these replies. Pure."""

from __future__ import annotations

from typing import Any

from services.query_api.serving.shapes import or_null
from services.query_api.tidemark.analysis.figures import CHANNEL_FIGURES, POST_FIGURES

_FIGURE = {"type": ["number", "null"]}
_INSTANT = {"type": "string", "format": "date-time"}


def sample_series(subject: dict[str, Any]) -> dict[str, Any]:
    """A sample series of a subject, which is named by its own fields."""
    return {
        **subject,
        "metrics": ["likes", "watch_time_seconds"],
        "from": "2026-06-26T22:00:00Z",
        "to": "2026-06-28T22:00:00Z",
        "step": "day",
        "tz": "Europe/Berlin",
        "mode": "cumulative",
        "points": [
            {"start": "2026-06-26T22:00:00Z", "end": "2026-06-27T22:00:00Z", "likes": 12, "watch_time_seconds": None},
            {"start": "2026-06-27T22:00:00Z", "end": "2026-06-28T22:00:00Z", "likes": 47, "watch_time_seconds": 81.5},
        ],
    }


def series_schema(
    name: str, subject: tuple[str, ...], names: tuple[str, ...], chosen: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The schema of a series.

    Args:
        name: the subject's name within the names of components.
        subject: the names of the subject's own fields.
        names: the names of the figures that points may hold.
        chosen: the names of lists of ids that are there only if the request chose them.
    """
    shown = ("metrics", "from", "to", "step", "tz", "mode", "points")
    return {
        "title": f"{name}Series",
        "type": "object",
        "required": [*subject, *shown],
        "additionalProperties": False,
        "properties": {
            **{name: {"type": "string"} for name in subject},
            **{name: {"type": "array", "items": {"type": "string"}} for name in chosen},
            "metrics": {"type": "array", "items": {"type": "string"}},
            "from": _INSTANT,
            "to": _INSTANT,
            "step": {"type": "string", "enum": ["hour", "day"]},
            "tz": {"type": "string"},
            "mode": {"type": "string", "enum": ["cumulative", "increments"]},
            "points": {
                "type": "array",
                "items": {
                    "title": f"{name}SeriesPoint",
                    "type": "object",
                    "required": ["start", "end"],
                    "additionalProperties": False,
                    "properties": {"start": _INSTANT, "end": _INSTANT, **dict.fromkeys(names, _FIGURE)},
                },
            },
        },
    }


def sample_totals(subject: dict[str, Any]) -> dict[str, Any]:
    """Sample totals of a subject, which is named by its own fields."""
    return {
        **subject,
        "attribution": "received",
        "from": "2026-06-22T00:00:00Z",
        "to": "2026-06-29T00:00:00Z",
        "tz": "UTC",
        "compared_with": {"from": "2026-06-15T00:00:00Z", "to": "2026-06-22T00:00:00Z"},
        "metrics": {
            **{name: {"value": None, "previous": None, "change": None} for name in POST_FIGURES},
            "impressions": {"value": 1500, "previous": 1000, "change": 0.5},
            "likes": {"value": 37, "previous": 0, "change": None},
        },
    }


def totals_schema(name: str, subject: tuple[str, ...], chosen: tuple[str, ...] = ()) -> dict[str, Any]:
    """The schema of totals; arguments as for `series_schema`."""
    compared = {
        "title": "ComparedWindow",
        "type": "object",
        "required": ["from", "to"],
        "properties": {"from": _INSTANT, "to": _INSTANT},
    }
    metric = {
        "title": "ComparedFigure",
        "type": "object",
        "required": ["value", "previous", "change"],
        "additionalProperties": False,
        "properties": {"value": _FIGURE, "previous": _FIGURE, "change": _FIGURE},
    }
    return {
        "title": f"{name}Totals",
        "type": "object",
        "required": [*subject, "attribution", "from", "to", "tz", "compared_with", "metrics"],
        "additionalProperties": False,
        "properties": {
            **{name: {"type": "string"} for name in subject},
            **{name: {"type": "array", "items": {"type": "string"}} for name in chosen},
            "attribution": {"type": "string", "enum": ["published", "received"]},
            "from": _INSTANT,
            "to": _INSTANT,
            "tz": {"type": "string"},
            "compared_with": or_null(compared),
            "metrics": {
                "title": "ComparedFigures",
                "type": "object",
                "required": list(POST_FIGURES),
                "additionalProperties": False,
                "properties": dict.fromkeys(CHANNEL_FIGURES, metric),
            },
        },
    }
