"""X's posts in an answer: whose target each is, its figures, and what the errors beside them say. No platform.

Documentation: https://docs.x.com/x-api/fundamentals/metrics, .../edit-posts, .../response-codes-and-errors; read
    2026-11-30. What is uncertain is said in `x.py`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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
# X has four groups of fields that may be refused.
_MOST_FIELDS = 16
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


def match(posts: Sequence[dict[str, Any]], wanted: Collection[str]) -> dict[str, dict[str, Any]]:
    """The post object of each id that is wanted: its own, else the newest version of the post that has such a version.

    Args:
        wanted: a set, or a mapping by external ids.
    """
    matched: dict[str, dict[str, Any]] = {}
    for item in posts:
        external_id = _id_of(item)
        if external_id in wanted:
            matched.setdefault(external_id, item)
    if len(matched) < len(wanted):
        for item in posts:
            for version in versions(item):
                if version in wanted:
                    matched.setdefault(version, item)
    return matched


def _gone(answer: dict[str, Any], wanted: Mapping[str, list[int]], matched: Mapping[str, dict[str, Any]]) -> list[int]:
    """Targets that the answer names as deleted, private or suspended."""
    found: dict[str, None] = {}
    for error in _x_errors.errors_of(answer):
        if error.get("section") == "includes" or _x_errors.type_of(error) not in _GONE_TYPES:
            continue
        named = _x_errors.resource_of(error)
        if named is not None and named in wanted and named not in matched:
            found[named] = None
    return [index for external_id in found for index in wanted[external_id]]


def parts(event: PlatformRaw) -> dict[str, dict[str, Any]]:
    """The post object of each external id among the targets, with its media under `media` where the answer has media.

    Raises:
        MappingError: `unexpected_shape`.
    """
    answer = json_reading.try_json_object(event.body)
    matched = match(items(answer), json_reading.positions(event))
    includes = answer.get("includes")
    listed = includes.get("media") if isinstance(includes, dict) else None
    if not isinstance(listed, list):
        return matched
    media: dict[str, tuple[int, dict[str, Any]]] = {}
    for place, part in enumerate(listed):
        key = part.get("media_key") if isinstance(part, dict) else None
        if isinstance(key, str):
            media.setdefault(key, (place, part))
    # By the object itself, since it may be the newest version of several.
    distinct = {id(item): item for item in matched.values()}
    whole = {at: _with_media(item, media) for at, item in distinct.items()}
    return {external_id: whole[id(item)] for external_id, item in matched.items()}


def _with_media(item: dict[str, Any], media: Mapping[str, tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    """A post with its own media in the order of the answer; as it is where it names none."""
    attachments = item.get("attachments")
    if not isinstance(attachments, dict) or not isinstance(attachments.get("media_keys"), list):
        return item
    own = dict(media[key] for key in media_keys(item) if key in media)
    return {**item, "media": [own[place] for place in sorted(own)]}


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
    wanted = json_reading.positions(event)
    try:
        matched = match(items(answer), wanted) if errors else {}
    except base.MappingError:
        return {}
    told: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    # A field that is refused of no post in particular is refused of all.
    of_all: dict[str | None, tuple[int, dict[str, Any]]] = {}
    for place, error in enumerate(errors):
        named = _x_errors.resource_of(error)
        if named is not None:
            if named in wanted and named not in matched:
                told.setdefault(named, []).append((place, error))
        elif not matched and _x_errors.is_of_field(error) and len(of_all) < _MOST_FIELDS:
            field = error.get("field")
            of_all.setdefault(field if isinstance(field, str) else None, (place, error))
    verdict_of_all = _verdict_of(of_all.values(), headers, now) if of_all else None
    found: dict[int, base.Verdict] = {}
    for external_id, indexes in wanted.items():
        own = told.get(external_id)
        verdict = _verdict_of([*own, *of_all.values()], headers, now) if own else verdict_of_all
        if verdict is not None and external_id not in matched:
            found.update(dict.fromkeys(indexes, verdict))
    others = {index: one for index, one in found.items() if one.outcome is not base.Outcome.TARGET_GONE}
    return others if matched or not others else found


def _verdict_of(placed: Iterable[tuple[int, dict[str, Any]]], headers: Mapping[str, str], now: int) -> base.Verdict:
    """What errors mean together, in the order of their places; `now` in ms."""
    errors = [error for _, error in sorted(placed, key=lambda one: one[0])]
    return _x_errors.verdict_of_errors(errors, 200, headers, now)


def reading(event: PlatformRaw, answer: dict[str, Any]) -> base.Reading:
    """The figures of each target's post, and which targets are gone."""
    wanted = json_reading.positions(event)
    matched = match(items(answer), wanted)
    includes = answer.get("includes")
    media: dict[str, dict[str, Any]] = {}
    if isinstance(includes, dict) and "media" in includes:
        for part in json_reading.objects(includes["media"], "includes.media"):
            key = part.get("media_key")
            if isinstance(key, str):
                media[key] = part
    readings: list[base.PostReading] = []
    # The newest version of several posts is read once.
    of_newest: dict[int, tuple[int, metrics.Values]] = {}
    for external_id, item in matched.items():
        if item["id"] == external_id:
            spoken, values = figures(item, media)
        elif id(item) in of_newest:
            spoken, values = of_newest[id(item)]
        else:
            spoken, values = of_newest[id(item)] = figures(item, media)
        if spoken:
            for index in wanted[external_id]:
                readings.append(base.PostReading(index, spoken, 0, values))
    gone = _gone(answer, wanted, matched) if "errors" in answer else []
    return base.Reading(readings, (), gone)
