"""Posts and targets by the time of their publication, against all posts looked at one by one."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from schemas.topic_names import POST_ROLLUPS, POSTS
from services.query_api.store import files
from services.query_api.store.files import Environment
from services.query_api.store.ordering import UNPUBLISHED
from services.query_api.store.reading import View
from tests.support import told
from tests.support.manual_clock import START
from tests.support.memory_brokers import MemoryBrokers
from tests.support.stores import store_of, until

POST_IDS = [f"p{number}" for number in range(5)]
TARGET_IDS = [f"t{number}" for number in range(6)]
CHANNEL_IDS = ["c1", "c2"]
INSTANTS = [START - 3000, START - 2000, START - 2000, START]


def write(brokers: MemoryBrokers, chance: random.Random) -> None:
    """A catalog write, or figures, of some post: also of posts that do not exist, and of targets of other posts."""
    post_id = chance.choice(POST_IDS)
    if chance.random() < 0.15:
        told.put(brokers, chance.choice((POSTS, POST_ROLLUPS)), f"w1/{post_id}", None)
    elif chance.random() < 0.5:
        targets = [
            told.target(
                target_id,
                chance.choice(CHANNEL_IDS),
                published_at=chance.choice((None, *INSTANTS)),
                status=chance.choice(("published", "draft", "deleted")),
            )
            for target_id in chance.sample(TARGET_IDS, chance.randrange(4))
        ]
        status = chance.choice(("published", "published", "deleted"))
        told.put(brokers, POSTS, f"w1/{post_id}", told.post("w1", post_id, targets, status))
    else:
        figures = {target_id: told.values(likes=1) for target_id in chance.sample(TARGET_IDS, chance.randrange(4))}
        told.put(brokers, POST_ROLLUPS, f"w1/{post_id}", told.figures("w1", post_id, figures))


def by_looking(view: View, channel_id: str) -> list[tuple[int, str, str, bool]]:
    """Time, target, post and whether it is published, of a channel's targets, from the posts themselves."""
    held = [(post_id, view.post("w1", post_id)) for post_id in POST_IDS]
    return [
        (target.published_at, target.target_id, post_id, target.status == "published")
        for post_id, post in held
        if post is not None
        for target in post.targets
        if target.channel_id == channel_id and target.published_at is not None
    ]


@pytest.mark.parametrize("seed", range(4))
async def test_targets_stand_in_the_order_of_their_time_whatever_was_written(tmp_path: Path, seed: int) -> None:
    brokers, chance = told.topics(), random.Random(seed)
    async with store_of(tmp_path, brokers) as (store, _):
        for round_ in range(12):
            for _ in range(12):
                write(brokers, chance)
            told.put(brokers, POSTS, "w1/last", told.post("w1", "last", at=START + round_))
            told.put(brokers, POST_ROLLUPS, "w1/last", told.figures("w1", "last", {}, at=START + round_))

            def is_seen(round_: int = round_) -> bool:
                with store.view() as view:
                    last = view.post("w1", "last")
                    return last is not None and last.updated_at == START + round_

            await until(is_seen, "the store has read all of it")
            with store.view() as view:
                for channel_id in CHANNEL_IDS:
                    whole = by_looking(view, channel_id)
                    found = view.published_targets("w1", channel_id, 0, START + 1, 1000)
                    assert found is not None
                    assert sorted(
                        (each.published_at, each.target_id, each.post_id, each.is_out) for each in found
                    ) == sorted(whole)
                    instants = [each.published_at for each in found]
                    assert instants == sorted(instants, reverse=True)
                    newest = [target_id for _, target_id, *_ in sorted(whole, reverse=True)]
                    for most in range(1, 5):
                        assert view.newest_targets("w1", channel_id, 0, most) == newest[:most]
                    since = START - 2000
                    part = [each.target_id for each in found if since <= each.published_at < START]
                    span = view.published_targets("w1", channel_id, since, START, 1000)
                    assert span is not None
                    assert [each.target_id for each in span] == part
                    assert view.published_targets("w1", channel_id, 0, START + 1, len(whole)) is not None
                    if whole:
                        assert view.published_targets("w1", channel_id, 0, START + 1, len(whole) - 1) is None


async def test_posts_stand_in_the_order_of_their_time_and_pages_join(tmp_path: Path) -> None:
    brokers = told.topics()
    times = {"a": START, "b": START - 1, "c": START - 1, "d": None, "e": START + 5, "f": None}
    async with store_of(tmp_path, brokers) as (store, _):
        for post_id, at in times.items():
            told.put(brokers, POSTS, f"w1/{post_id}", told.post("w1", post_id, published_at=at))
        told.put(brokers, POSTS, "w10/z", told.post("w10", "z"))
        told.put(brokers, POSTS, "w1/gone", told.post("w1", "gone"))
        told.put(brokers, POSTS, "w1/gone", None)
        told.put(brokers, POSTS, "w1/e", told.post("w1", "e", published_at=START - 9))

        def is_seen() -> bool:
            with store.view() as view:
                return [id_ for id_, _ in view.posts_from("w1", None, None, 9)] == ["a", "b", "c", "e", "d", "f"]

        await until(is_seen, "the store shows all posts in order")
        with store.view() as view:
            assert view.posts_from("w1", (START - 1, "b"), None, 9)[0] == ("c", START - 1)
            assert view.posts_from("w1", (START - 1, ""), None, 2) == [("b", START - 1), ("c", START - 1)]
            assert view.posts_from("w1", (START - 2, ""), START - 9, 9) == [("e", START - 9)]
            assert view.posts_from("w1", (UNPUBLISHED, "d"), None, 9) == [("f", UNPUBLISHED)]
            assert view.posts_from("w1", (START - 9, ""), None, 9, is_dated=True) == [("e", START - 9)]
            assert view.posts_from("w10", None, None, 9) == [("z", START)]


def everything(environment: Environment) -> dict[bytes, list[tuple[bytes, bytes]]]:
    """The entries of each database, but for those that say what the environment is of."""
    with environment.reading() as txn:
        held = {name: list(txn.cursor(db=db)) for name, db in environment.databases.items()}
    return {name: [entry for entry in entries if entry[0] != b"identity"] for name, entries in held.items()}


async def test_what_was_filled_is_read_with_full_pages_and_lacks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Posts share targets, so that the order has several entries of one key, also across two turns.
    monkeypatch.setattr(files, "_PACKED_AT_ONCE", 2)
    filled: list[dict[bytes, list[tuple[bytes, bytes]]]] = []
    packed = Environment.packed

    def noted(environment: Environment, path: Path) -> None:
        packed(environment, path)
        filled.append(everything(environment))
        with_full_pages = Environment(path, is_writable=False)
        filled.append(everything(with_full_pages))
        with_full_pages.close()

    monkeypatch.setattr(Environment, "packed", noted)
    brokers, chance = told.topics(), random.Random(7)
    for _ in range(200):
        write(brokers, chance)
    for post_id in POST_IDS[:4]:
        shared = [told.target(target_id, "c1", published_at=START) for target_id in TARGET_IDS[:3]]
        told.put(brokers, POSTS, f"w1/{post_id}", told.post("w1", post_id, shared))
        figures = {target_id: told.values(likes=1) for target_id in TARGET_IDS[:3]}
        told.put(brokers, POST_ROLLUPS, f"w1/{post_id}", told.figures("w1", post_id, figures))
    async with store_of(tmp_path, brokers) as (store, _):
        assert len(filled) == 2
        assert filled[0] == filled[1]
        order = [key for key, _ in filled[1][b"order"]]
        assert len(order) > len(set(order)), "some key has several entries"
        with store.view() as view:
            for channel_id in CHANNEL_IDS:
                found = view.published_targets("w1", channel_id, 0, START + 1, 1000)
                assert found is not None
                assert sorted(
                    (each.published_at, each.target_id, each.post_id, each.is_out) for each in found
                ) == sorted(by_looking(view, channel_id))


async def test_where_there_is_no_room_for_two_what_was_filled_is_read_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Environment, path: Path) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Environment, "packed", full)
    brokers = told.topics()
    told.put(brokers, POSTS, "w1/p1", told.post("w1", "p1", [told.target("t1", "c1")]))
    told.put(brokers, POST_ROLLUPS, "w1/p1", told.figures("w1", "p1", {"t1": told.values(likes=1)}))
    async with store_of(tmp_path, brokers) as (store, _):
        with store.view() as view:
            post = view.post("w1", "p1")
        assert post is not None
        assert len(store.folder.all()) == 1
