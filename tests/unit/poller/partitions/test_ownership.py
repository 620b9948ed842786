"""Ownership: a call needs the partition, its catalog and a recent answer of Kafka. Whatever befalls a group of
processes, no workspace is asked for by two of them at once, and none is forgotten."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from services.poller.partitions.ownership import Ownership, Stage
from tests.support import properties

PARTITIONS = 3
SESSION = 6_000
LEASE = 3_000


class Clock:
    def __init__(self) -> None:
        self.at = 1_000_000

    def __call__(self) -> int:
        return self.at


def made(clock: Clock) -> Ownership:
    return Ownership(PARTITIONS, LEASE, clock, int)


def test_a_call_needs_the_partition_its_catalog_and_a_lease() -> None:
    clock = Clock()
    ownership = made(clock)
    ownership.gain(1)
    assert ownership.word_age() is None
    ownership.prove(clock.at)
    assert not ownership.may_ask("1"), "its catalog is not read"
    ownership.activate(1)
    assert ownership.may_ask("1")
    assert not ownership.may_ask("2")
    clock.at += LEASE
    assert not ownership.may_ask("1"), "Kafka was not heard of for too long"
    assert ownership.is_active("1"), "but it is nobody else's"
    ownership.prove(clock.at - 1)
    ownership.prove(clock.at - 2_000)
    assert ownership.word_age() == 1
    assert ownership.may_ask("1")
    ownership.drain([1, 2])
    assert not ownership.may_ask("1")
    assert ownership.held() == [1]
    ownership.give_up(1)
    ownership.give_up(1)
    assert ownership.held() == []


def test_a_partition_taken_over_by_name_waits_for_its_former_owner() -> None:
    clock = Clock()
    ownership = made(clock)
    ownership.gain(0, clock.at + LEASE)
    ownership.activate(0)
    assert ownership.wait([0, 1]) == LEASE
    clock.at += LEASE - 1
    ownership.prove(clock.at)
    assert not ownership.may_ask("0")
    clock.at += 1
    assert ownership.may_ask("0")
    assert ownership.wait([0]) == 0


def test_what_is_under_way_is_counted_by_partition() -> None:
    ownership = made(Clock())
    idle: list[int] = []
    ownership.on_idle = idle.append
    with ownership.working("1"):
        with ownership.working("1"):
            assert ownership.is_idle([0, 2])
        assert not ownership.is_idle([0, 1])
        assert idle == []
    assert ownership.is_idle([1])
    assert idle == [1]


def test_stages_follow_one_another() -> None:
    ownership = made(Clock())
    with pytest.raises(ValueError, match="not loading"):
        ownership.activate(0)
    ownership.gain(0)
    with pytest.raises(ValueError, match="twice"):
        ownership.gain(0)
    ownership.gain(2)
    ownership.activate(2)
    assert (ownership.held(Stage.LOADING), ownership.held(Stage.ACTIVE)) == ([0], [2])
    assert ownership.share() == pytest.approx(2 / 3)
    ownership.drain()
    assert ownership.held(Stage.DRAINING) == [0, 2]


class Process:
    """One poller as far as the group is concerned."""

    def __init__(self, clock: Clock, name: str) -> None:
        self.name = name
        self.ownership = made(clock)
        self.is_frozen = False
        self.proofs_under_way: list[int] = []  # sent, and not yet at the broker
        self.words: list[int] = []  # accepted by the broker, and not yet read


class Group(RuleBasedStateMachine):
    """A broker's view of the group, and processes that learn of it late or never.

    The broker takes a member for dead when it was not heard of for a session, and gives its partitions away then;
    from a living member it takes none that was not given back. A process with the name of another takes its place.
    """

    processes = Bundle("processes")

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.living: list[Process] = []
        self.heard: dict[Process, int] = {}  # members, with when the broker last heard of them
        self.owner: dict[int, Process] = {}
        self.count = 0

    def _join(self, name: str) -> Process:
        process = Process(self.clock, name)
        self.living.append(process)
        self.heard[process] = self.clock.at
        return process

    @initialize(target=processes)
    def begin(self) -> Process:
        return self._join("n0")

    @rule(target=processes)
    def join(self) -> Process:
        self.count += 1
        return self._join(f"n{self.count}")

    @rule(target=processes, former=processes)
    def take_the_name_of(self, former: Process) -> Process:
        """A second process with the same static name: the broker hands it the place at once, unknown to the first."""
        process = self._join(former.name)
        if former in self.heard:
            del self.heard[former]
            for partition in [number for number, owner in self.owner.items() if owner is former]:
                self.owner[partition] = process
                process.ownership.gain(partition, self.clock.at + LEASE)
                process.ownership.activate(partition)
            process.ownership.prove(self.clock.at)
        return process

    @rule(millis=st.sampled_from([1, 300, 1_000, LEASE - 1, LEASE, SESSION - 1, SESSION, 20_000]))
    def pass_time(self, millis: int) -> None:
        self.clock.at += millis
        for process, at in list(self.heard.items()):
            if self.clock.at - at >= SESSION:
                del self.heard[process]
                self.owner = {number: owner for number, owner in self.owner.items() if owner is not process}

    @rule(process=processes)
    def send_proof(self, process: Process) -> None:
        if process in self.living and not process.is_frozen:
            process.proofs_under_way.append(self.clock.at)

    @rule(process=processes)
    def accept_proofs(self, process: Process) -> None:
        sent, process.proofs_under_way = process.proofs_under_way, []
        if process in self.heard:
            self.heard[process] = self.clock.at
            process.words += sent

    @rule(process=processes)
    def read_words(self, process: Process) -> None:
        if process in self.living and not process.is_frozen:
            for sent_at in process.words:
                process.ownership.prove(sent_at)
            process.words.clear()

    @rule(process=processes)
    def freeze_or_wake(self, process: Process) -> None:
        process.is_frozen = not process.is_frozen

    @rule(process=processes)
    def kill(self, process: Process) -> None:
        if process in self.living:
            self.living.remove(process)

    @rule(process=processes)
    def learn_of_loss(self, process: Process) -> None:
        """What it still holds and the broker gave away, or will: it drops that, and joins anew."""
        if process in self.living and not process.is_frozen and process not in self.heard:
            process.ownership.drain()
            for partition in process.ownership.held():
                process.ownership.give_up(partition)
            process.words.clear()
            process.proofs_under_way.clear()
            self.heard[process] = self.clock.at
            process.name += "'"

    @rule(process=processes, partition=st.integers(0, PARTITIONS - 1))
    def assign(self, process: Process, partition: int) -> None:
        """The broker gives away what no member owns."""
        is_free = partition not in self.owner
        ready = process in self.living and process in self.heard and not process.is_frozen
        if is_free and ready and not process.ownership.holds(partition):
            self.owner[partition] = process
            process.ownership.gain(partition)

    @rule(process=processes)
    def finish_loading(self, process: Process) -> None:
        if process in self.living and not process.is_frozen:
            for partition in process.ownership.held(Stage.LOADING):
                process.ownership.activate(partition)

    @rule(process=processes, partition=st.integers(0, PARTITIONS - 1))
    def ask_back(self, process: Process, partition: int) -> None:
        if process in self.living and not process.is_frozen and process in self.heard:
            process.ownership.drain([partition])

    @rule(process=processes)
    def give_back(self, process: Process) -> None:
        if process in self.living and not process.is_frozen and process in self.heard:
            for partition in process.ownership.held(Stage.DRAINING):
                process.ownership.give_up(partition)
                if self.owner.get(partition) is process:
                    del self.owner[partition]

    @rule()
    def beat(self) -> None:
        """Everybody who is awake proves its place."""
        for process in self.living:
            self.send_proof(process)
            self.accept_proofs(process)
            self.read_words(process)

    @rule()
    def balance(self) -> None:
        """Everybody who is awake learns what happened, and what is free is given away."""
        for process in self.living:
            self.give_back(process)
            self.learn_of_loss(process)
        for partition in range(PARTITIONS):
            for process in self.living:
                self.assign(process, partition)
        for process in self.living:
            self.finish_loading(process)

    @invariant()
    def nobody_is_asked_for_by_two(self) -> None:
        # A frozen process counts too: it may wake at this very moment, and asks before it learns anything.
        for partition in range(PARTITIONS):
            asking = [process.name for process in self.living if process.ownership.may_ask(str(partition))]
            assert len(asking) <= 1, (partition, asking)

    def teardown(self) -> None:
        """Once everybody is awake and has been told everything, nothing is forgotten."""
        if not self.living:
            return
        for process in self.living:
            process.is_frozen = False
        for process in set(self.heard) - set(self.living):
            self.heard[process] -= SESSION
        self.pass_time(0)
        self.balance()
        self.pass_time(LEASE)
        self.balance()
        self.beat()
        self.nobody_is_asked_for_by_two()
        for partition in range(PARTITIONS):
            assert any(process.ownership.may_ask(str(partition)) for process in self.living), partition


TestGroup = Group.TestCase
TestGroup.settings = settings(max_examples=properties.of(150), stateful_step_count=40, deadline=None)
