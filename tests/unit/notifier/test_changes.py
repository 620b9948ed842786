"""News is told at most once a second, and its cursor takes in what untried news told."""

from __future__ import annotations

import orjson
import pytest

from schemas.topic_names import CHANNEL_ROLLUPS, POST_ROLLUPS, TOPICS_OF_CHANGES
from services.notifier.changes import MOST_OFTEN_MILLIS, Gathering, News, told
from services.runtime.brokers import Place
from services.runtime.cursors import CursorText
from services.runtime.cursors import Place as CursorPlace
from tests.support.manual_clock import START
from tests.support.webhooks import SECRET_KEY

CURSORS = CursorText([SECRET_KEY])
AT = (1, 2, 3, 4, 5)


def test_a_workspace_is_told_at_most_once_a_second() -> None:
    gathering = Gathering()
    gathering.add("w1", POST_ROLLUPS, "p1", AT, START)
    assert set(gathering.take(START)) == {"w1"}
    gathering.add("w1", POST_ROLLUPS, "p1", AT, START)
    gathering.add("w2", POST_ROLLUPS, "p1", AT, START)
    assert set(gathering.take(START + 10)) == {"w2"}
    assert gathering.take(START + MOST_OFTEN_MILLIS - 1) == {}
    assert set(gathering.take(START + MOST_OFTEN_MILLIS)) == {"w1"}
    gathering.add("w1", POST_ROLLUPS, "p1", AT, START)
    assert set(gathering.take(START - 3_600_000)) == {"w1"}, "the clock was set back"


def test_what_is_not_told_yet_is_read_again_after_a_restart() -> None:
    gathering = Gathering()
    positions = {Place(topic, 0): 100 + number for number, topic in enumerate(TOPICS_OF_CHANGES)}
    positions[Place(POST_ROLLUPS, 1)] = 70
    assert gathering.safe(positions, lambda _: 0) == positions
    gathering.add("w1", POST_ROLLUPS, "p1", AT, START)
    gathering.add("w1", CHANNEL_ROLLUPS, "c1", (9, 9, 9, 9, 9), START)
    safe = gathering.safe(positions, lambda _: 0)
    assert [safe[Place(topic, 0)] for topic in TOPICS_OF_CHANGES] == list(AT)
    assert safe[Place(POST_ROLLUPS, 1)] == 70
    gathering.take(START)
    assert gathering.safe(positions, lambda _: 0) == positions


def test_the_newest_messages_time_tells_whether_a_webhook_was_there() -> None:
    gathering = Gathering()
    for at in (START, START + 500, START + 300):
        gathering.add("w1", POST_ROLLUPS, f"p{at}", AT, at)
    news = gathering.take(START + 900)["w1"]
    assert (news.happened_at, news.newest_at) == (START, START + 500)


def news_of(*ids: str, at: tuple[int, ...] = AT) -> News:
    gathering = Gathering()
    for id_ in ids:
        gathering.add("w1", POST_ROLLUPS, id_, at, START)
    return gathering.take(START)["w1"]


def test_untried_news_begins_where_it_began_and_sees_as_far_as_the_newest() -> None:
    first = told("w1", news_of("p1", "p1", "p2"), (6, 6, 6, 6, 6), CURSORS, "one", START)(None)
    later = news_of("p3", at=(6, 6, 6, 6, 6))
    both = told("w1", later, (9, 9, 9, 9, 9), CURSORS, "one", START)(first)
    read = orjson.loads(both)
    assert (read["posts"], read["channels"]) == (3, 0)
    assert CURSORS.read("w1", read["cursor"], START, "one") == CursorPlace(AT, (9, 9, 9, 9, 9))


@pytest.mark.parametrize(
    "content",
    ["", "not json", "[]", "null", "{}", '{"cursor": 1, "posts": 1, "channels": 1}', "[" * 100_000,
     '{"cursor": "x", "posts": -1, "channels": 0}', '{"cursor": "x", "posts": 1e400, "channels": 0}',
     '{"cursor": "x", "posts": true, "channels": 0}', '{"cursor": "x", "posts": ' + "9" * 50 + ', "channels": 0}'],
)  # fmt: skip
def test_a_strangers_record_in_the_place_of_untried_news_stops_nothing(content: str) -> None:
    """Whoever may write the topic of deliveries can write anything there, and it was read at each start again."""
    news = told("w1", news_of("p1"), (6, 6, 6, 6, 6), CURSORS, "one", START)
    assert news(content) == news(None)


def test_a_cursor_of_topics_that_were_made_anew_is_replaced() -> None:
    first = told("w1", news_of("p1"), (6, 6, 6, 6, 6), CURSORS, "one", START)(None)
    content = told("w1", news_of("p1", at=(0, 0, 0, 0, 0)), (1, 1, 1, 1, 1), CURSORS, "two", START)
    read = orjson.loads(content(first))
    assert CURSORS.read("w1", read["cursor"], START, "two") == CursorPlace((0, 0, 0, 0, 0), (1, 1, 1, 1, 1))
    # What two webhooks without untried news are told is the same.
    assert content(None) == content(None)
