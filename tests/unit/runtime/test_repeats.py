"""A neighbour that is away is told once, and then at most once in ten seconds."""

from __future__ import annotations

import ast
import itertools
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import services
from services.runtime import repeats
from services.runtime.repeats import EVERY_SECONDS, Repeats


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def record(name: str, msg: object, *args: object, level: int = logging.WARNING) -> logging.LogRecord:
    return logging.LogRecord(name, level, __file__, 1, msg, args, None)


@pytest.mark.parametrize(
    ("name", "msgs"),
    [
        ("aiokafka.conn", ["Unable connect to node with id 1: %s", "Unable connect to node with id 23: %s"]),
        ("faust.app.base", ["Consumer: %s"]),
        ("mode.worker", ["crashed %s"]),
        ("services.sink", [{"event": "clickhouse_unavailable", "call": "a"}, {"event": "clickhouse_unavailable"}]),
        ("services.query_api.reads.clickhouse", [{"event": "query failed", "query": "x"}, {"event": "query failed"}]),
    ],
)  # fmt: skip
def test_one_line_of_a_kind_in_ten_seconds(name: str, msgs: list[object]) -> None:
    clock = Clock()
    repeats = Repeats(clock)
    shown: list[tuple[float, str]] = []
    for step in range(600):
        clock.now = step * 0.1
        msg = msgs[step % len(msgs)]
        made = record(name, msg, *(["gone"] if isinstance(msg, str) else []), level=logging.ERROR)
        if repeats.filter(made):
            shown.append((clock.now, str(made.msg) if isinstance(made.msg, dict) else made.getMessage()))
    times = [at for at, _ in shown]
    assert len(shown) == 6
    assert all(later - earlier >= EVERY_SECONDS for earlier, later in itertools.pairwise(times))
    assert "99" not in shown[0][1]
    assert all("99" in text for _, text in shown[1:])


def test_other_kinds_and_other_lines_are_not_held_back() -> None:
    clock = Clock()
    repeats = Repeats(clock)
    away = {"event": "clickhouse_unavailable"}
    assert [repeats.filter(record("a", away)), repeats.filter(record("b", away))] == [True, True]
    assert [repeats.filter(record("aiokafka.conn", text)) for text in ("one", "two", "one")] == [True, True, False]
    for _ in range(3):
        assert repeats.filter(record("services.poller.asking.channel_rounds", {"event": "a request is wrong"}))
        assert repeats.filter(record("uvicorn.error", "Application startup complete"))
        assert repeats.filter(record("aiokafka.conn", "connected", level=logging.INFO))


def test_the_line_after_a_pause_says_what_was_held_back_once() -> None:
    clock = Clock()
    repeats = Repeats(clock)
    shown = []
    for at in (0.0, 1.0, 2.0, 11.0, 30.0):
        clock.now = at
        made = record("s", {"event": "query failed", "query": "q"})
        if repeats.filter(made):
            assert isinstance(made.msg, dict)
            shown.append(made.msg.get("held_back"))
    assert shown == [None, 2, None]


def test_kinds_are_bounded() -> None:
    clock = Clock()
    repeats = Repeats(clock)
    for step in range(5_000):
        clock.now = step * 20.0
        assert repeats.filter(record("aiokafka.conn", f"{chr(97 + step % 26)}{'x' * step}"))
    assert len(repeats._kinds) <= 1_000


SERVICES = Path(services.__file__).parent
# Of a neighbour by its words, but told once or of one thing alone.
NOT_OF_A_NEIGHBOUR = {
    "a Kafka client did not stop cleanly",
    "a token answer can't be read",
    "the store can't be read",
    "a list of posts can't be read",
    "part of a payload can't be read",
    "an answer is too large for a reply",
    "stopped with answers that Kafka has not confirmed",
}
OF_A_NEIGHBOUR = re.compile(
    r"(?i)\bkafka\b|\bregistry\b|clickhouse_un|(can't|cannot) be (read|reached|followed)$|is away"
)


def warnings() -> Iterator[str]:
    """The events of every literal warning and error of the services."""
    for path in SERVICES.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        # Most files have none, and are not worth parsing.
        for node in ast.walk(ast.parse(text)) if re.search(r"\b_?log\b", text) else ():
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in ("warning", "error")
                and getattr(node.func.value, "id", "") in ("log", "_log")
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                yield str(node.args[0].value)


def test_each_event_about_a_neighbour_is_held_back() -> None:
    said = set(warnings())
    about = {event for event in said if OF_A_NEIGHBOUR.search(event)} - NOT_OF_A_NEIGHBOUR
    assert about <= repeats._EVENTS
    assert said >= repeats._EVENTS, "no service says these any more"
