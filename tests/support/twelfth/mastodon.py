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

from schemas import metrics
from schemas.events import PlatformRaw, RawKind
from services.platforms import base, http_reading, json_reading

BATCH_SIZE = 20

_POST = (("favourites_count", metrics.LIKES), ("replies_count", metrics.COMMENTS), ("quotes_count", metrics.QUOTES))
_POST_BITS = json_reading.bits(metrics.LIKES, metrics.COMMENTS, metrics.QUOTES, metrics.SHARES)
_ACCOUNT = (
    ("followers_count", metrics.CH_FOLLOWERS),
    ("following_count", metrics.CH_FOLLOWING),
    ("statuses_count", metrics.CH_POSTS_COUNT),
)
_REPORTED = {"likes", "comments", "shares", "quotes"}


def _statuses(event: PlatformRaw) -> dict[str, dict[str, Any]]:
    """The status of each external id among the targets; a list of them is answered under `statuses`."""
    wanted = json_reading.positions(event)
    matched: dict[str, dict[str, Any]] = {}
    for status in json_reading.objects(json_reading.json_object(event.body).get("statuses"), "statuses"):
        external_id = json_reading.text(status.get("id"))
        if external_id in wanted:
            matched.setdefault(external_id, status)
    return matched


class Mastodon:
    """Mastodon: pure reading and describing, see the module's header."""

    facts = base.Facts(
        name="mastodon",
        base_url="https://mastodon.social",
        documentation="https://docs.joinmastodon.org/methods/statuses/",
        read_on="2026-11-20",
        auth="OAuth 2.0 user token (Bearer)",
        rate_limit="300 requests in 5 minutes an account",
        post_batch_size=BATCH_SIZE,
        not_reported={name: "not in the API" for name in metrics.POST_NAMES if name not in _REPORTED},
    )

    def authorize(self, token: str | None) -> dict[str, str]:
        """Bearer token."""
        return {"authorization": f"Bearer {token}"} if token else {}

    def post_calls(
        self, channel: base.Channel, targets: Sequence[base.Target], now: int | None = None
    ) -> list[base.Call]:
        """Batches of 20 ids."""
        batches = [tuple(targets[start : start + BATCH_SIZE]) for start in range(0, len(targets), BATCH_SIZE)]
        return [
            base.Call(
                RawKind.POST_METRICS,
                "GET",
                "/api/v1/statuses",
                tuple(("id[]", target.external_id) for target in batch),
                targets=batch,
            )
            for batch in batches
        ]

    def channel_calls(self, channel: base.Channel, now: int) -> list[base.Call]:
        """The account as it is now."""
        return [base.Call(RawKind.CHANNEL_METRICS, "GET", f"/api/v1/accounts/{channel.external_id}")]

    def identity_call(self, channel: base.Channel) -> base.Call:
        """The token's own account."""
        return base.Call(RawKind.IDENTITY, "GET", "/api/v1/accounts/verify_credentials")

    def read(self, event: PlatformRaw) -> base.Reading:
        """`/api/v1/statuses`; `/api/v1/accounts/{id}`."""
        if not http_reading.succeeded(event):
            return base.NOTHING
        path = http_reading.path_segments(event.endpoint)
        of_posts = event.kind == RawKind.POST_METRICS
        if path[:-1] != (("api", "v1") if of_posts else ("api", "v1", "accounts")) or (
            of_posts and path[-1] != "statuses"
        ):
            raise base.MappingError("unknown_endpoint", f"Mastodon has no {event.kind} at {event.endpoint[:200]!r}")
        return self._posts(event) if of_posts else self._account(event)

    def _posts(self, event: PlatformRaw) -> base.Reading:
        matched = _statuses(event)
        found: dict[str, json_reading.Figures] = {}
        for external_id, status in matched.items():
            values: list[int | None] = list(metrics.NO_POST_VALUES)
            json_reading.fill(values, status, _POST)
            values[metrics.SHARES] = json_reading.added(
                json_reading.count(status.get("reblogs_count"), "reblogs_count"), values[metrics.QUOTES], "shares"
            )
            found[external_id] = (_POST_BITS, 0, tuple(values))
        readings = json_reading.readings(found, json_reading.positions(event))
        return base.Reading(readings, (), json_reading.left_out(event, matched))

    def _account(self, event: PlatformRaw) -> base.Reading:
        answer = json_reading.json_object(event.body)
        if event.kind == RawKind.IDENTITY:
            return base.NOTHING
        values: list[int | None] = list(metrics.NO_CHANNEL_VALUES)
        json_reading.fill(values, answer, _ACCOUNT)
        spoken = json_reading.bits(*(position for _, position in _ACCOUNT))
        return base.Reading((), (base.ChannelReading("lifetime", None, None, spoken, tuple(values)),))

    def part(self, event: PlatformRaw, target_index: int) -> Any:
        """The target's status."""
        if not 0 <= target_index < len(event.targets):
            return {}
        try:
            return json_reading.made_once(event, _statuses).get(event.targets[target_index].external_id, {})
        except base.MappingError:
            return {}

    def classify(self, status: int, headers: Mapping[str, str], body: bytes, now: int) -> base.Verdict:
        """By the status; the body's `error` tells a revoked token from an ended one."""
        error = json_reading.text(json_reading.try_json_object(body).get("error", ""))
        if 200 <= status < 300:
            return base.Verdict(base.Outcome.OK)
        if status == 401 and "revoked" in error:
            return base.Verdict(base.Outcome.TOKEN_REVOKED, detail=f"{status} {error}"[:200])
        if status == 403 and "disabled" in error:
            return base.Verdict(base.Outcome.ACCOUNT_DISABLED, detail=f"{status} {error}"[:200])
        return http_reading.by_status(status, headers, f"{status} {error}"[:200], body)

    def limits(self, headers: Mapping[str, str], now: int) -> base.LimitState | None:
        """`X-RateLimit-*`; a wait is told by `Retry-After`."""
        limit, remaining = (
            http_reading.seconds_of(headers.get("x-ratelimit-limit")),
            http_reading.seconds_of(headers.get("x-ratelimit-remaining")),
        )
        if limit is None or remaining is None:
            return None
        wait = http_reading.retry_after(headers)
        return base.LimitState(int(limit), int(remaining), None if wait is None else now + int(wait * 1000))


PLATFORM = Mastodon()
