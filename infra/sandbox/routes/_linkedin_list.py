"""The newest posts of an organization, as LinkedIn lists them.

Source: Microsoft Learn "Posts API", Find Posts by Authors.
"""

from __future__ import annotations

from typing import Any

from infra.sandbox.exchange import Reply
from infra.sandbox.ids import make_id, published_at

_QUARTER_DAY_MS = 6 * 3_600_000
# The steps at which there is a draft, and a post that is shown as an advertisement alone.
_DRAFT, _DARK = 2, 3


def newest_posts(organization: str, count: int, now: int) -> Reply:
    """One post each quarter of a day, also such as were published elsewhere; `now` in ms."""
    last = now - now % _QUARTER_DAY_MS
    elements = [_post(organization, last - step * _QUARTER_DAY_MS, step) for step in range(count)]
    return Reply(200, {"paging": {"start": 0, "count": count, "links": []}, "elements": elements})


def _post(organization: str, at: int, step: int) -> dict[str, Any]:
    urn = make_id("linkedin", at, int(organization.rpartition(":")[2]) % 1000)
    published = published_at("linkedin", urn)
    post: dict[str, Any] = {
        "id": urn,
        "author": organization,
        "commentary": f"Post {urn}",
        "visibility": "PUBLIC",
        "distribution": {"feedDistribution": "NONE" if step == _DARK else "MAIN_FEED", "targetEntities": []},
        "lifecycleState": "DRAFT" if step == _DRAFT else "PUBLISHED",
        "createdAt": published,
        "lastModifiedAt": published,
        "isReshareDisabledByAuthor": False,
    }
    if step != _DRAFT:
        post["publishedAt"] = published
    if step % 5 == 4:
        post["content"] = {"media": {"title": "A video", "id": f"urn:li:video:C5F10AQ{step}"}}
    return post
