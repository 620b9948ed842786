"""Mastodon, the REST API of an account's own server: a platform that is not among the eleven.

Documentation: https://docs.joinmastodon.org/methods/statuses/, and the entities Status and Account; read 2026-11-20.
Auth: OAuth 2.0 user token without an end.
Rate limit: 300 requests in 5 min an account, `X-RateLimit-*` headers, reset as an ISO time.
Poll interval: by the common tiers; figures are current.
Cannot supply: views, impressions, reach, saves, clicks, watch time.

Uncertain, and how it is read here:
- `quotes_count` is there since 4.5; where it is, it is a part of the shares. A status left out of an answer is gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.events import PlatformRaw, RawKind
from schemas.metrics import (
    CH_FOLLOWERS,
    CH_FOLLOWING,
    CH_POSTS_COUNT,
    COMMENTS,
    LIKES,
    NO_CHANNEL_VALUES,
    NO_POST_VALUES,
    POST_NAMES,
    QUOTES,
    SHARES,
)
from services.platforms.base import (
    NOTHING,
    Call,
    Channel,
    ChannelReading,
    Facts,
    LimitState,
    MappingError,
    Outcome,
    PostReading,
    Reading,
    Target,
    Verdict,
    added,
    bits,
    by_status,
    count,
    fill,
    json_object,
    objects,
    path_segments,
    positions,
    retry_after,
    seconds_of,
    succeeded,
    text,
    try_json_object,
)

BATCH_SIZE = 20

_POST = (("favourites_count", LIKES), ("replies_count", COMMENTS), ("quotes_count", QUOTES))
_POST_BITS = bits(LIKES, COMMENTS, QUOTES, SHARES)
_ACCOUNT = (("followers_count", CH_FOLLOWERS), ("following_count", CH_FOLLOWING), ("statuses_count", CH_POSTS_COUNT))
_REPORTED = {"likes", "comments", "shares", "quotes"}


def _statuses(event: PlatformRaw) -> dict[int, dict[str, Any]]:
    """The status of each target; a list of them is answered under `statuses`."""
    wanted = positions(event)
    matched: dict[int, dict[str, Any]] = {}
    for status in objects(json_object(event.body).get("statuses"), "statuses"):
        for index in wanted.get(text(status.get("id")), ()):
            matched.setdefault(index, status)
    return matched


class Mastodon:
    """Mastodon: pure reading and describing, see the module's header."""

    facts = Facts(
        name="mastodon",
        base_url="https://mastodon.social",
        documentation="https://docs.joinmastodon.org/methods/statuses/",
        read_on="2026-11-20",
        auth="OAuth 2.0 user token (Bearer)",
        rate_limit="300 requests in 5 minutes an account",
        post_batch_size=BATCH_SIZE,
        not_reported={name: "not in the API" for name in POST_NAMES if name not in _REPORTED},
    )

    def authorize(self, token: str | None) -> dict[str, str]:
        """Bearer token."""
        return {"authorization": f"Bearer {token}"} if token else {}

    def post_calls(self, channel: Channel, targets: Sequence[Target], now: int | None = None) -> list[Call]:
        """Batches of 20 ids."""
        batches = [tuple(targets[start : start + BATCH_SIZE]) for start in range(0, len(targets), BATCH_SIZE)]
        return [
            Call(
                RawKind.POST_METRICS,
                "GET",
                "/api/v1/statuses",
                tuple(("id[]", target.external_id) for target in batch),
                targets=batch,
            )
            for batch in batches
        ]

    def channel_calls(self, channel: Channel, now: int) -> list[Call]:
        """The account as it is now."""
        return [Call(RawKind.CHANNEL_METRICS, "GET", f"/api/v1/accounts/{channel.external_id}")]

    def identity_call(self, channel: Channel) -> Call:
        """The token's own account."""
        return Call(RawKind.IDENTITY, "GET", "/api/v1/accounts/verify_credentials")

    def read(self, event: PlatformRaw) -> Reading:
        """`/api/v1/statuses`; `/api/v1/accounts/{id}`."""
        if not succeeded(event):
            return NOTHING
        path = path_segments(event.endpoint)
        of_posts = event.kind == RawKind.POST_METRICS
        if path[:-1] != (("api", "v1") if of_posts else ("api", "v1", "accounts")) or (
            of_posts and path[-1] != "statuses"
        ):
            raise MappingError("unknown_endpoint", f"Mastodon has no {event.kind} at {event.endpoint[:200]!r}")
        return self._posts(event) if of_posts else self._account(event)

    def _posts(self, event: PlatformRaw) -> Reading:
        matched = _statuses(event)
        readings = []
        for index, status in matched.items():
            values: list[int | None] = list(NO_POST_VALUES)
            fill(values, status, _POST)
            values[SHARES] = added(count(status.get("reblogs_count"), "reblogs_count"), values[QUOTES], "shares")
            readings.append(PostReading(index, _POST_BITS, 0, tuple(values)))
        return Reading(readings, (), [index for index in range(len(event.targets)) if index not in matched])

    def _account(self, event: PlatformRaw) -> Reading:
        answer = json_object(event.body)
        if event.kind == RawKind.IDENTITY:
            return NOTHING
        values: list[int | None] = list(NO_CHANNEL_VALUES)
        fill(values, answer, _ACCOUNT)
        spoken = bits(*(position for _, position in _ACCOUNT))
        return Reading((), (ChannelReading("lifetime", None, None, spoken, tuple(values)),))

    def part(self, event: PlatformRaw, target_index: int) -> Any:
        """The target's status."""
        try:
            return _statuses(event).get(target_index, {})
        except MappingError:
            return {}

    def classify(self, status: int, headers: Mapping[str, str], body: bytes, now: int) -> Verdict:
        """By the status; the body's `error` tells a revoked token from an ended one."""
        error = text(try_json_object(body).get("error", ""))
        if 200 <= status < 300:
            return Verdict(Outcome.OK)
        if status == 401 and "revoked" in error:
            return Verdict(Outcome.TOKEN_REVOKED, detail=f"{status} {error}"[:200])
        if status == 403 and "disabled" in error:
            return Verdict(Outcome.ACCOUNT_DISABLED, detail=f"{status} {error}"[:200])
        return by_status(status, headers, f"{status} {error}"[:200])

    def limits(self, headers: Mapping[str, str], now: int) -> LimitState | None:
        """`X-RateLimit-*`; a wait is told by `Retry-After`."""
        limit, remaining = (
            seconds_of(headers.get("x-ratelimit-limit")),
            seconds_of(headers.get("x-ratelimit-remaining")),
        )
        if limit is None or remaining is None:
            return None
        wait = retry_after(headers)
        return LimitState(int(limit), int(remaining), None if wait is None else now + int(wait * 1000))


PLATFORM = Mastodon()
