"""Pages of changes over a real store on topics in memory: what they hold, in which steps, and which cursors go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic
from typing import Any

import orjson
import pytest

from schemas.topic_names import ACCOUNT_EVENTS, CHANNELS, POST_ROLLUPS, POSTS
from services.query_api.store.changes import NEVER
from services.query_api.store.handle import StoreUnavailable
from services.query_api.tidemark.changes.models import MOVING, PAGE_SCHEMA
from services.query_api.tidemark.changes.routes import ENDPOINTS
from services.runtime.clock import MILLIS_PER_DAY
from services.runtime.cursors import CursorText, Place
from tests.support import told
from tests.support.query_api import NOW, fake_api
from tests.support.stores import until
from tests.unit.query_api.tidemark.changes import api as changes_api
from tests.unit.query_api.tidemark.changes.api import (
    AT,
    CURSORS,
    INCARNATION,
    OLD,
    Subscribed,
    channel_rows,
    subscribed,
    without_clock,
)
from tests.unit.query_api.tidemark.resources.test_endpoints import conforms

PLACE = Place((0,) * 5, (0,) * 5)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Subscribed]:
    async with subscribed(tmp_path / "store") as made:
        yield made


def told_of(page: Any) -> list[tuple[str, str, bool]]:
    return [(change["type"], change["id"], change["deleted"]) for change in page["changes"]]


async def test_a_change_is_what_the_things_endpoint_says_without_what_moves_with_the_clock(api: Subscribed) -> None:
    api.api.store.answers["tidemark_channels"] = channel_rows("c1", followers=12)
    await api.channel()
    await api.post(likes=3)
    await api.account()
    page = await api.page()
    assert conforms(page, PAGE_SCHEMA)
    assert sorted(told_of(page)) == [("account", "c1", False), ("channel", "c1", False), ("post", "p1", False)]
    assert not page["has_more"]
    held = {change["type"]: change for change in page["changes"]}
    post = (await api.get(path="/tidemark/v1/posts/p1")).json()
    channel = (await api.get(path="/tidemark/v1/channels/c1")).json()
    assert held["post"]["data"] == without_clock(post) != post
    assert held["channel"]["data"] == without_clock(channel) != channel
    assert held["channel"]["data"]["metrics"]["followers"] == 12
    assert held["post"]["captured_at"] == post["captured_at"] == "2026-06-28T09:13:22Z"
    assert held["account"]["data"] == {
        "channel_id": "c1",
        "platform": "x",
        "type": "account.token_expired",
        "occurred_at": "2026-06-28T09:14:22Z",
        "reason": None,
    }
    assert held["account"]["captured_at"] == "2026-06-28T09:14:22Z"
    assert not any(name.encode() in orjson.dumps(page) for name in MOVING)


@pytest.mark.parametrize(("post_id", "sent"), [(".", "%2E"), ("..", "%2E%2E"), ("..", "%2e%2e")])
async def test_an_id_of_dots_is_one_of_a_thing(api: Subscribed, post_id: str, sent: str) -> None:
    await api.channel()
    await api.post(post_id, likes=3)
    assert [change["id"] for change in (await api.page("?types=post"))["changes"]] == [post_id]
    assert (await api.get(path=f"/tidemark/v1/posts/{sent}")).json()["id"] == post_id
    assert (await api.get(path=f"/tidemark/v1/posts/{sent}/nothing")).status_code == 404


async def test_channels_are_those_of_the_stores_snapshot(api: Subscribed) -> None:
    await api.channel(username="new")
    # What this process keeps in memory may be behind the store.
    api.api.directory.apply(("w1", "c1"), None)
    await api.post(likes=3)
    data = {change["type"]: change["data"] for change in (await api.page())["changes"]}
    assert data["channel"]["username"] == "new"
    assert [target["id"] for target in data["post"]["targets"]] == ["t-p1"]


async def test_an_origin_elsewhere_is_told(api: Subscribed) -> None:
    await api.channel()
    target = told.target("t-p1", published_at=OLD, origin="discovered")
    await api.put(POSTS, "w1/p1", told.post("w1", "p1", [target]))
    await api.figures(likes=1)
    (post,) = (await api.page("?types=post"))["changes"]
    assert post["data"]["targets"][0]["origin"] == "discovered"
    assert (await api.get(path="/tidemark/v1/posts/p1")).json()["targets"][0]["origin"] == "discovered"


async def test_deletions_are_told_without_data(api: Subscribed) -> None:
    await api.channel()
    await api.account()
    await api.post()
    cursor = (await api.page())["next_cursor"]
    await api.put(POSTS, "w1/p1", None)
    page = await api.page(f"?cursor={cursor}")
    assert page["changes"] == [{"type": "post", "id": "p1", "deleted": True, "captured_at": None, "data": None}]
    await api.put(CHANNELS, "w1/c1", None)
    page = await api.page(f"?cursor={page['next_cursor']}")
    assert sorted(told_of(page)) == [("account", "c1", True), ("channel", "c1", True)]
    assert all(change["data"] is None for change in page["changes"])


async def test_pages_go_on_where_they_were(api: Subscribed) -> None:
    await api.channel()
    await api.account()
    for number in range(5):
        await api.post(f"p{number}", likes=number)
    for limit in (1, 2, 3, 1_000):
        cursor, seen, has_more = "", [], True
        while has_more:
            page = await api.page(f"?limit={limit}&cursor={cursor}")
            assert len(page["changes"]) <= limit
            seen += told_of(page)
            cursor, has_more = page["next_cursor"], page["has_more"]
        assert {("channel", "c1", False), ("account", "c1", False)} <= set(seen)
        assert sorted(id_ for kind, id_, _ in seen if kind == "post") == [f"p{number}" for number in range(5)]
        assert (await api.page(f"?cursor={cursor}"))["changes"] == []


async def test_now_begins_at_the_end(api: Subscribed) -> None:
    await api.channel()
    await api.post(likes=1)
    page = await api.page("?cursor=now")
    assert page["changes"] == []
    await api.figures(likes=2)
    (change,) = (await api.page(f"?cursor={page['next_cursor']}"))["changes"]
    assert change["data"]["metrics"]["likes"] == 2


async def test_only_wanted_types_come(api: Subscribed) -> None:
    await api.channel()
    await api.account()
    await api.post()
    for kind in ("post", "channel", "account"):
        assert [entry[0] for entry in told_of(await api.page(f"?types={kind}"))] == [kind]
    assert len((await api.page("?types=post,account"))["changes"]) == 2
    assert len((await api.page("?types="))["changes"]) == 3
    for wrong in ("?types=posts", "?types=post,", "?limit=0", "?limit=1001", "?wait=31", "?wait=-1", "?since=1"):
        assert (await api.get(wrong)).status_code == 422


async def test_a_type_that_is_added_comes_from_its_beginning(api: Subscribed) -> None:
    """Whatever an answer shows is reachable from any cursor given before."""
    await api.channel()
    await api.account()
    await api.post()
    cursor = (await api.page("?types=post"))["next_cursor"]
    assert (await api.page(f"?types=post&cursor={cursor}"))["changes"] == []
    page = await api.page(f"?cursor={cursor}")
    assert {("channel", "c1", False), ("account", "c1", False)} <= set(told_of(page))
    page = await api.page(f"?cursor={page['next_cursor']}")
    assert page["changes"] == []
    # Also after the end, as it was for posts.
    cursor = (await api.page("?types=post&cursor=now"))["next_cursor"]
    page = await api.page(f"?types=post,account&cursor={cursor}")
    assert {kind for kind, _, _ in told_of(page)} == {"account"}


async def test_a_type_that_was_left_out_for_longer_than_deletions_are_remembered_is_refused(api: Subscribed) -> None:
    await api.channel()
    today, day = NOW // MILLIS_PER_DAY, MILLIS_PER_DAY
    # Everything was read 80 days ago, then posts alone.
    old = CURSORS.written("w1", PLACE, NOW - 80 * day, INCARNATION)
    narrow = (await api.page(f"?types=post&cursor={old}"))["next_cursor"]
    assert CURSORS.read("w1", narrow, NOW, INCARNATION).left == (0, today - 80, today - 80)
    assert (await api.get(f"?cursor={narrow}")).status_code == 200
    for days, status in ((89, 200), (91, 410)):
        narrow = CURSORS.written("w1", PLACE._replace(left=(0, today - days, NEVER)), NOW, INCARNATION)
        assert (await api.get(f"?types=channel&cursor={narrow}")).status_code == status
        assert (await api.get(f"?types=post,account&cursor={narrow}")).status_code == 200
    # Of types that this server does not know.
    other = CURSORS.written("w1", PLACE._replace(left=(0, 0, 0, 1)), NOW, INCARNATION)
    assert (await api.get(f"?cursor={other}")).status_code == 410


async def test_an_old_account_event_is_not_shown(api: Subscribed) -> None:
    await api.channel()
    for days, is_deleted in ((29, False), (31, True)):
        event = told.account("w1", "c1", at=NOW - days * MILLIS_PER_DAY)
        await api.put(ACCOUNT_EVENTS, "w1/c1", event)
        assert told_of(await api.page("?types=account")) == [("account", "c1", is_deleted)]


async def test_many_changes_are_made_in_a_thread_and_sent_as_one_reply(api: Subscribed) -> None:
    await api.channel()
    for number in range(30):
        await api.post(f"p{number}", likes=number)
    page = await api.page("?types=post")
    assert {change["id"]: change["data"]["metrics"]["likes"] for change in page["changes"]} == {
        f"p{number}": number for number in range(30)
    }
    # Evidence and places of all of them were asked for at once.
    names = [name for name, _ in api.api.store.asked]
    assert len(names) == len(set(names))


async def test_who_reads_many_in_a_row_while_things_change_misses_nothing(api: Subscribed) -> None:
    await api.channel()
    for number in range(75):
        told.put(api.brokers, POSTS, f"w1/q{number}", told.post("w1", f"q{number}", [told.target(f"t-q{number}")]))
        await api.figures(f"q{number}", likes=1)
    likes: dict[str, int] = {}

    async def read(cursor: str) -> str:
        page = await api.page(f"?types=post&limit=25&cursor={cursor}")
        for change in page["changes"]:
            newest = change["data"]["metrics"]["likes"]
            assert likes.get(change["id"], 0) <= newest, "nothing older after something newer"
            likes[change["id"]] = newest
        return page["next_cursor"] if page["has_more"] else ""

    cursor = await read("")
    assert len(likes) == 25
    # One that is to come, and one that was told already.
    await api.figures("q30", likes=2)
    await api.figures("q3", likes=2)
    while cursor:
        cursor = await read(cursor)
    assert likes == {f"q{number}": 2 if number in (3, 30) else 1 for number in range(75)}


async def test_an_empty_page_is_held_back_until_something_changes(api: Subscribed) -> None:
    await api.channel()
    await api.post(likes=1)
    cursor = (await api.page())["next_cursor"]
    began = monotonic()
    waiting = asyncio.create_task(api.page(f"?wait=30&cursor={cursor}"))
    await until(lambda: api.store._waiting, "somebody waits")
    await api.figures(likes=7)
    (change,) = (await waiting)["changes"]
    assert change["data"]["metrics"]["likes"] == 7
    assert monotonic() - began < 25
    page = await api.page(f"?wait=0.2&cursor={(await waiting)['next_cursor']}")
    assert (page["changes"], page["has_more"]) == ([], False)


async def test_whoever_waits_gets_an_empty_page_when_the_server_ends(api: Subscribed) -> None:
    await api.channel()
    cursor = (await api.page())["next_cursor"]
    waiting = asyncio.create_task(api.page(f"?wait=30&cursor={cursor}"))
    await until(lambda: api.store._waiting, "somebody waits")
    api.api.subscriptions.close()
    assert (await asyncio.wait_for(waiting, 10))["changes"] == []


async def test_a_key_that_is_revoked_meanwhile_gets_nothing(api: Subscribed) -> None:
    await api.channel()
    cursor = (await api.page())["next_cursor"]
    waiting = asyncio.create_task(api.get(f"?wait=30&cursor={cursor}"))
    await until(lambda: api.store._waiting, "somebody waits")
    api.api.keys.apply(("w1", "key_key"), None)
    await api.channel(username="new")
    reply = await asyncio.wait_for(waiting, 20)
    assert (reply.status_code, reply.json()["code"]) == (401, "unauthorized")


async def test_a_cursor_of_another_workspace_is_refused(api: Subscribed) -> None:
    await api.channel()
    await api.channel(workspace="w2")
    mine = (await api.page())["next_cursor"]
    theirs = api.api.add_key("w2", "theirs")
    reply = await api.api.client.get(f"{changes_api.CHANGES}?cursor={mine}", headers=theirs)
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_parameter")
    garbage = await api.get("?cursor=garbage")
    assert (garbage.status_code, garbage.json()["detail"]) == (422, reply.json()["detail"])


@pytest.mark.parametrize(
    ("given_at", "incarnation", "place"),
    [
        (NOW - 91 * MILLIS_PER_DAY, INCARNATION, PLACE),
        (NOW, "topics made anew", PLACE),
        (NOW, INCARNATION, Place((0,) * 4, (0,) * 4)),
    ],
    ids=["too old", "of other topics", "of fewer topics"],
)
async def test_a_cursor_that_is_not_good_any_more_is_gone(
    api: Subscribed, given_at: int, incarnation: str, place: Place
) -> None:
    reply = await api.get(f"?cursor={CURSORS.written('w1', place, given_at, incarnation)}")
    assert (reply.status_code, reply.json()["code"]) == (410, "cursor_expired")
    good = CURSORS.written("w1", PLACE, NOW - 89 * MILLIS_PER_DAY, INCARNATION)
    assert (await api.get(f"?cursor={good}")).status_code == 200


async def test_a_replica_that_is_behind_waits_and_then_says_nothing(
    api: Subscribed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.query_api.tidemark.changes.reads._BEHIND_SECONDS", 0.2)
    await api.channel()
    ahead = CURSORS.written("w1", Place((0,) * 5, (0, 0, 0, 0, 1)), NOW, INCARNATION)
    page = await api.page(f"?cursor={ahead}")
    assert (page["changes"], page["has_more"]) == ([], False)
    assert CURSORS.read("w1", page["next_cursor"], NOW, INCARNATION) == CURSORS.read("w1", ahead, NOW, INCARNATION)
    waiting = asyncio.create_task(api.page(f"?wait=30&cursor={ahead}"))
    await api.post(likes=5)
    assert {change["type"] for change in (await waiting)["changes"]} == {"channel", "post"}


async def test_posts_whose_figures_an_older_aggregator_wrote_are_read_from_clickhouse(api: Subscribed) -> None:
    await api.channel()
    await api.put(POSTS, "w1/p1", told.post("w1", "p1", [told.target("t-p1", published_at=OLD)]))
    await api.put(POST_ROLLUPS, "w1/p1", told.figures("w1", "p1", {"t-p1": told.values(likes=1)}, at=AT, is_old=True))
    target = {
        "target_id": "t-p1", "channel_id": "c1", "post_type": "", "status": "published", "external_id": "9",
        "permalink": None, "published_at": OLD, "is_story": False, "parent_target_id": None,
    }  # fmt: skip
    api.api.store.answers["tidemark_posts"] = [
        [0, "p1", "published", None, OLD, OLD, orjson.dumps([target]).decode(), None, *told.values()],
        [1, "t-p1", "p1", None, None, 0, "[]", AT, *told.values(likes=44)],
    ]
    (change,) = (await api.page("?types=post"))["changes"]
    assert change["data"]["metrics"]["likes"] == 44


async def test_without_a_store_or_keys_changes_are_unavailable(
    api: Subscribed, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_store = fake_api()
    headers = without_store.add_key("w1", "key")
    reply = await without_store.client.get(changes_api.CHANGES, headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (503, "changes_unavailable")
    assert "TIDEMARK_STORE_DIR" in reply.json()["message"]
    without_keys = fake_api(own_store=api.store, secret_key=None)
    headers = without_keys.add_key("w1", "key")
    reply = await without_keys.client.get(changes_api.CHANGES, headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (503, "changes_unavailable")
    assert "TIDEMARK_SECRET_KEYS" in reply.json()["message"]

    def lost(_: bool) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(api.store, "begin", lost)
    reply = await api.get()
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "2")


async def test_only_keys_with_the_scope_read(api: Subscribed) -> None:
    headers = api.api.add_key("w1", "writer", ("webhooks:write",))
    for path in (changes_api.CHANGES, "/tidemark/v1/stream"):
        assert (await api.api.client.get(path)).status_code == 401
        assert (await api.api.client.get(path, headers=headers)).status_code == 403


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.id)
def test_samples_are_what_their_schemas_say(endpoint: Any) -> None:
    if endpoint.sample is not None:
        assert conforms(orjson.loads(orjson.dumps(endpoint.sample)), endpoint.schema)
        assert not conforms({}, endpoint.schema)


def test_another_process_with_the_keys_reads_the_cursors() -> None:
    assert (
        CursorText(["another key of some length", "secret-key-of-the-tests"]).read(
            "w1", CURSORS.written("w1", PLACE, NOW, INCARNATION), NOW, INCARNATION
        )
        == PLACE
    )
