"""Computes the account figures that replies show, from the channel's latest figures by period. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from schemas.events import CatalogChannel, ChannelStatus
from schemas.metrics import (
    CH_FOLLOWERS,
    CH_FOLLOWING,
    CH_IMPRESSIONS,
    CH_POSTS_COUNT,
    CH_PROFILE_VIEWS,
    CH_REACH,
    CH_VIEWS,
)
from schemas.windows import ChannelPeriod
from services.query_api.reads.query import AccountFigures, Health

LIFETIME = "lifetime"
ERROR_OF_STATUS = {
    ChannelStatus.TOKEN_EXPIRED: "token_expired",
    ChannelStatus.REVOKED: "token_revoked",
    ChannelStatus.DISABLED: "account_disabled",
}


def account_figures(periods: Iterable[ChannelPeriod]) -> AccountFigures:
    """The figures of a channel that a reply shows.

    Levels (such as followers) come from the channel's lifetime figures. A figure that is counted over time comes from
    the latest reported period that has it, since a platform reports some figures a day later than others. The fallback
    applies here too: a period without impressions shows its views.

    Args:
        periods: the channel's latest figures, any order.
    """
    shown = _shown(periods)
    return AccountFigures(**{name: period.values[metric] for name, (period, metric) in shown.items()})


def account_sources(periods: Iterable[ChannelPeriod]) -> list[tuple[ChannelPeriod, int]]:
    """The period and the metric behind each figure of `account_figures`."""
    return list(_shown(periods).values())


def _shown(periods: Iterable[ChannelPeriod]) -> dict[str, tuple[ChannelPeriod, int]]:
    held = list(periods)
    reported = sorted((p for p in held if p.end is not None), key=lambda p: (p.end or 0, p.start or 0), reverse=True)
    levels = [period for period in held if period.period == LIFETIME]
    found = {
        "followers": _first(levels, CH_FOLLOWERS),
        "following": _first(levels, CH_FOLLOWING),
        "posts_count": _first(levels, CH_POSTS_COUNT),
        "impressions": _first(reported, CH_IMPRESSIONS, CH_VIEWS),
        "reach": _first(reported, CH_REACH),
        "profile_views": _first(reported, CH_PROFILE_VIEWS),
    }
    return {name: figure for name, figure in found.items() if figure is not None}


def _first(periods: Sequence[ChannelPeriod], *metrics: int) -> tuple[ChannelPeriod, int] | None:
    return next(
        ((period, metric) for period in periods for metric in metrics if period.values[metric] is not None), None
    )


def stored_health(channel: CatalogChannel, token_expires_at: int | None, now: int) -> Health:
    """A channel's health by its catalog entry and token, without asking the platform.

    Args:
        token_expires_at: when the stored token expires, ms; None when unknown.
    """
    error_code = ERROR_OF_STATUS.get(ChannelStatus(channel.status))
    if error_code is None and token_expires_at is not None and token_expires_at <= now:
        error_code = "token_expired"
    return Health(
        channel_id=channel.channel_id,
        platform=channel.platform,
        is_healthy=error_code is None,
        status=channel.status,
        error_code=error_code,
        token_expires_at=token_expires_at,
        is_live=False,
        checked_at=now,
    )
