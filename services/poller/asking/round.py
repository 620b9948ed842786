"""One round under way: what is left to ask, and what is known of each subject so far; pure.

A round asks for one batch with its channel's own token (`ChannelRound`), or for batches of several channels with our
app's (`Round` of `SharedQuestion`s). A live pull is a round without a batch.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic

from schemas.events import Origin, PlatformRaw
from services.platforms.abilities import HostedByToken, has
from services.platforms.base import Call, Channel, Platform, Verdict
from services.poller.asking.access import Access
from services.poller.asking.learning import Seen
from services.poller.asking.questions import CHANNEL, Asked, ChannelQuestion, Subject
from services.poller.connections.tokens import Credentials
from services.poller.schedule.batch import Batch, Fate, Settled
from services.poller.schedule.plan import Plan

_GONE = frozenset({Fate.GONE, Fate.NEVER})
Heard = Callable[[PlatformRaw], None]
"""Receives each successful answer of a round as it comes."""


class Round(Generic[Asked]):
    """Questions that are left, and fates.

    Attributes:
        pending: what is left to ask, in order.
        settled: what became of each subject so far.
        seen: what answers of each shape of call there were.
    """

    def __init__(self) -> None:
        self.pending: deque[Asked] = deque()
        self.settled: dict[Subject, Settled] = {}
        self.seen: dict[str, Seen] = defaultdict(Seen)

    def ask_first(self, questions: Sequence[Asked]) -> None:
        """Ask these before what is pending, in their order."""
        self.pending.extendleft(reversed(questions))

    def settle(self, fates: Mapping[Subject, Fate], at: int) -> None:
        """Note what became of subjects; figures from any call outweigh what became of the others.

        Args:
            at: when to try again (ms), for RETRY.
        """
        settled = None
        for subject, fate in fates.items():
            # Mostly one fate is all targets'.
            if settled is None or settled.fate is not fate:
                settled = Settled(fate, at if fate is Fate.RETRY else 0)
            self._settle(subject, settled)

    def settle_each(self, settled: Mapping[Subject, Settled]) -> None:
        """The same, each with its own instant."""
        for subject, one in settled.items():
            self._settle(subject, one)

    def _settle(self, subject: Subject, settled: Settled) -> None:
        held = self.settled.get(subject)
        # That something else was not asked for says less than that the target is gone.
        if held is None or not (held.fate is Fate.CAPTURED or (held.fate in _GONE and settled.fate is Fate.SKIPPED)):
            self.settled[subject] = settled

    def drop(self, shape: str, settled: Settled) -> None:
        """Ask nothing more of a shape in this round."""
        dropped = [question for question in self.pending if question.shape == shape]
        for question in dropped:
            self.pending.remove(question)
            self.settle_each(dict.fromkeys(question.subjects, settled))

    def put_off(self, questions: Iterable[Asked], at: int) -> None:
        """What these ask for is due again then (ms)."""
        for question in questions:
            self.settle(dict.fromkeys(question.subjects, Fate.RETRY), at)

    def give_up_until(self, at: int) -> None:
        """Ask nothing more in this round: all that is pending is due again then (ms)."""
        self.put_off(self.pending, at)
        self.pending.clear()

    def fates(self, batch: Batch) -> tuple[list[Settled], Settled]:
        """What became of each target of a batch, and of its channel's own figures.

        What no call asked for waits for its regular time.
        """
        key, regular = batch.plan.key, Settled(Fate.SKIPPED)
        fates = [self.settled.get(Subject(key, entry.target_id), regular) for entry in batch.entries]
        return fates, self.settled.get(Subject(key, CHANNEL), regular)


class ChannelRound(Round[ChannelQuestion]):
    """A round of one channel, asked with the channel's own token.

    Args:
        channel: as the platform knows it.
        heard: receives each successful answer, where somebody waits for it.
        is_probe: asks although the channel is not polled, to see whether its connection works.

    Attributes:
        access: what calls are made with from now on.
        is_renewed: the token was renewed in this round, or is known not to be renewable.
        is_proving: a call about one target was refused for the token's sake, and another target is asked for to see.
        is_proven: that other target was answered.
        verdict: what the last answer meant; None before the first.
    """

    def __init__(
        self,
        plan: Plan,
        channel: Channel,
        platform: Platform,
        credentials: Credentials,
        *,
        origin: Origin = Origin.SCHEDULE,
        heard: Heard | None = None,
        is_probe: bool = False,
    ) -> None:
        super().__init__()
        self.plan = plan
        self.channel = channel
        self.platform = platform
        self.origin = origin
        self.heard = heard
        self.is_probe = is_probe
        self.is_renewed = False
        self.is_proving = self.is_proven = False
        self.verdict: Verdict | None = None
        self.authorize(credentials)

    def authorize(self, credentials: Credentials) -> None:
        """Make the calls from now on with these."""
        self.credentials = credentials
        platform, token = self.platform, credentials.access_token
        headers = platform.authorize(token)
        # Without a token, calls count against our whole app's budget.
        self.access = Access(
            headers,
            credentials.redactor,
            self.plan.key if headers else None,
            platform.origin_of(token) if has(platform, HostedByToken) else None,
            tuple(credentials.proof.items()),
        )

    def ask(self, calls: Iterable[Call]) -> None:
        """Ask these after what is pending."""
        self.pending.extend([ChannelQuestion(self.platform, self.plan, self.channel, call) for call in calls])
