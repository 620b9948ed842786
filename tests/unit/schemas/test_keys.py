"""A record counts only where key, value and partition agree, whatever bytes they are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.codec import MalformedEvent
from schemas.keys import KEY_FIELDS, Reason, RefusedRecord, checked_key, parsed_key, reason_of
from schemas.topic_specs import topic_specs

TOPICS = sorted(KEY_FIELDS)
ids = st.text("abzAZ019._:-", min_size=1, max_size=8)
odd = st.text(max_size=4) | st.sampled_from(["", "a/b", "a b", "..", "\n", "é", "x" * 129, "a\0"])


def reason(topic: str, message_key: bytes | None, value: Any = None, home: bool = True) -> Reason | None:
    try:
        checked_key(topic, message_key, value, lambda _: home)
    except RefusedRecord as error:
        return reason_of(error)
    return None


def test_every_compacted_topic_of_a_workspace_is_known() -> None:
    compacted = {spec.name for spec in topic_specs() if spec.is_compacted}
    # Claims are of partitions, and nothing reads them back.
    assert compacted - {"aggregator.claims"} <= set(KEY_FIELDS)


@settings(deadline=None)
@given(st.sampled_from(TOPICS), st.data())
def test_a_key_that_is_its_values_counts(topic: str, data: st.DataObject) -> None:
    parts = tuple(data.draw(ids) for _ in KEY_FIELDS[topic])
    value = dict(zip(KEY_FIELDS[topic], parts, strict=True))
    message_key = "/".join(parts).encode()
    for form in (value, SimpleNamespace(**value), None):
        assert checked_key(topic, message_key, form) == parts
        assert reason(topic, message_key, form, home=False) is Reason.WRONG_PARTITION


@settings(deadline=None)
@given(st.sampled_from(TOPICS), st.data())
def test_a_value_of_another_key_does_not_count(topic: str, data: st.DataObject) -> None:
    fields = KEY_FIELDS[topic]
    parts = [data.draw(ids) for _ in fields]
    told: list[str | None] = [*parts]
    changed = data.draw(st.integers(0, len(fields) - 1))
    told[changed] = data.draw((ids | odd | st.none()).filter(lambda other: other != parts[changed]))
    value = dict(zip(fields, told, strict=True))
    assert reason(topic, "/".join(parts).encode(), value) is Reason.KEY_AND_VALUE_DIFFER
    assert reason(topic, "/".join(parts).encode(), SimpleNamespace(**value)) is Reason.KEY_AND_VALUE_DIFFER


@settings(deadline=None)
@given(st.sampled_from(TOPICS), st.none() | st.binary(max_size=40) | st.lists(odd | ids, max_size=4).map("/".join))
@example("catalog.api-keys", b"\xff/k")
@example("catalog.api-keys", b"w1")
@example("catalog.api-keys", b"w1/")
@example("catalog.api-keys", b"/k")
@example("catalog.api-keys", b"w1/k/x")
def test_whatever_a_key_is_it_is_read_or_refused(topic: str, found: bytes | str | None) -> None:
    message_key = found.encode(errors="surrogatepass") if isinstance(found, str) else found
    why = reason(topic, message_key)
    if why is None:
        parts = parsed_key(topic, message_key)
        assert message_key == "/".join(parts).encode()
        assert len(parts) == len(KEY_FIELDS[topic])
        assert all(parts) or topic == "poller.backfills"
    else:
        assert why in (Reason.NO_KEY, Reason.UNREADABLE_KEY, Reason.MALFORMED_KEY)


def test_what_is_no_refusal_is_an_unreadable_value() -> None:
    assert reason_of(MalformedEvent("bytes")) is Reason.UNREADABLE_VALUE


@pytest.mark.parametrize("message_key", [b"w1/", b"w1/c1"])
def test_a_backfill_may_be_of_a_whole_workspace(message_key: bytes) -> None:
    assert parsed_key("poller.backfills", message_key)[0] == "w1"
