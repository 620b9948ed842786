"""Kept replies as callers meet them: hits, what ends them, tags of replies, packing, honesty."""

from __future__ import annotations

import gzip
from dataclasses import replace
from typing import Any

import pytest

from services.query_api.cache import channel_tag, channels_tag, post_tag, posts_tag
from services.query_api.errors import ReadsUnavailable
from services.query_api.reads.keeping import kept, key_of
from services.query_api.reads.query import (
    AccountHistoryQuestion,
    AccountQuestion,
    ChannelWindow,
    ChannelWindowQuestion,
    HealthQuestion,
    LivePostQuestion,
    Post,
    PostHistory,
    PostHistoryQuestion,
    PostQuestion,
    PostScoresQuestion,
    Question,
    Snapshot,
    SnapshotsQuestion,
    TargetQuestion,
)
from tests.support.query_api import ADMIN_KEY, NOW, FakeApi, fake_api, target, values

DAY = 86_400_000
POST = Post("p1", "published", None, None, NOW, (target("t1", values=values(likes=1), captured_at=NOW, post_id="p1"),))
PATH = "/api/v1/posts/p1/insights"


class Api:
    """The application with a cache, and one post."""

    def __init__(self) -> None:
        self.fake: FakeApi = fake_api(cache_bytes=1_000_000)
        assert self.fake.cache is not None
        self.cache = self.fake.cache
        self.headers = dict(self.fake.add_key("w1", "good"))
        self.fake.read_model.answers[PostQuestion("w1", "p1")] = POST

    async def get(self, path: str = PATH, **headers: str) -> Any:
        return await self.fake.client.get(path, headers={**self.headers, **headers})

    @property
    def asked(self) -> int:
        return len(self.fake.read_model.asked)


async def test_a_second_read_asks_nothing_and_says_its_age() -> None:
    api = Api()
    first = await api.get()
    api.fake.clock.advance(5)
    second = await api.get()
    assert first.content == second.content
    assert api.asked == 1
    assert "age" not in first.headers
    assert second.headers["age"] == "5"


async def test_another_workspace_asks_for_itself() -> None:
    api = Api()
    await api.get()
    other = api.fake.add_key("w2", "other")
    assert (await api.fake.client.get(PATH, headers=other)).status_code == 404
    assert api.asked == 2


@pytest.mark.parametrize("tag", [post_tag("w1", "p1"), channels_tag("w1")])
async def test_a_change_is_shown(tag: bytes) -> None:
    api = Api()
    await api.get()
    api.fake.clock.advance(2)
    changed = POST._replace(targets=(target("t1", values=values(likes=2), captured_at=NOW),))
    api.fake.read_model.answers[PostQuestion("w1", "p1")] = changed
    api.cache.drop(tag)
    assert (await api.get()).json()["totals"]["likes"] == 2


async def test_what_is_not_there_is_not_kept() -> None:
    api = Api()
    for _ in range(2):
        assert (await api.get("/api/v1/posts/unknown/insights")).status_code == 404
    assert api.asked == 2


async def test_without_clickhouse_the_last_known_is_shown_with_its_age() -> None:
    api = Api()
    first = await api.get()
    api.cache.drop(post_tag("w1", "p1"))
    api.fake.clock.advance(90)
    api.fake.read_model.error = ReadsUnavailable()
    stale = await api.get()
    assert (stale.status_code, stale.content, stale.headers["age"]) == (200, first.content, "90")
    missing = await api.get("/api/v1/posts/other/insights")
    assert (missing.status_code, missing.json()["code"]) == (503, "analytics_unavailable")
    assert int(missing.headers["retry-after"]) >= 1
    api.cache.drop(post_tag("w1", "p1"), is_gone=True)
    assert (await api.get()).status_code == 503


async def test_while_kafka_is_away_reads_go_on_and_say_so() -> None:
    api = Api()
    await api.get()
    api.cache.is_fed = False
    api.fake.silent[0] = 17.5
    reply = await api.get()
    assert (reply.status_code, reply.headers["age"], api.asked) == (200, "17", 2)


async def test_a_known_reply_is_not_sent_again() -> None:
    api = Api()
    etag = (await api.get()).headers["etag"]
    for known in (etag, etag.removeprefix("W/"), f'"other", {etag}', "*"):
        reply = await api.get(**{"if-none-match": known})
        assert (reply.status_code, reply.content, reply.headers["etag"]) == (304, b"", etag)
    assert (await api.get(**{"if-none-match": '"other"'})).status_code == 200
    changed = POST._replace(targets=(target("t1", values=values(likes=2), captured_at=NOW),))
    api.fake.read_model.answers[PostQuestion("w1", "p1")] = changed
    api.cache.drop(post_tag("w1", "p1"))
    assert (await api.get(**{"if-none-match": etag})).status_code == 200


async def test_a_moving_window_keeps_its_tag() -> None:
    api = Api()
    question = ChannelWindowQuestion("w1", "c1", "28d", NOW // 1000 * 1000)
    tags = []
    for second in range(3):
        end = question.end + second * 1000
        window = ChannelWindow("c1", "x", "28d", "posts", end - 28 * DAY, end, values(likes=1), 1, 0, 0, second // 2)
        api.fake.read_model.answers[replace(question, end=end)] = window
        reply = await api.get("/api/v1/channels/c1/insights")
        assert reply.json()["window"]["end"].endswith(f":{22 + second}Z")
        tags.append(reply.headers["etag"])
        again = await api.get("/api/v1/channels/c1/insights")
        assert again.content == reply.content
        api.fake.clock.advance(1)
    assert api.asked == 3
    assert tags[0] == tags[1] != tags[2]


@pytest.mark.parametrize(
    ("accepted", "is_packed"),
    [("gzip", True), ("gzip, br", True), ("br;q=1.0, gzip;q=0.5", True), ("*", True), ("gzip;q=0", False),
     ("identity", False), ("br", False), ("gzip;q=x", False)],
)  # fmt: skip
async def test_large_replies_are_packed_when_asked(accepted: str, is_packed: bool) -> None:
    api = Api()
    many = tuple(target(f"t{number}", f"c{number}", values=values(likes=number)) for number in range(50))
    api.fake.read_model.answers[PostQuestion("w1", "p1")] = POST._replace(targets=many)
    plain = await api.get(**{"accept-encoding": "identity"})
    async with api.fake.client.stream("GET", PATH, headers={**api.headers, "accept-encoding": accepted}) as reply:
        raw = b"".join([chunk async for chunk in reply.aiter_raw()])
    assert ("content-encoding" in reply.headers) == is_packed
    assert (gzip.decompress(raw) if is_packed else raw) == plain.content
    assert int(reply.headers["content-length"]) == len(raw)
    assert "accept-encoding" in reply.headers["vary"]
    assert reply.headers["etag"] == plain.headers["etag"]


async def test_metrics_tell_hits_from_misses() -> None:
    api = Api()

    async def count(outcome: str) -> float:
        wanted = f'tidemark_query_api_cache_total{{endpoint="/api/v1/posts/{{id}}/insights",outcome="{outcome}"'
        page = (await api.fake.client.get("/metrics", headers={"authorization": f"Bearer {ADMIN_KEY}"})).text
        return sum(float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(wanted))

    hits, misses = await count("hit"), await count("miss")
    for _ in range(3):
        await api.get()
    assert (await count("hit") - hits, await count("miss") - misses) == (2, 1)


@pytest.mark.parametrize(
    "question",
    [LivePostQuestion("w1", "p1"), AccountQuestion("w1", "c1"), AccountHistoryQuestion("w1", "c1", 0, NOW),
     HealthQuestion("w1", "c1", NOW)],
)  # fmt: skip
def test_live_answers_health_and_accounts_are_never_kept(question: Question[Any]) -> None:
    assert key_of(question, NOW) is None


def test_keys_leave_the_instant_out_where_it_is_not_shown() -> None:
    assert key_of(PostScoresQuestion("w1", "p1", NOW), NOW) == key_of(PostScoresQuestion("w1", "p1", NOW + 9), NOW + 9)
    for make in (
        lambda at, days: SnapshotsQuestion("w1", "c1", at - days * DAY, 500),
        lambda at, days: PostHistoryQuestion("w1", "p1", at - days * DAY, 500),
    ):
        assert key_of(make(NOW, 30), NOW) == key_of(make(NOW + 9, 30), NOW + 9) != key_of(make(NOW, 29), NOW)
    keys = {
        key_of(question, NOW)
        for question in (
            SnapshotsQuestion("w1", None, NOW, 500), SnapshotsQuestion("w1", "c1", NOW, 500),
            SnapshotsQuestion("w2", None, NOW, 500), PostHistoryQuestion("w1", "c1", NOW, 500),
            PostQuestion("w1", "c1"), TargetQuestion("w1", "c1"), PostScoresQuestion("w1", "c1", NOW),
        )
    }  # fmt: skip
    assert len(keys) == 7


def test_what_answers_are_made_of() -> None:
    assert kept(PostQuestion("w1", "p1"), POST, NOW).tags == (post_tag("w1", "p1"), channels_tag("w1"))
    assert kept(TargetQuestion("w1", "t1"), POST.targets[0], NOW).tags == (post_tag("w1", "p1"), channels_tag("w1"))
    assert kept(PostScoresQuestion("w1", "p1", NOW), None, NOW).tags == (posts_tag("w1"), channels_tag("w1"))
    window = kept(ChannelWindowQuestion("w1", "c1", "7d", NOW // 1000 * 1000), None, NOW)
    assert window.tags == (channel_tag("w1", "c1"), channels_tag("w1"))
    assert window.seconds == pytest.approx(0.655)


@pytest.mark.parametrize("of_post", [True, False])
def test_a_list_holds_until_its_oldest_row_leaves(of_post: bool) -> None:
    since = NOW - DAY
    rows = tuple(Snapshot(f"e{n}", "t1", "c1", since + n * 4_000, values(), {}) for n in (9, 1, 5))
    question: Question[Any]
    answer: Any
    if of_post:
        question, answer = PostHistoryQuestion("w1", "p1", since, 500), PostHistory(POST, {"t1": rows})
    else:
        question, answer = SnapshotsQuestion("w1", None, since, 500), rows
    assert kept(question, answer, NOW).seconds == pytest.approx(4.001)
    nothing: Any = PostHistory(POST, {}) if of_post else ()
    assert kept(question, nothing, NOW).seconds == 60
