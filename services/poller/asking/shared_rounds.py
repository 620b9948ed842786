"""Rounds that ask for posts of several channels at once, with a token of our app.

The answer is cut up: each channel's event holds the part that is about its own targets, and a request that names only
them, so that no workspace is told anything of another's (`questions.py`). Figures of channels themselves, and channels
that can't be asked for together, go the way of their own tokens (`channel_rounds.py`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from schemas.events import Origin
from services.platforms.abilities import AcrossAccounts
from services.platforms.base import Outcome, Platform, Target, Verdict
from services.poller.asking.access import Access
from services.poller.asking.affording import affordable
from services.poller.asking.arranging import arranged
from services.poller.asking.budget import APP, Budget, WindowKey
from services.poller.asking.circuit import Circuit, Uniform, patience
from services.poller.asking.decide import UNEXPLAINED, BackOff, Decision, Hold, Pause, Separate, unanswered
from services.poller.asking.exchange import Answer, Closed, Exchange
from services.poller.asking.following import Meaning, follow, follow_unanswered, read_answer, vanished
from services.poller.asking.knowledge import Knowledge
from services.poller.asking.learning import Seen, answered, found_out, learn, note, over, put_off_part, separated
from services.poller.asking.money import Ledger
from services.poller.asking.owners import owner_of
from services.poller.asking.questions import SharedQuestion
from services.poller.asking.reporting import log_incidents
from services.poller.asking.round import Round
from services.poller.asking.witnesses import least_doubted_first
from services.poller.connections.redact import Redactor
from services.poller.errors import NoAnswer, RetryLater
from services.poller.keys import ChannelKey
from services.poller.metrics import PollerMetrics
from services.poller.schedule.batch import Batch, Fate, Settled
from services.poller.schedule.plan import Plan
from services.poller.schedule.schedule import Schedule
from services.poller.timing import Time
from services.runtime.clock import MILLIS_PER_DAY, MILLIS_PER_HOUR, MILLIS_PER_SECOND
from services.runtime.logging import get_logger

# How long a channel whose targets make the platform refuse a whole batch goes alone.
ALONE = MILLIS_PER_DAY
# How long an app's token that the platform refuses is not tried again.
ASIDE = MILLIS_PER_HOUR
_log = get_logger(__name__)


class App:
    """Our app at one platform.

    Args:
        token: an app-only token or API key.
        secrets: what else has to be blanked in answers.

    Attributes:
        group: the limit group of its calls for posts.
        aside_until: until when (ms) its token is not used, since the platform refused it.
        failures: calls without an answer since the last one with an answer.
    """

    def __init__(self, platform: AcrossAccounts, token: str, secrets: Sequence[str] = ()) -> None:
        self.platform = platform
        self.access = Access(platform.authorize_app(token), Redactor((token, *secrets)), None)
        # The same group for any posts.
        self.group = platform.app_post_calls([Target("", "", "")])[0].limit_group
        self.aside_until = 0
        self.failures = 0


class SharedRounds:
    """Asks across channels; see the module's header.

    Args:
        apps: by platform, those that have a token.
        circuits: one a platform, the same as the other rounds'.
        known: what answers taught; shared with the other rounds.
        has_token: whether a channel of a platform can be asked for with a token of its own; by default each can.
        ledgers: the books of the platforms that bill for what is read; by default there are none.
    """

    def __init__(
        self,
        *,
        time: Time,
        platforms: Mapping[str, Platform],
        schedule: Schedule,
        exchange: Exchange,
        apps: Mapping[str, App],
        budget: Budget,
        circuits: Mapping[str, Circuit],
        metrics: PollerMetrics,
        known: Knowledge | None = None,
        has_token: Callable[[str, ChannelKey], bool] | None = None,
        uniform: Uniform = random.uniform,
        ledgers: Mapping[str, Ledger] | None = None,
    ) -> None:
        self._time = time
        self._ledgers = ledgers or {}
        self._platforms = platforms
        self._schedule = schedule
        self._exchange = exchange
        self._apps = apps
        self._budget = budget
        self._circuits = circuits
        self._metrics = metrics
        self._known = known or Knowledge(schedule.polled_channels, schedule.speed)
        self._has_token = has_token or _every_channel
        self._uniform = uniform

    def serves(self, name: str, now: int) -> bool:
        """Whether a platform's posts are asked for across channels at present."""
        app = self._apps.get(name)
        return app is not None and app.aside_until <= now

    def clock_set_back(self, by: int) -> None:
        """The clock was set back by so many ms."""
        for app in self._apps.values():
            app.aside_until -= by

    def closed_until(self, name: str, now: int) -> int:
        """Until when (ms) none of these rounds begins, for want of the app's budget; 0: not closed."""
        return self._budget.app_wait_until(WindowKey(name, APP, self._apps[name].group), now)

    async def run(self, name: str, batches: Sequence[Batch]) -> None:
        """Ask a platform for batches that together fill at most one call, and settle each, whatever happens."""
        current = Round[SharedQuestion]()
        self._metrics.late_seconds.labels(name).observe(max(batch.late_by for batch in batches) / 1000)
        try:
            app = self._apps[name]
            ledger, now = self._ledgers.get(name), self._time.now()
            asked = [
                (batch.plan, target)
                for batch in batches
                for target in affordable(ledger, current, batch, lambda one: app.platform.app_post_calls([one]), now)
            ]
            current.pending.extend(least_doubted_first(_questions(app.platform, asked), name, self._known))
            while current.pending:
                await self._ask(name, app, current, current.pending.popleft())
        except Exception:
            # A mistake in one platform's file must not stop the others, nor spin on the same targets.
            _log.exception("a round of work failed", platform=name)
            current = Round()
        finally:
            self._circuits[name].release()
            for batch in batches:
                fates, _ = current.fates(batch)
                self._schedule.settle(batch, fates, Settled(Fate.SKIPPED), self._time.now())

    async def _ask(self, name: str, app: App, current: Round[SharedQuestion], question: SharedQuestion) -> None:
        """Ask one question, or what is better asked in its place, and act on what comes."""
        if not question.is_arranged:
            found_better = arranged(question, name, self._known, self._time.now(), is_scheduled=True)
            current.settle_each(found_better.settled)
            current.ask_first(found_better.ask)
            return
        try:
            found = await self._exchange.make(name, question, app.access, Origin.SCHEDULE)
        except NoAnswer as error:
            self._unanswered(name, app, current, question, error)
            return
        now = self._time.now()
        if isinstance(found, Answer):
            self._answered(name, app, current, question, found)
        elif isinstance(found, Closed):
            put_off_part(question, name, self._known)
            # For a limit's sake no round begins until then, and whose turn it is goes by who has waited.
            fate = Fate.RETRY if found.is_spent else Fate.DEFERRED
            current.settle(dict.fromkeys(question.subjects, fate), found.until)
        else:
            lost = [subject for subject in question.subjects if subject.channel in found.channels]
            current.settle(dict.fromkeys(lost, Fate.RETRY), now)
            current.ask_first(question.without(found.channels))

    def _unanswered(
        self, name: str, app: App, current: Round[SharedQuestion], question: SharedQuestion, why: NoAnswer
    ) -> None:
        now, seen = self._time.now(), current.seen[question.shape]
        decision = follow_unanswered(question, name, self._known, seen, why, now)
        meaning = Meaning(unanswered(why), {}, frozenset())
        if isinstance(why, RetryLater):
            self._conclude(name, app, current, question, meaning, decision, now)
            return
        learn(question, name, self._known, Seen(), decision.lessons, meaning.verdict, now)
        current.settle(decision.fates, now)
        current.ask_first(decision.again)

    def _answered(
        self, name: str, app: App, current: Round[SharedQuestion], question: SharedQuestion, answer: Answer
    ) -> None:
        now, seen = answer.at, current.seen[question.shape]
        meaning = read_answer(self._platforms[name], question, answer)
        if vanished(question, meaning) and len(question.plans) == 1:
            question.plans[0].vanish(len(question.subjects), now)
        has_own_token = len(question.plans) > 1 or self._has_token(name, question.plans[0].key)
        decision = follow(question, name, self._known, seen, meaning, now, has_own_token=has_own_token)
        self._conclude(name, app, current, question, meaning, decision, now)

    def _conclude(
        self,
        name: str,
        app: App,
        current: Round[SharedQuestion],
        question: SharedQuestion,
        meaning: Meaning,
        decision: Decision[SharedQuestion],
        now: int,
    ) -> None:
        """Do what follows, and keep what an answer teaches, or that there was none."""
        verdict, is_down = meaning.verdict, isinstance(decision.consequence, BackOff)
        at = self._carry_out(name, app, question, decision, verdict, now)
        note(question, name, self._known, decision, verdict, meaning.apart, at)
        if is_down:
            learn(question, name, self._known, Seen(), decision.lessons, verdict, now)
        else:
            self._learn(name, current, question, decision, verdict, now)
        current.settle(decision.fates, at)
        current.ask_first(decision.again)
        if is_down:
            current.give_up_until(at)

    def _learn(
        self,
        name: str,
        current: Round[SharedQuestion],
        question: SharedQuestion,
        decision: Decision[SharedQuestion],
        verdict: Verdict,
        now: int,
    ) -> None:
        """Keep what an answer teaches, and act on it at once."""
        seen, shape = current.seen[question.shape], question.shape
        given = {subject for subject, fate in decision.fates.items() if fate is Fate.CAPTURED}
        if given:
            self._schedule.hasten(answered(question, name, self._known, seen, given, now), now)
        is_refused = False
        if isinstance(decision.consequence, Separate):
            is_refused = separated(question, name, self._known, seen, verdict, now)
        elif not isinstance(decision.consequence, Hold | Pause) and verdict.outcome is not Outcome.OK:
            is_refused = learn(question, name, self._known, seen, decision.lessons, verdict, now)
            self._schedule.hasten(found_out(decision.lessons), now)
        if is_refused:
            again_at = self._known.shapes.again_at(owner_of(question, name))
            left = {plan.key for other in current.pending for plan in other.plans}
            current.drop(shape, Settled(Fate.RETRY, again_at))
            _log.warning(
                "a shape of call is refused of our app", platform=name, shape=shape, outcome=verdict.outcome.value,
                detail=verdict.detail, again_at=again_at,
            )  # fmt: skip
            for key in left:
                self._over(name, key, {shape: seen}, now)

    def _over(self, name: str, key: ChannelKey, seen: Mapping[str, Seen], now: int) -> None:
        log_incidents(name, over(name, key, self._known, seen, now, is_apps=True))

    def _carry_out(
        self,
        name: str,
        app: App,
        question: SharedQuestion,
        decision: Decision[SharedQuestion],
        verdict: Verdict,
        now: int,
    ) -> int:
        """Do what follows beyond this round; returns when (ms) what is to be tried again is tried."""
        then, window = decision.consequence, app.access.window(name, app.group)
        if isinstance(then, BackOff):
            return self._back_off(name, app, then)
        if verdict.outcome in UNEXPLAINED and not isinstance(then, Hold):
            return now
        self._circuits[name].success()
        app.failures = 0
        if isinstance(then, Hold):
            until = self._budget.hold(window, then.seconds, now, exhausted=then.is_exhausted, app_wide=True)
            _log.warning("the app's limit is reached", platform=name, detail=verdict.detail, until=until)
            return until
        self._budget.served(window)
        if isinstance(then, Pause):
            app.aside_until = now + ASIDE
            _log.error(
                "the app's token is refused; channels are asked for one by one meanwhile", platform=name,
                setting=f"TIDEMARK_{name.upper()}_APP_TOKEN", detail=verdict.detail,
            )  # fmt: skip
        elif isinstance(then, Separate):
            (plan,) = question.plans
            plan.alone_until = now + ALONE
            _log.warning("a channel is asked for alone", platform=name, channel=plan.key, detail=verdict.detail)
        return now

    def _back_off(self, name: str, app: App, back: BackOff) -> int:
        """Leave the platform alone for a while; returns when (ms) to try again."""
        now = self._time.now()
        self._circuits[name].failure(now)
        app.failures += 1
        if back.seconds is None:
            return now + patience(app.failures, self._uniform)
        told = int(back.seconds * MILLIS_PER_SECOND) + 1
        # A time that was told is believed once.
        return now + (max(told, patience(app.failures - 1, self._uniform)) if app.failures > 1 else told)


def _questions(platform: AcrossAccounts, asked: Sequence[tuple[Plan, Target]]) -> list[SharedQuestion]:
    """One question for each call that the platform needs."""
    plans = {id(target): plan for plan, target in asked}
    calls = platform.app_post_calls([target for _, target in asked])
    return [SharedQuestion(platform, [(plans[id(target)], target) for target in call.targets]) for call in calls]


def _every_channel(_: str, __: ChannelKey) -> bool:
    """Where nothing is known of channels' tokens, each has one."""
    return True
