"""Mastodon in the sandbox: statuses, accounts, the token's own account."""

from __future__ import annotations

import re
from typing import Any

from infra.sandbox.curves import level_value, metric_value
from infra.sandbox.exchange import Ask, Endpoint, Reply
from infra.sandbox.ids import behaviour, published_at

_BATCH, _LIMIT, _FIVE_MINUTES = 20, 300, 300
_COUNTS = ("favourites_count", "reblogs_count", "replies_count", "quotes_count")
_LEVELS = {"followers_count": "followers", "following_count": "following", "statuses_count": "posts"}


def _status(ask: Ask, external_id: str) -> dict[str, Any]:
    published = published_at("mastodon", external_id)
    counts = {name: metric_value(ask.state.seed, "mastodon", external_id, name, published, ask.now) for name in _COUNTS}
    ask.served(external_id, counts)
    return {"id": external_id, "content": "<p>Hello</p>", **counts}


def _statuses(ask: Ask) -> Reply:
    ids = ask.values("id[]")
    if not 1 <= len(ids) <= _BATCH:
        return Reply(422, {"error": "Validation failed"})
    found = [_status(ask, external_id) for external_id in ids if behaviour("mastodon", external_id) != "gone"]
    return Reply(200, {"statuses": found})


def _account(ask: Ask) -> Reply:
    account = ask.account_id if ask.path_ids[0] == "verify_credentials" else ask.path_ids[0]
    levels = {name: level_value(ask.state.seed, "mastodon", account, level, ask.now) for name, level in _LEVELS.items()}
    ask.served(account, levels)
    return Reply(200, {"id": account, "username": "account", **levels})


class MastodonRoutes:
    """See the module."""

    platform = "mastodon"
    endpoints = (
        Endpoint(re.compile(r"/api/v1/statuses"), "/api/v1/statuses", _statuses, _LIMIT, _FIVE_MINUTES),
        Endpoint(re.compile(r"/api/v1/accounts/(\w+)"), "/api/v1/accounts/{id}", _account, _LIMIT, _FIVE_MINUTES),
    )

    def failure(self, kind: str, ask: Ask, retry_after_seconds: int) -> Reply:
        """One sentence under `error`."""
        status, error = {
            "rate_limited": (429, "Too many requests"),
            "quota_exhausted": (429, "Too many requests"),
            "server_error": (503, "Service unavailable"),
            "token_revoked": (401, "The access token was revoked"),
            "permission_missing": (403, "This action is outside the authorized scopes"),
            "account_disabled": (403, "Your login is currently disabled"),
        }.get(kind, (401, "The access token is invalid"))
        headers = {"retry-after": str(retry_after_seconds)} if status == 429 else {}
        return Reply(status, {"error": error}, headers)

    def limit_headers(self, endpoint: Endpoint, ask: Ask, remaining: int, ends_at: int) -> dict[str, str]:
        """Limit and what is left of it."""
        return {"x-ratelimit-limit": str(endpoint.limit), "x-ratelimit-remaining": str(remaining)}


ROUTES = MastodonRoutes()
