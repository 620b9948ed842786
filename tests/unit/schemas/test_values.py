"""What a value says beside its key: refused, or read as what it can be."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import RecordCodec, codec, schema_text
from schemas.events import AccountEvent, CatalogChannel, CatalogPost, CatalogTarget
from schemas.keys import Reason, RefusedRecord, checked_key
from schemas.topic_names import ACCOUNT_EVENTS, CHANNELS, POST_ROLLUPS, POSTS
from schemas.values import DETAIL_MAX_CHARS, checked_value, read_detail, read_targets
from tests.support import hostile_values

LONG = "t" * 129


def post_of(*targets: CatalogTarget, **more: Any) -> CatalogPost:
    told: dict[str, Any] = {"created_at": 1, "published_at": 1, "updated_at": 1, **more}
    return CatalogPost("w", "p", "published", targets=targets, **told)


REFUSED: list[tuple[str, Any]] = [
    (POSTS, post_of(CatalogTarget("", "c"))),
    (POSTS, post_of(CatalogTarget(LONG, "c"))),
    (POSTS, post_of(CatalogTarget("t", ""))),
    (POSTS, post_of(CatalogTarget("t", LONG))),
    (POSTS, post_of(CatalogTarget("t/u", "c"))),
    (POSTS, post_of(CatalogTarget("t\n", "c"))),
    (POSTS, post_of(CatalogTarget("t", "c"), CatalogTarget("u", "c"), CatalogTarget("t", "d"))),
    (POSTS, post_of(CatalogTarget("t", "c", parent_target_id=LONG))),
    (POSTS, post_of(CatalogTarget("t", "c", external_id="1" * 8_193))),
    (POSTS, post_of(CatalogTarget("t", "c", detail="1" * (DETAIL_MAX_CHARS + 1)))),
    (POSTS, post_of(CatalogTarget("t", "c", published_at=2**62))),
    (POSTS, post_of(updated_at=-(2**62))),
    (CHANNELS, CatalogChannel("w", "c", "x", "1" * 8_193, "", "active", None, 1)),
    (CHANNELS, CatalogChannel("w", "c", "x", "1", "", "active", 2**62, 1)),
    (ACCOUNT_EVENTS, AccountEvent("w", "c", "x", "t" * 8_193, 1)),
    (ACCOUNT_EVENTS, AccountEvent("w", "c", "x", "t", 2**62)),
]


@pytest.mark.parametrize("at", range(len(REFUSED)))
def test_what_no_reader_could_keep_does_not_count(at: int) -> None:
    topic, event = REFUSED[at]
    with pytest.raises(RefusedRecord) as refused:
        checked_value(topic, event)
    assert refused.value.reason is Reason.MALFORMED_VALUE
    assert len(str(refused.value)) < 200, "it repeats nothing of the value"
    key = b"w/p" if topic == POSTS else b"w/c"
    with pytest.raises(RefusedRecord):
        checked_key(topic, key, event)
    if at not in (10, 11, 13, 15):
        encoded = codec(topic, schema_id=1, fetch_schema=lambda _: schema_text(topic)).encode(event)
        record = RecordCodec(topic, fetch_schema=lambda _: schema_text(topic)).decode(encoded)
        with pytest.raises(RefusedRecord):
            checked_value(topic, record)


def test_what_the_admin_api_takes_counts() -> None:
    child = CatalogTarget("u" * 128, "c:1.-_", parent_target_id="t", external_id="é/ 1", detail="{}", content="x" * 9)
    checked_value(POSTS, post_of(CatalogTarget("t", "c"), child))
    checked_value(POSTS, post_of(CatalogTarget("t", "c", parent_target_id="", detail="")))
    checked_value(POSTS, post_of(created_at=None, published_at=None))


def test_figures_of_nested_ids_do_not_count() -> None:
    good = {"target_id": "t", "channel_id": "c"}
    checked_value(POST_ROLLUPS, {"targets": [good], "channels": [{"channel_id": "c"}], "captured_at": 1})
    checked_value(POST_ROLLUPS, {"targets": None, "channels": [], "captured_at": None})
    for wrong in (
        {"targets": [{**good, "target_id": LONG}]},
        {"targets": [{**good, "channel_id": LONG}]},
        {"targets": [good, good]},
        {"channels": [{"channel_id": LONG}]},
        {"captured_at": 2**62},
    ):
        with pytest.raises(RefusedRecord):
            checked_value(POST_ROLLUPS, wrong)


@pytest.mark.parametrize("text", hostile_values.NO_DETAILS)
def test_what_is_no_object_is_no_detail(text: str) -> None:
    assert read_detail(text) == {}


@given(st.sampled_from(hostile_values.DETAILS) | st.text())
def test_a_detail_can_be_written_again(text: str) -> None:
    detail = read_detail(text)
    row = orjson.dumps([{"target_id": "t", "channel_id": "c", "detail": detail}])
    assert orjson.loads(row)[0]["detail"] == detail


def entry(**more: Any) -> dict[str, Any]:
    return {
        "target_id": "t", "channel_id": "c", "post_type": "", "status": "published", "external_id": "1",
        "permalink": None, "published_at": 5, "content": None, "is_story": False, "parent_target_id": None,
        "detail": {"a": 1}, **more,
    }  # fmt: skip


def test_targets_of_a_row_are_read_as_they_were_written() -> None:
    for written in (entry(), entry(origin="platform", is_story=True, published_at=None, content="text")):
        assert read_targets(orjson.dumps([written]).decode()) == [written]
    assert read_targets("[]") == []


@pytest.mark.parametrize(
    "text", ["", "{", "null", "7", '{"target_id":"t"}', '[{"detail":{"a": }]', "[" * 2_000, '[1, null, "x", [], {}]']
)
def test_a_row_that_can_not_be_read_has_no_targets(text: str) -> None:
    assert read_targets(text) == []


def test_of_a_row_only_what_is_a_target_is_read() -> None:
    wrong = [
        entry(target_id=LONG), entry(target_id=7), entry(channel_id=""), entry(channel_id=None), entry(status=None),
        entry(content=7), entry(published_at="5"), entry(published_at=True), entry(published_at=2**62),
        {"target_id": "x"}, None, entry(detail={"b": 2}),
    ]  # fmt: skip
    assert read_targets(orjson.dumps([entry(), *wrong]).decode()) == [entry()], "the second of an id is left out"
    assert read_targets(orjson.dumps([entry(detail=[1], is_story="yes", unknown=1)]).decode()) == [
        entry(detail={}, is_story=False)
    ]


@given(st.recursive(st.none() | st.integers() | st.text(), lambda each: st.lists(each) | st.dictionaries(
    st.sampled_from(["target_id", "channel_id", "detail", "status"]), each)))  # fmt: skip
def test_any_row_is_survived(value: Any) -> None:
    try:
        text = orjson.dumps(value).decode()
    except (TypeError, orjson.JSONEncodeError):
        return
    for target in read_targets(text):
        CatalogTarget(**target)
