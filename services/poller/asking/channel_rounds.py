"""Rounds of one channel with the channel's own token: scheduled ones, and those that somebody waits for.

Each question goes through the one exchange (`exchange.py`); what its answer leads to is decided in `decide.py` and
carried out here: on circuits, budgets, tokens, refused metrics and the schedule.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from schemas.events import Origin, PlatformRaw
from services.platforms.abilities import OwnersFigures, has
from services.platforms.base import Call, Outcome, Platform, Verdict
from services.poller.asking.affording import affordable, affordable_calls
from services.poller.asking.arranging import arranged
from services.poller.asking.budget import APP, Budget, WindowKey
from services.poller.asking.circuit import Circuit, TokenCircuits, Uniform
from services.poller.asking.decide import UNEXPLAINED, BackOff, Decision, Hold, Pause, unanswered
from services.poller.asking.directory import AGAIN_AFTER, Directory
from services.poller.asking.exchange import Answer, Closed, Exchange
from services.poller.asking.following import Meaning, follow, follow_unanswered, read_answer, vanished
from services.poller.asking.knowledge import Knowledge
from services.poller.asking.learning import Seen, answered, found_out, learn, note, over, put_off_part
from services.poller.asking.money import Ledger
from services.poller.asking.questions import ChannelQuestion
from services.poller.asking.reporting import log_incidents, log_refusal
from services.poller.asking.round import ChannelRound, Heard
from services.poller.asking.upkeep import Upkeep
from services.poller.asking.witnesses import least_doubted_first, witness_to_token
from services.poller.errors import NoAnswer, RetryLater
from services.poller.keys import ChannelKey
from services.poller.metrics import PollerMetrics
from services.poller.schedule.batch import Batch, Fate, Settled
from services.poller.schedule.plan import Plan
from services.poller.schedule.schedule import Schedule
from services.poller.timing import Time
from services.runtime.clock import MILLIS_PER_SECOND
from services.runtime.logging import get_logger
from services.runtime.secrets import SecretsError

_log = get_logger(__name__)


class Pulled(NamedTuple):
    """What came of calls that somebody waits for.

    Attributes:
        verdict: what the last answer meant; None when there was none: nothing may be asked now, or nobody answered.
        fates: what became of each target by its id, and under `CHANNEL` of the channel's own figures.
    """

    verdict: Verdict | None
    fates: Mapping[str, Settled]


_NOTHING_PULLED = Pulled(None, {})


class ChannelRounds:
    """Asks for one channel at a time.

    Args:
        platforms: those that can be polled, by name.
        upkeep: of the channels' connections.
        circuits: one a platform.
        known: what answers taught; shared with the other rounds.
        directory: where accounts have servers of their own; without it every call is made as it stands.
        ledgers: the books of the platforms that bill for what is read; by default there are none.
    """

    def __init__(
        self,
        *,
        time: Time,
        platforms: Mapping[str, Platform],
        schedule: Schedule,
        exchange: Exchange,
        upkeep: Upkeep,
        budget: Budget,
        circuits: Mapping[str, Circuit],
        metrics: PollerMetrics,
        known: Knowledge | None = None,
        uniform: Uniform = random.uniform,
        directory: Directory | None = None,
        ledgers: Mapping[str, Ledger] | None = None,
    ) -> None:
        self._time = time
        self._ledgers = ledgers or {}
        self._platforms = platforms
        self._schedule = schedule
        self._exchange = exchange
        self._upkeep = upkeep
        self._budget = budget
        self._circuits = circuits
        self._metrics = metrics
        self._token_circuits = TokenCircuits(uniform)
        self._known = known or Knowledge(schedule.polled_channels, schedule.speed)
        self._directory = directory

    def clock_set_back(self, by: int) -> None:
        """The clock was set back by so many ms."""
        self._budget.clock_set_back(by)
        self._token_circuits.clock_set_back(by)
        self._known.clock_set_back(by)
        for circuit in self._circuits.values():
            circuit.clock_set_back(by)

    def connected(self, key: ChannelKey) -> None:
        """A channel has new tokens, or was put again: what its old connection was refused is asked for again."""
        now = self._time.now()
        self._schedule.revive(key, now)
        if self._known.forget_channel(key):
            self._schedule.hasten([key], now)

    def written(self, key: ChannelKey) -> None:
        """The catalog has a post of a channel that is new, or written again: what is refused of all may be over."""
        if self._known.written(key, self._time.now()):
            self._schedule.hasten([key], self._time.now())

    def closed_until(self, name: str, now: int) -> int:
        """Until when (ms) no scheduled poll of a platform begins, for want of our app's budget there; 0: not closed."""
        group = self._platforms[name].facts.post_group
        return self._budget.app_wait_until(WindowKey(name, APP, group), now) if group else 0

    async def settled(self, name: str, plan: Plan) -> None:
        """A round is over, with whichever token: say what it means for the channel as a whole."""
        await self._upkeep.looked_through(name, plan, self._time.now())

    def has_to_spare(self, name: str, key: ChannelKey, calls: Sequence[Call], now: int) -> bool:
        """Whether calls of a channel leave enough of the budgets for scheduled polls that become due meanwhile."""
        owner = "/".join(key)
        return all(self._budget.has_to_spare(WindowKey(name, owner, call.limit_group), now) for call in calls)

    async def run(self, name: str, batch: Batch) -> None:
        """Ask a platform for a batch, and settle it, whatever happens."""
        plan, now = batch.plan, self._time.now()
        unasked = Settled(Fate.RETRY, now)
        current: ChannelRound | None = None
        self._metrics.late_seconds.labels(name).observe(batch.late_by / 1000)
        try:
            if self._upkeep.refuses(name, plan):
                return
            wait_until = await self._upkeep.ahead(name, plan.key)
            if wait_until is not None:
                unasked = Settled(Fate.RETRY, wait_until)
                return
            platform = self._platforms[name]
            current = ChannelRound(plan, batch.channel, platform, self._upkeep.credentials(name, plan.key))
            now = self._time.now()
            ledger, own = self._ledgers.get(name), list[Call]()
            if batch.with_channel:
                own.extend(affordable_calls(ledger, current, plan.key, platform.channel_calls(batch.channel, now), now))
            if own and all(call.is_public for call in own):
                # Figures that anybody may read prove nothing of the connection.
                current.ask([platform.identity_call(batch.channel)])
            if batch.entries:
                targets = affordable(
                    ledger, current, batch, lambda one: platform.post_calls(batch.channel, [one], now), now
                )
                current.ask(platform.post_calls(batch.channel, targets, now))
            current.ask(own)
            current.pending = deque(least_doubted_first(current.pending, name, self._known))
            await self._ask_pending(name, current)
        except SecretsError as error:
            _log.error("a channel is paused: its tokens can't be opened", channel=plan.key, error=str(error))
            self._schedule.pause(plan)
        except Exception:
            # A mistake in one platform's file must not stop the others, nor spin on the same target.
            _log.exception("a round of work failed", platform=name, channel=plan.key)
            current, unasked = None, Settled(Fate.SKIPPED)
        finally:
            self._circuits[name].release()
            if current is not None:
                self._over(name, current)
            fates = current.fates(batch) if current is not None else ([unasked] * len(batch.entries), unasked)
            self._schedule.settle(batch, *fates, self._time.now())

    def _over(self, name: str, current: ChannelRound) -> None:
        """What the round as a whole says of shapes of calls."""
        log_incidents(name, over(name, current.plan.key, self._known, current.seen, self._time.now()))

    async def ask_owner(self, name: str, batch: Batch) -> None:
        """After our app's token asked for a batch: ask for what its author alone may read, where a token is held.

        Where reads are billed, only of posts that were read today, since those cost nothing more.
        """
        platform, channel = self._platforms[name], batch.plan.channel
        if not has(platform, OwnersFigures) or channel is None:
            return
        try:
            if self._upkeep.credentials(name, batch.plan.key).access_token is None:
                return
            now, ledger = self._time.now(), self._ledgers.get(name)
            targets = [entry.target() for entry in batch.entries if not entry.dropped]
            if ledger is not None:
                targets = [one for one in targets if not ledger.cost_of(platform.owner_calls(channel, [one], now), now)]
            calls = platform.owner_calls(channel, targets, now)
            if calls:
                await self.pull(name, batch.plan, calls, _unheard, origin=Origin.SCHEDULE)
        except SecretsError as error:
            _log.error("a channel can't be asked: its tokens can't be opened", channel=batch.plan.key, error=str(error))
        except Exception:
            # A mistake in one platform's file must not stop the others.
            _log.exception("a round of work failed", platform=name, channel=batch.plan.key)

    async def pull(
        self,
        name: str,
        plan: Plan,
        calls: Sequence[Call],
        heard: Heard,
        *,
        is_probe: bool = False,
        origin: Origin = Origin.LIVE,
    ) -> Pulled:
        """Make calls for somebody who waits: within the budget, and what is answered is published like any poll's.

        Args:
            heard: receives each successful answer as it comes.
            is_probe: ask although the channel is not polled.
            origin: why.
        """
        channel, circuit = plan.channel, self._circuits[name]
        if channel is None or circuit.wait_until(self._time.now()) != 0:
            return _NOTHING_PULLED
        circuit.admit()
        try:
            if self._upkeep.refuses(name, plan) or await self._upkeep.ahead(name, plan.key) is not None:
                return _NOTHING_PULLED
            current = ChannelRound(
                plan, channel, self._platforms[name], self._upkeep.credentials(name, plan.key),
                origin=origin, heard=heard, is_probe=is_probe,
            )  # fmt: skip
            if not (is_probe and await self._upkeep.is_ending(name, current)):
                current.ask(calls)
                await self._ask_pending(name, current)
            return Pulled(current.verdict, {one.target_id: settled for one, settled in current.settled.items()})
        except SecretsError as error:
            _log.error("a channel can't be asked: its tokens can't be opened", channel=plan.key, error=str(error))
            return _NOTHING_PULLED
        finally:
            circuit.release()

    async def _ask_pending(self, name: str, current: ChannelRound) -> None:
        """Ask all that is pending, and all that has to be asked because of the answers."""
        plan = current.plan
        while current.pending:
            now = self._time.now()
            if not (plan.is_polled or current.is_probe):
                current.give_up_until(now)
                return
            mended_at = self._token_circuits.wait_until(plan.key, now)
            if mended_at:
                current.give_up_until(mended_at)
                return
            question = current.pending.popleft()
            if current.credentials.access_token is None and not current.is_renewed:
                await self._upkeep.without_token(name, current, question, now)
            else:
                await self._ask(name, current, question, now)

    async def _ask(self, name: str, current: ChannelRound, question: ChannelQuestion, now: int) -> None:
        """Ask one question, or what is better asked in its place, and act on what comes."""
        if not question.is_arranged and not current.is_probe:
            is_scheduled = current.origin is Origin.SCHEDULE
            found_better = arranged(question, name, self._known, now, is_scheduled=is_scheduled)
            current.settle_each(found_better.settled)
            current.ask_first(found_better.ask)
            return
        if self._directory is not None:
            placed = await self._directory.placed(name, question.channel, question.call)
            if placed is None:
                current.put_off([question], self._time.now() + AGAIN_AFTER)
                return
            question = question.instead(placed)
        self._token_circuits.admit(current.plan.key, self._time.now())
        access = current.access.of(question.call)
        try:
            found = await self._exchange.make(name, question, access, current.origin, is_probe=current.is_probe)
        except NoAnswer as error:
            self._unanswered(name, current, question, error)
            return
        if isinstance(found, Answer):
            await self._answered(name, current, question, found)
        elif isinstance(found, Closed):
            self._closed(name, current, question, found)
        else:
            current.ask_first([question])
            current.give_up_until(self._time.now())

    def _unanswered(self, name: str, current: ChannelRound, question: ChannelQuestion, why: NoAnswer) -> None:
        now, seen = self._time.now(), current.seen[question.shape]
        is_scheduled = current.origin is Origin.SCHEDULE
        decision = follow_unanswered(question, name, self._known, seen, why, now, is_scheduled=is_scheduled)
        meaning = Meaning(unanswered(why), {}, frozenset())
        if isinstance(why, RetryLater):
            self._conclude(name, current, question, meaning, decision, now)
            return
        learn(question, name, self._known, Seen(), decision.lessons, meaning.verdict, now)
        current.settle(decision.fates, now)
        current.ask_first(decision.again)

    def _closed(self, name: str, current: ChannelRound, question: ChannelQuestion, closed: Closed) -> None:
        """The budget allows no such call."""
        put_off_part(question, name, self._known)
        is_apps = question.call.limit_group == current.platform.facts.post_group and not closed.is_spent
        if is_apps and self.closed_until(name, self._time.now()):
            # The app's budget is closed to everybody: whose turn it is when it opens goes by who has waited.
            current.settle(dict.fromkeys(question.subjects, Fate.DEFERRED), 0)
        else:
            current.put_off([question], closed.until)

    async def _answered(self, name: str, current: ChannelRound, question: ChannelQuestion, answer: Answer) -> None:
        key, now, seen = current.plan.key, answer.at, current.seen[question.shape]
        meaning = read_answer(current.platform, question, answer)
        verdict = current.verdict = meaning.verdict
        for event in answer.events if verdict.outcome is Outcome.OK else ():
            (current.heard or _unheard)(event)
        if vanished(question, meaning):
            current.plan.vanish(len(question.subjects), now)
        is_scheduled = current.origin is Origin.SCHEDULE
        decision = follow(question, name, self._known, seen, meaning, now, is_scheduled=is_scheduled)
        if isinstance(decision.consequence, Pause) and not current.is_probe and len(question.call.targets) == 1:
            if current.is_proven:
                # Another target was answered: what is refused is not the token, but this target.
                verdict = current.verdict = replace(verdict, outcome=Outcome.PERMISSION_MISSING)
                meaning = Meaning(verdict, {}, frozenset())
                decision = follow(question, name, self._known, seen, meaning, now, is_scheduled=is_scheduled)
                current.is_proving = current.is_proven = False
            elif not current.is_proving and (witness := witness_to_token(question, name, self._known, now)):
                current.is_proving = True
                current.ask_first([witness, question])
                return
        then = decision.consequence
        if isinstance(then, BackOff) or (verdict.outcome in UNEXPLAINED and not isinstance(then, Hold)):
            self._conclude(name, current, question, meaning, decision, now)
            return
        self._circuits[name].success()
        self._token_circuits.success(key)
        window = current.access.of(question.call).window(name, question.call.limit_group)
        if isinstance(then, Hold):
            until = self._budget.hold(window, then.seconds, now, exhausted=then.is_exhausted, app_wide=then.is_app_wide)
            _log.warning("limit reached", platform=name, channel=key, detail=verdict.detail, until=until)
            self._conclude(name, current, question, meaning, decision, until)
            return
        self._budget.served(window)
        current.is_proven |= current.is_proving and bool(question.call.targets) and verdict.outcome is Outcome.OK
        if isinstance(then, Pause):
            if await self._has_moved(name, question, verdict):
                current.ask_first([question])
                return
            self._known.refused_tokens |= {key} if current.is_proving else set()
            await self._upkeep.broken(name, current, question, verdict)
            return
        self._conclude(name, current, question, meaning, decision, now)
        if verdict.outcome is Outcome.OK:
            self._known.refused_tokens.discard(key)
            await self._upkeep.works(name, current, now)

    def _conclude(
        self,
        name: str,
        current: ChannelRound,
        question: ChannelQuestion,
        meaning: Meaning,
        decision: Decision[ChannelQuestion],
        at: int,
    ) -> None:
        """Keep what an answer teaches, or that there was none, and act on it; at `at` (ms) what is to wait is tried."""
        now, verdict = self._time.now(), meaning.verdict
        if isinstance(decision.consequence, BackOff):
            learn(question, name, self._known, Seen(), decision.lessons, verdict, now)
            again_at = self._back_off(name, current, question, decision.consequence)
            if again_at is not None:
                note(question, name, self._known, decision, verdict, meaning.apart, again_at)
            return
        note(question, name, self._known, decision, verdict, meaning.apart, at)
        retry_at = self._learn(name, current, question, meaning, decision, now)
        current.settle(decision.fates, at)
        if retry_at is not None:
            # Refused because everything is: due again when that may be over.
            current.settle({one: Fate.RETRY for one, fate in decision.fates.items() if fate is Fate.SKIPPED}, retry_at)
        current.ask_first(decision.again)

    async def _has_moved(self, name: str, question: ChannelQuestion, verdict: Verdict) -> bool:
        """Whether an account that its server calls closed lives on another server now."""
        if self._directory is None or verdict.outcome is not Outcome.ACCOUNT_DISABLED:
            return False
        is_apart = self._directory.is_apart(name, question.call)
        return is_apart and await self._directory.has_moved(name, question.channel)

    def _learn(
        self,
        name: str,
        current: ChannelRound,
        question: ChannelQuestion,
        meaning: Meaning,
        decision: Decision[ChannelQuestion],
        now: int,
    ) -> int | None:
        """Keep what an answer teaches; returns when (ms) to try again where not the targets, but all is refused."""
        verdict, seen, key = meaning.verdict, current.seen[question.shape], current.plan.key
        given = {subject for subject, fate in decision.fates.items() if fate is Fate.CAPTURED}
        if given:
            self._schedule.hasten(answered(question, name, self._known, seen, given, now), now)
        if verdict.outcome is Outcome.OK and not decision.lessons:
            return None
        log_refusal(name, key, question, verdict, decision)
        if isinstance(decision.consequence, Hold | Pause):
            return None
        is_refused = learn(question, name, self._known, seen, decision.lessons, verdict, now)
        self._schedule.hasten(found_out(decision.lessons), now)
        if is_refused:
            again_at = self._known.shapes.again_at(key)
            current.drop(question.shape, Settled(Fate.RETRY, again_at))
            _log.warning(
                "a shape of call is refused of a channel", platform=name, channel=key, shape=question.shape,
                outcome=verdict.outcome.value, detail=verdict.detail, again_at=again_at,
            )  # fmt: skip
            return None if self._known.shapes.is_old(key, question.shape, now) else again_at
        return self._known.incidents.try_at(name, question.shape) if question.call.targets else None

    def _back_off(self, name: str, current: ChannelRound, question: ChannelQuestion, back: BackOff) -> int | None:
        """Leave the platform alone for a while, and the token; what is left of the round waits for as long.

        Returns:
            Until when (ms); None where it is not the platform that failed.
        """
        if self._directory is not None and self._directory.is_apart(name, question.call):
            # One account's server is down: that keeps nobody from the platform, not even the account's own figures.
            self._directory.forget(name, question.channel)
            current.put_off([question], self._time.now() + AGAIN_AFTER)
            return None
        now, key, circuit = self._time.now(), current.plan.key, self._circuits[name]
        if circuit.is_open or not self._token_circuits.is_open(key):
            circuit.failure(now)
        at = self._token_circuits.failure(key, now)
        if back.seconds is not None:
            at = now + int(back.seconds * MILLIS_PER_SECOND) + 1
        current.put_off([question], at)
        current.give_up_until(at)
        return at


def _unheard(_: PlatformRaw) -> None:
    """Nobody waits for the answer."""
