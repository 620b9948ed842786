"""Checks what a record's value says beside its key: ids of other things, and texts that readers parse. Pure.

Ids inside a value become keys: of states, of the query API's store, of a topic that is made of another one. So they are
bound to the same rule as the ids in a message's key. Every reader makes the same check: `keys.checked_key` calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from schemas.ids import are_ids, is_id
from schemas.refusals import Reason, RefusedRecord
from schemas.topic_names import ACCOUNT_EVENTS, CHANNEL_ROLLUPS, CHANNELS, POST_ROLLUPS, POSTS

EXTERNAL_ID_MAX_CHARS: Final = 8 * 1024
"""The longest id that a platform gave to something; also in events of `platform.raw`."""
TEXT_MAX_CHARS: Final = 8 * 1024
"""Of texts that are one of a few words."""
DETAIL_MAX_CHARS: Final = 4 * 1024 * 1024
"""As long as a body of the admin API may be."""
DETAIL_MAX_DEPTH: Final = 32
"""Objects and lists within each other; the admin API's detail has three. JSON is written up to a depth of 254."""
# What a datetime can say: most readers have instants as such. 0001-01-01 and the last of 9999, ms.
_EARLIEST, _LATEST = -62_135_596_800_000, 253_402_300_799_999
_WINDOW_INSTANTS: Final = ("window_start", "window_end", "valid_from", "valid_until", "captured_at")
_NO_TARGETS: Final = "[]"


def checked_value(topic: str, value: Any) -> None:
    """Check a value's own contents.

    Args:
        topic: name without prefix; values of topics without nested ids are not looked at.
        value: an event of the topic, or its record as a dict; what it lacks is not looked at.

    Raises:
        RefusedRecord: the record does not count.
    """
    check = _CHECKS.get(topic)
    if check is not None:
        check(_fields_of(value))


def check_figures(target_ids: Sequence[str], channel_ids: Sequence[str], instants: Sequence[Any]) -> None:
    """Check what a value of `rollups.posts` says, for readers of millions, who have its parts at hand.

    Args:
        instants: when the post and each target was captured.

    Raises:
        RefusedRecord: the record does not count.
    """
    _check_ids(POST_ROLLUPS, target_ids, channel_ids)
    _check_instants(POST_ROLLUPS, instants)


def check_post(
    target_ids: Sequence[str],
    channel_ids: Sequence[str],
    parent_ids: Iterable[str | None],
    external_ids: Iterable[str | None],
    details: Iterable[str | None],
    instants: Sequence[Any],
) -> None:
    """Check what a value of `catalog.posts` says; see `check_figures`."""
    _check_ids(POSTS, target_ids, channel_ids)
    for id_ in parent_ids:
        # Written as "" by some, who mean that there is none.
        if id_ and not is_id(id_):
            raise _refused(POSTS, "a parent_target_id that is none")
    for text in external_ids:
        if text and len(text) > EXTERNAL_ID_MAX_CHARS:
            raise _too_long(POSTS, "external_id", text, EXTERNAL_ID_MAX_CHARS)
    for text in details:
        if text and len(text) > DETAIL_MAX_CHARS:
            raise _too_long(POSTS, "detail", text, DETAIL_MAX_CHARS)
    _check_instants(POSTS, instants)


def _check_ids(topic: str, target_ids: Sequence[str], channel_ids: Sequence[str]) -> None:
    if not are_ids(target_ids):
        raise _refused(topic, "a target_id that is none")
    if not are_ids(channel_ids):
        raise _refused(topic, "a channel_id that is none")
    if len(target_ids) > 1 and len(set(target_ids)) != len(target_ids):
        raise _refused(topic, "a target twice")


Get = Callable[[str], Any]
"""A field of a value by its name; None where the value says nothing of it."""


def _fields_of(value: Any) -> Get:
    return value.get if isinstance(value, Mapping) else lambda name: getattr(value, name, None)


def _check_post(post: Get) -> None:
    targets = [_fields_of(each) for each in post("targets") or ()]

    def column(name: str) -> list[Any]:
        return [each(name) for each in targets]

    instants = [post("created_at"), post("published_at"), post("updated_at"), *column("published_at")]
    check_post(
        column("target_id"),
        column("channel_id"),
        column("parent_target_id"),
        column("external_id"),
        column("detail"),
        instants,
    )


def _check_channel(channel: Get) -> None:
    _check_length(CHANNELS, "external_id", channel("external_id"), EXTERNAL_ID_MAX_CHARS)
    _check_instants(CHANNELS, [channel("token_expires_at"), channel("updated_at")])


def _check_post_rollup(rollup: Get) -> None:
    # Older aggregators said no targets.
    targets = [_fields_of(each) for each in rollup("targets") or ()]
    channels = [_fields_of(each) for each in rollup("channels") or ()]
    channel_ids = [each("channel_id") for each in (*targets, *channels)]
    instants = [rollup("captured_at"), *(each("captured_at") for each in targets)]
    check_figures([each("target_id") for each in targets], channel_ids, instants)


def _check_window(window: Get) -> None:
    for name in ("platform", "source"):
        _check_length(CHANNEL_ROLLUPS, name, window(name), TEXT_MAX_CHARS)
    _check_instants(CHANNEL_ROLLUPS, map(window, _WINDOW_INSTANTS))


def _check_account(account: Get) -> None:
    for name in ("platform", "type", "reason"):
        _check_length(ACCOUNT_EVENTS, name, account(name), TEXT_MAX_CHARS)
    _check_instants(ACCOUNT_EVENTS, [account("occurred_at")])


_CHECKS: Final[Mapping[str, Callable[[Get], None]]] = {
    CHANNELS: _check_channel,
    POSTS: _check_post,
    POST_ROLLUPS: _check_post_rollup,
    CHANNEL_ROLLUPS: _check_window,
    ACCOUNT_EVENTS: _check_account,
}


def _check_length(topic: str, name: str, text: str | None, most: int) -> None:
    if text is not None and len(text) > most:
        raise _too_long(topic, name, text, most)


def _check_instants(topic: str, instants: Iterable[Any]) -> None:
    for at in instants:
        # A datetime is none that it can't say.
        if at is not None and type(at) is int and not _EARLIEST <= at <= _LATEST:
            raise _refused(topic, "an instant that is not of the years 1 to 9999")


def _too_long(topic: str, name: str, text: str, most: int) -> RefusedRecord:
    return _refused(topic, f"{len(text)} characters of {name}; {most} are allowed")


def _refused(topic: str, what: str) -> RefusedRecord:
    return RefusedRecord(Reason.MALFORMED_VALUE, f"a value of {topic} has {what}")


def read_detail(text: str) -> dict[str, Any]:
    """A target's extras; whatever is no JSON object, or is nested too deeply to be written again, counts as none."""
    if text in ("", "{}"):
        return {}
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return _plain_detail(found)


def _plain_detail(found: Any) -> dict[str, Any]:
    return found if isinstance(found, dict) and _is_shallow(found, DETAIL_MAX_DEPTH) else {}


def _is_shallow(value: Any, depth: int) -> bool:
    if isinstance(value, dict):
        return depth > 0 and all(_is_shallow(each, depth - 1) for each in value.values())
    if isinstance(value, list):
        return depth > 0 and all(_is_shallow(each, depth - 1) for each in value)
    return True


# With what they are where a row says nothing of them.
_TARGET_TEXTS = {"target_id": "", "channel_id": "", "post_type": "", "status": "published", "external_id": ""}
_OPTIONAL_TEXTS = ("permalink", "content", "parent_target_id")


def read_targets(text: str) -> list[dict[str, Any]]:
    """The targets in a row of the mirrored catalog, each with all fields of `events.CatalogTarget`.

    Rows may be older than today's checks. A row that can't be read has no targets, an entry that is no target is left
    out, and so is one whose id came before: the next write of the post makes the row anew.
    """
    if text == _NO_TARGETS:
        return []
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return []
    targets: dict[str, dict[str, Any]] = {}
    for entry in found if isinstance(found, list) else ():
        target = _target(entry)
        if target is not None:
            targets.setdefault(target["target_id"], target)
    return list(targets.values())


def _target(entry: Any) -> dict[str, Any] | None:
    if not isinstance(entry, dict):
        return None
    texts = {name: entry.get(name, default) for name, default in _TARGET_TEXTS.items()}
    if not all(isinstance(text, str) for text in texts.values()):
        return None
    if not (is_id(texts["target_id"]) and is_id(texts["channel_id"])):
        return None
    at, is_story = entry.get("published_at"), entry.get("is_story")
    told = {name: entry.get(name) for name in _OPTIONAL_TEXTS}
    if any(value is not None and not isinstance(value, str) for value in told.values()):
        return None
    if at is not None and (type(at) is not int or not _EARLIEST <= at <= _LATEST):
        return None
    origin = entry.get("origin")
    return {
        **texts,
        **told,
        "published_at": at,
        "is_story": is_story is True,
        "detail": _plain_detail(entry.get("detail")),
        **({"origin": origin} if isinstance(origin, str) else {}),
    }
