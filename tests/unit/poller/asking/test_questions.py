"""Questions: what they ask figures of, how they are made smaller, and whose each part of an answer is."""

from __future__ import annotations

import orjson

from schemas.events import RawKind
from services.platforms import all_platforms
from services.platforms.abilities import AcrossAccounts
from services.platforms.base import Channel, Target
from services.poller.asking.questions import CHANNEL, ChannelQuestion, SharedQuestion, Subject
from services.poller.schedule.plan import Plan

YOUTUBE = all_platforms()["youtube"]
OWNER = Channel("w1", "c1", "UC1")


def target(name: str) -> Target:
    return Target(name, f"p-{name}", f"e-{name}")


def of_channel(*names: str) -> ChannelQuestion:
    (call,) = [
        call
        for call in YOUTUBE.post_calls(OWNER, [target(name) for name in names])
        if call.path == "/youtube/v3/videos"
    ]
    return ChannelQuestion(YOUTUBE, Plan(("w1", "c1")), OWNER, call)


def shared(**names: str) -> SharedQuestion:
    """Each workspace with its targets' names, one letter each."""
    assert isinstance(YOUTUBE, AcrossAccounts)
    asked = []
    for workspace_id, letters in names.items():
        plan = Plan((workspace_id, "c1"))
        asked += [(plan, Target(letter, f"p-{letter}", f"{workspace_id}-{letter}")) for letter in letters]
    return SharedQuestion(YOUTUBE, asked)


def test_subjects_are_the_targets_or_the_channel() -> None:
    assert of_channel("a", "b").subjects == (Subject(("w1", "c1"), "a"), Subject(("w1", "c1"), "b"))
    own = of_channel("a").instead(YOUTUBE.channel_calls(OWNER, 0)[0])
    assert own.call.kind == RawKind.CHANNEL_METRICS
    assert own.subjects == (Subject(("w1", "c1"), CHANNEL),)
    assert own.halves(0) == []


def test_halves_ask_for_the_same_targets_in_their_order() -> None:
    first, second = of_channel("a", "b", "c").halves(0)
    assert [one.target_id for one in (*first.subjects, *second.subjects)] == ["a", "b", "c"]
    assert of_channel("a").halves(0) == []


def test_one_target_is_left_out_by_the_platforms_id() -> None:
    (left,) = of_channel("a", "b", "c").without_target("e-b", 0)
    assert [one.target_id for one in left.subjects] == ["a", "c"]
    assert of_channel("a").without_target("e-a", 0) == []


def test_targets_of_two_workspaces_are_told_apart_though_their_ids_are_the_same() -> None:
    question = shared(w1="ab", w2="a")
    assert len(set(question.subjects)) == 3
    assert [plan.key for plan in question.plans] == [("w1", "c1"), ("w2", "c1")]


def test_each_part_of_a_shared_answer_names_its_own_targets_only() -> None:
    question = shared(w1="ab", w2="a")
    body = orjson.dumps({"items": [{"id": name, "statistics": {}} for name in ("w1-a", "w2-a", "w1-b", "w3-a")]})
    first, second = question.parts(body)
    assert (first.channel, second.channel) == (("w1", "c1"), ("w2", "c1"))
    assert [item["id"] for item in orjson.loads(first.body)["items"]] == ["w1-a", "w1-b"]
    assert [item["id"] for item in orjson.loads(second.body)["items"]] == ["w2-a"]
    assert [one.external_id for one in second.call.targets] == ["w2-a"]
    assert b"w1" not in second.body + str(second.call).encode()


def test_a_shared_question_is_halved_by_targets_and_by_channels() -> None:
    question = shared(w1="abc", w2="a")
    assert [len(half.subjects) for half in question.halves(0)] == [2, 2]
    assert [[plan.key[0] for plan in half.plans] for half in question.by_channel(was_answered=True)] == [["w1"], ["w2"]]
    assert shared(w1="abc").by_channel(was_answered=True) == []
    five = shared(w1="a", w2="a", w3="a", w4="a", w5="a").by_channel(was_answered=False)
    assert [[plan.key[0] for plan in part.plans] for part in five] == [["w5"], ["w1", "w2"], ["w3", "w4"]]
    assert shared(w1="a").halves(0) == []


def test_channels_are_left_out_of_a_shared_question() -> None:
    question = shared(w1="a", w2="a", w3="a")
    (left,) = question.without({("w2", "c1")})
    assert [plan.key[0] for plan in left.plans] == ["w1", "w3"]
    assert left.call.targets == tuple(Target("a", "p-a", f"{name}-a") for name in ("w1", "w3"))
    assert question.without({plan.key for plan in question.plans}) == []
