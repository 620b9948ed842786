"""What polls of each platform bring, and of which posts, from the platforms' own files. Pure."""

from __future__ import annotations

from functools import cache
from typing import Any

from schemas.metrics import CHANNEL_NAMES, POST_NAMES
from services.platforms import all_platforms
from services.platforms.abilities import Discovers
from services.platforms.base import Platform

_LIFETIME = "lifetime"
_RANGE = "range"


@cache
def capabilities() -> list[dict[str, Any]]:
    """One element for each platform, subject and common column, in that order."""
    return [row for _, held in sorted(all_platforms().items()) for row in (*_posts(held), *_channels(held))]


@cache
def discovery() -> list[dict[str, Any]]:
    """Of each platform whether posts that were published elsewhere can be looked for, and what it takes."""
    return [
        {
            "platform": name,
            "supported": isinstance(held, Discovers),
            "condition": (held.facts.discovery or None) if isinstance(held, Discovers) else None,
        }
        for name, held in sorted(all_platforms().items())
    ]


def _posts(held: Platform) -> list[dict[str, Any]]:
    facts = held.facts
    rows = []
    for metric in POST_NAMES:
        kinds = [_LIFETIME, *([_RANGE] if metric in facts.ranged_metrics else [])]
        rows.append(_row(facts.name, "post", metric, kinds if facts.is_asked(metric) else [], facts.lag))
        rows[-1]["not_supported_because"] = facts.not_reported.get(metric) or facts.not_asked.get(metric)
        rows[-1]["condition"] = facts.conditions.get(metric)
    return rows


def _channels(held: Platform) -> list[dict[str, Any]]:
    facts = held.facts
    rows = []
    for metric in CHANNEL_NAMES:
        kinds = list(facts.asked_periods(metric))
        is_lifetime = kinds == [_LIFETIME]
        why = "no poll asks for it" if metric in facts.channel_metrics else "not reported of an account"
        rows.append(_row(facts.name, "channel", metric, kinds, facts.lag if is_lifetime else facts.channel_lag))
        rows[-1]["not_supported_because"] = None if kinds else why
        rows[-1]["condition"] = facts.channel_conditions.get(metric) if kinds else None
    return rows


def _row(platform: str, subject: str, metric: str, kinds: list[str], lag: str) -> dict[str, Any]:
    return {
        "platform": platform,
        "subject": subject,
        "metric": metric,
        "supported": bool(kinds),
        "kinds": kinds,
        "lag": lag if kinds else None,
    }
