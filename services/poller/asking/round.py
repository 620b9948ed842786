"""One round of work under way: what is left to ask, and what is known of each target so far; pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from schemas.events import Origin, PlatformRaw, RawKind
from services.platforms.base import Call, Platform, Verdict
from services.poller.connections.tokens import Credentials
from services.poller.schedule.schedule import Fate, Settled, Work

# Among the fates of a round: the channel's own figures. No target has such an id.
CHANNEL = ""

Heard = Callable[[PlatformRaw], None]
"""Takes in an answer that is one."""


class Round:
    """One round of work under way: what is left to ask, and what is known of each target so far.

    Args:
        heard: told of each answer that is one, as it comes, where somebody waits for it.
        is_probe: asks although the channel is not polled, to see whether its connection works.
        fates: filled with what becomes of each target; of the channel's own figures under `CHANNEL`.
    """

    def __init__(
        self,
        work: Work,
        platform: Platform,
        credentials: Credentials,
        *,
        origin: Origin = Origin.SCHEDULE,
        heard: Heard | None = None,
        is_probe: bool = False,
        fates: dict[str, Settled] | None = None,
    ) -> None:
        self.work = work
        self.platform = platform
        self.origin = origin
        self.heard = heard
        self.is_probe = is_probe
        self.verdict: Verdict | None = None
        self.authorize(credentials)
        self.renewed = False
        self.pending: deque[Call] = deque()
        self.channel_fate = Settled(Fate.SKIPPED)
        self._fates: dict[str, Settled] = {} if fates is None else fates

    def authorize(self, credentials: Credentials) -> None:
        """Make the calls from now on with these."""
        self.credentials = credentials
        self.headers = self.platform.authorize(credentials.access_token)

    def say(self, call: Call, settled: Settled) -> None:
        """The same fate for everything that a call asks for."""
        if not call.targets and call.kind != RawKind.POST_METRICS:
            self._say_channel(settled)
        for target in call.targets:
            self.say_target(target.target_id, settled)

    def say_target(self, target_id: str, settled: Settled) -> None:
        """One target's fate; figures from any call outweigh what became of the others."""
        held = self._fates.get(target_id)
        if held is None or held.fate is not Fate.CAPTURED:
            self._fates[target_id] = settled

    def _say_channel(self, settled: Settled) -> None:
        if self.channel_fate.fate is not Fate.CAPTURED:
            self.channel_fate = self._fates[CHANNEL] = settled

    def give_up_until(self, at: int) -> None:
        """Whatever was not asked for yet is due again then."""
        for call in self.pending:
            self.say(call, Settled(Fate.RETRY, at))
        self.pending.clear()

    def fates(self) -> list[Settled]:
        """One fate an entry; what no call asked for waits for its regular time."""
        regular = Settled(Fate.SKIPPED)
        return [self._fates.get(entry.target_id, regular) for entry in self.work.entries]
