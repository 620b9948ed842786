"""Values of the catalog with every field wrong, extreme, long, nested or twice; valid as Avro."""

from __future__ import annotations

from hypothesis import strategies as st

from schemas.codec import codec, schema_text
from schemas.events import CatalogPost, CatalogTarget
from schemas.topic_names import POSTS

NO_DETAILS = (
    '{"a": ', "NaN", "1e400", '{"a": 1e400}', "[" * 2_000 + "]" * 2_000, '{"a":' * 300 + "1" + "}" * 300, "[]", "null",
    '"text"', "", " ", '{}},{"target_id":"x"', '{}, "target_id": "other"', '{"a": "\\ud800"}', "{}" * 2, "7", "\0",
)  # fmt: skip
"""Texts that are no JSON object, or none that could be written again."""
DETAILS = (*NO_DETAILS, "{}", '{"enabled": false}', '{"a": ' + "9" * 300 + "}", '{"a": {"b": [1, {"c": null}]}}')
LONG_IDS = ("t" * 129, "t" * 600, "c" * 100_000)
# With fastavro, instants are datetimes; these are the ends of what a datetime can say.
INSTANTS = (-62_135_596_800_000, -1, 0, 1_780_000_000_000, 253_402_300_799_000)
_CODEC = codec(POSTS, schema_id=1, fetch_schema=lambda _: schema_text(POSTS))


def decoded(event: CatalogPost) -> CatalogPost:
    """A post as readers of its topic decode it."""
    found: CatalogPost = _CODEC.decode(_CODEC.encode(event))
    return found


def target_ids() -> st.SearchStrategy[str]:
    """Ids of targets: good ones, and what is none."""
    texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    return st.sampled_from(["t1", "t2", "t1", "", "a/b", "t 1", "\0", "é", *LONG_IDS]) | texts


def targets() -> st.SearchStrategy[CatalogTarget]:
    """Targets of a post."""
    texts = st.sampled_from(["", "x", "\0", "é" * 50, "x" * 20_000]) | st.text(
        st.characters(exclude_categories=["Cs"]), max_size=8
    )
    return st.builds(
        CatalogTarget,
        target_id=target_ids(),
        channel_id=st.sampled_from(["c1", "c1", "c2", "", "a/b", *LONG_IDS]),
        post_type=texts,
        status=st.sampled_from(["published", "deleted", "draft"]) | texts,
        external_id=texts,
        permalink=st.none() | texts,
        published_at=st.none() | st.sampled_from(INSTANTS),
        content=st.none() | texts,
        is_story=st.booleans(),
        parent_target_id=st.none() | target_ids(),
        detail=st.sampled_from(DETAILS) | texts,
        origin=st.sampled_from(["product", "platform"]) | texts,
    )


def good_targets() -> st.SearchStrategy[CatalogTarget]:
    """Targets with good ids, whatever their other fields say."""
    return st.builds(
        CatalogTarget,
        target_id=st.sampled_from(["t1", "t2"]),
        channel_id=st.sampled_from(["c1", "c2"]),
        status=st.just("published"),
        published_at=st.none() | st.sampled_from(INSTANTS),
        detail=st.sampled_from(DETAILS),
    )


def posts(workspace: str = "w1") -> st.SearchStrategy[CatalogPost]:
    """Posts whose keys are good."""
    instants = st.sampled_from(INSTANTS)
    return st.builds(
        CatalogPost,
        workspace_id=st.just(workspace),
        post_id=st.sampled_from(["p0", "p1", "p2"]),
        status=st.sampled_from(["published", "deleted", "draft", "", "x" * 20_000]),
        created_at=st.none() | instants,
        published_at=st.none() | instants,
        targets=st.lists(targets() | good_targets(), max_size=4).map(tuple),
        updated_at=instants,
    )
