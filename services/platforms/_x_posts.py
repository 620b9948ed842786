"""X's posts in an answer: whose target each is, its figures, and what the errors beside them say. No platform.

Documentation: https://docs.x.com/x-api/fundamentals/metrics, .../edit-posts, .../response-codes-and-errors; read
    2026-11-30. What is uncertain is said in `x.py`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from schemas import metrics
from schemas.events import PlatformRaw
from services.platforms import _x_errors, abilities, base, json_reading

_ID = re.compile(r"[0-9]{1,20}", re.ASCII)

_PUBLIC = (
    ("impression_count", metrics.IMPRESSIONS),
    ("like_count", metrics.LIKES),
    ("reply_count", metrics.COMMENTS),
    ("bookmark_count", metrics.SAVES),
    ("quote_count", metrics.QUOTES),
)
_PUBLIC_BITS = json_reading.bits(
    metrics.IMPRESSIONS, metrics.LIKES, metrics.COMMENTS, metrics.SAVES, metrics.QUOTES, metrics.SHARES
)
_PRIVATE = (("url_link_clicks", metrics.CLICKS), ("user_profile_clicks", metrics.PROFILE_CLICKS))
_PRIVATE_BITS = json_reading.bits(metrics.CLICKS, metrics.PROFILE_CLICKS)
_VIDEO_BITS = json_reading.bits(metrics.VIDEO_VIEWS)
_GONE_TYPES = ("resource-not-found", "not-authorized-for-resource")


def _media_views(item: dict[str, Any], media: Mapping[str, dict[str, Any]]) -> tuple[bool, int | None]:
    """Whether the answer reports video views of a post, and their sum over its videos."""
    attachments = item.get("attachments")
    keys = attachments.get("media_keys") if isinstance(attachments, dict) else None
    if not isinstance(keys, list):
        return False, None
    spoken, hidden, total = False, False, 0
    for key in keys:
        part = media.get(key) if isinstance(key, str) else None
        if part is None:
            return False, None
        figures = json_reading.block(part.get("public_metrics"), "media.public_metrics")
        if figures is not None:
            spoken = True
            views = json_reading.count(figures.get("view_count"), "view_count")
            hidden = hidden or views is None
            total += views or 0
    return spoken, None if hidden or not spoken else json_reading.count(total, "view_count")


def figures(item: dict[str, Any], media: Mapping[str, dict[str, Any]]) -> tuple[int, tuple[int | None, ...]]:
    """The figures of one post object: the mask of reported metrics, and values."""
    values: list[int | None] = list(metrics.NO_POST_VALUES)
    spoken = 0
    public = json_reading.block(item.get("public_metrics"), "public_metrics")
    if public is not None:
        json_reading.fill(values, public, _PUBLIC)
        values[metrics.SHARES] = json_reading.added(
            json_reading.count(public.get("retweet_count"), "retweet_count"), values[metrics.QUOTES], "shares"
        )
        spoken = _PUBLIC_BITS
    private = json_reading.block(item.get("non_public_metrics"), "non_public_metrics")
    if private is not None:
        json_reading.fill(values, private, _PRIVATE)
        spoken |= _PRIVATE_BITS
    if media:
        answered, values[metrics.VIDEO_VIEWS] = _media_views(item, media)
        if answered:
            spoken |= _VIDEO_BITS
    return spoken, tuple(values)


def items(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The posts or users of an answer: `data` is a list for several, an object for one, absent when all failed."""
    data = answer.get("data")
    if isinstance(data, dict):
        return [data]
    if data is not None:
        return json_reading.objects(data, "data")
    if isinstance(answer.get("errors"), list) or is_problem(answer) or "meta" in answer:
        return []
    raise base.MappingError("unexpected_shape", "the answer has neither `data` nor `errors`")


def is_problem(answer: dict[str, Any]) -> bool:
    """Whether a body is a problem document rather than an answer."""
    return "title" in answer and ("type" in answer or "status" in answer)


def _id_of(item: dict[str, Any]) -> str:
    external_id = item.get("id")
    if isinstance(external_id, str):
        return external_id
    raise base.MappingError("unexpected_shape", "an item of data has no text `id`")


def versions(item: dict[str, Any]) -> Iterator[str]:
    """Ids of all versions of an edited post."""
    for name in ("edit_history_tweet_ids", "edit_history_post_ids"):
        history = item.get(name)
        if isinstance(history, list):
            for version in history:
                if isinstance(version, str):
                    yield version


def match(event: PlatformRaw, posts: Sequence[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """The post object of each target: by its own id, else the newest version of the post that it is a version of."""
    wanted = json_reading.positions(event)
    matched: dict[int, dict[str, Any]] = {}
    for item in posts:
        for index in wanted.get(_id_of(item), ()):
            matched.setdefault(index, item)
    if len(matched) < len(event.targets):
        for item in posts:
            for version in versions(item):
                for index in wanted.get(version, ()):
                    matched.setdefault(index, item)
    return matched


def gone(event: PlatformRaw, answer: dict[str, Any], matched: Mapping[int, Any]) -> list[int]:
    """Targets that the answer names as deleted, private or suspended."""
    if "errors" not in answer:
        return []
    wanted = json_reading.positions(event)
    found: dict[int, None] = {}
    for error in _x_errors.errors_of(answer):
        if error.get("section") == "includes" or _x_errors.type_of(error) not in _GONE_TYPES:
            continue
        named = _x_errors.resource_of(error)
        for index in wanted.get(named, ()) if named is not None else ():
            if index not in matched:
                found[index] = None
    return list(found)


def media_keys(item: dict[str, Any]) -> list[Any]:
    attachments = item.get("attachments")
    keys = attachments.get("media_keys") if isinstance(attachments, dict) else None
    return [key for key in keys if isinstance(key, str)] if isinstance(keys, list) else []


def address(external_id: str) -> str | None:
    """A post's page, whoever wrote the post; None for what is no number."""
    return f"https://x.com/i/status/{external_id}" if _ID.fullmatch(external_id) else None


def is_one_of(item: dict[str, Any], external_ids: Collection[str]) -> bool:
    """Whether a post is one of these, or the newest version of one."""
    return item.get("id") in external_ids or any(version in external_ids for version in versions(item))


def own_error(error: dict[str, Any], external_ids: Collection[str]) -> dict[str, Any]:
    """An error about one of these posts as it is, one about no post without its words, {} for any other."""
    named = [error[name] for name in ("resource_id", "value") if name in error]
    if named:
        return error if all(isinstance(name, str) and name in external_ids for name in named) else {}
    return {name: error[name] for name in ("type", "title", "status", "reason", "code", "field") if name in error}


def posted(item: dict[str, Any]) -> abilities.Discovered | str:
    """A post of an account's own list: as its newest version, by whose id the earlier ones answer too."""
    external_id, at = item.get("id"), json_reading.instant(item.get("created_at"))
    if not isinstance(external_id, str):
        return "id"
    if at is None:
        return "created_at"
    earlier = tuple([version for version in versions(item) if version != external_id])
    return abilities.Discovered(
        external_id, at, "", address(external_id) or "", json_reading.text(item.get("text", "")), earlier
    )


def verdicts(event: PlatformRaw, headers: Mapping[str, str], now: int) -> Mapping[int, base.Verdict]:
    """What the errors of a successful answer mean for the posts that they name and `data` leaves out; `now` in ms.

    A post that `data` holds was answered, whatever was refused of it. A post that is gone is left to `gone`, unless the
    answer names others too and holds none.
    """
    answer = json_reading.try_json_object(event.body)
    errors = [error for error in _x_errors.errors_of(answer) if error.get("section") != "includes"]
    try:
        matched = match(event, items(answer)) if errors else {}
    except base.MappingError:
        return {}
    told: dict[int, list[dict[str, Any]]] = {}
    wanted = json_reading.positions(event)
    for error in errors:
        named = _x_errors.resource_of(error)
        if named is not None:
            indexes = wanted.get(named, [])
        else:
            # A field that is refused of no post in particular is refused of all.
            indexes = [] if matched or not _x_errors.is_of_field(error) else list(range(len(event.targets)))
        for index in indexes:
            if index not in matched:
                told.setdefault(index, []).append(error)
    found = {index: _x_errors.verdict_of_errors(own, 200, headers, now) for index, own in told.items()}
    others = {index: one for index, one in found.items() if one.outcome is not base.Outcome.TARGET_GONE}
    return others if matched or not others else found


def reading(event: PlatformRaw, answer: dict[str, Any]) -> base.Reading:
    """The figures of each target's post, and which targets are gone."""
    matched = match(event, items(answer))
    includes = answer.get("includes")
    media: dict[str, dict[str, Any]] = {}
    if isinstance(includes, dict) and "media" in includes:
        for part in json_reading.objects(includes["media"], "includes.media"):
            key = part.get("media_key")
            if isinstance(key, str):
                media[key] = part
    readings = []
    for index, item in matched.items():
        spoken, values = figures(item, media)
        if spoken:
            readings.append(base.PostReading(index, spoken, 0, values))
    return base.Reading(readings, (), gone(event, answer, matched))
