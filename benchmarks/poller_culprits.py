"""Posts that platforms refuse, in the poller's simulation, and the poller's own rounds for batches that hold some.

A batch with such a post, or of a channel of which something is known to be refused, goes through the poller's real
rounds: splitting, learning, budgets and fates are theirs. Only the network is not: `Server` answers at once, a refusal
in the platform's own words, which the platform's own file reads.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, cast

import orjson
from prometheus_client import CollectorRegistry

from benchmarks.poller_world import START, Fault, Referee, fault_in
from schemas.events import AccountEvent, PlatformRaw
from services.platforms import all_platforms
from services.platforms.base import Call, Channel, LimitState, Outcome, Platform, Reading, Target, Verdict
from services.poller.asking.budget import Budget, WindowKey
from services.poller.asking.channel_rounds import ChannelRounds
from services.poller.asking.circuit import Circuit
from services.poller.asking.exchange import Exchange
from services.poller.asking.fetch import Fetcher, Reply
from services.poller.asking.knowledge import Knowledge
from services.poller.asking.shared_rounds import App, SharedRounds
from services.poller.asking.smaller import metrics_of
from services.poller.asking.upkeep import Upkeep
from services.poller.connections.accounts import Accounts
from services.poller.connections.tokens import Credentials, TokenStore
from services.poller.keys import ChannelKey
from services.poller.metrics import PollerMetrics
from services.poller.schedule.batch import Batch, Settled
from services.poller.schedule.schedule import Schedule
from services.runtime.secrets import TokenCipher, TokenPair
from services.runtime.tracing import NO_SPAN, Span

CIPHER = TokenCipher(["benchmark-key-0123456789"])
_WELL = Reply(200, {}, b"{}")
_FAILED = Reply(502, {"content-type": "text/html"}, b"<html><body>Bad Gateway</body></html>")


class Watched(Schedule):
    """A schedule that tells what became of a round's targets before they are put back."""

    watcher: Callable[[Batch, Sequence[Settled], int], None] | None = None

    def settle(self, batch: Batch, fates: Sequence[Settled], channel_fate: Settled, now: int) -> None:
        """See `Schedule.settle`."""
        if self.watcher is not None:
            self.watcher(batch, fates, now)
        super().settle(batch, fates, channel_fate, now)


class RefereedBudget(Budget):
    """A budget that has a referee count the calls that it lets through.

    Attributes:
        told: what the headers of the answer to the last call say.
    """

    def __init__(self, referee: Referee, limits: Mapping[str, Any]) -> None:
        super().__init__(lambda low, high: (low + high) / 2, limits)
        self._referee = referee
        self.told: LimitState | None = None

    def begin(self, key: WindowKey, now: int) -> None:
        """See `Budget.begin`."""
        super().begin(key, now)
        self.told = self._referee.call(key, now)


class Server:
    """Answers calls of all platforms.

    Attributes:
        calls: about targets, since it was last set to 0.
    """

    def __init__(self) -> None:
        self.calls = 0
        self._refused_metrics = {
            name: metrics[-1] for name in ("facebook", "instagram", "threads") if (metrics := _metrics_of_posts(name))
        }

    async def fetch(self, name: str, call: Call, _: str, __: Mapping[str, str]) -> Reply:
        """See `Fetcher.fetch`."""
        if not call.targets:
            return _WELL
        self.calls += 1
        faults = [(target, fault_in(target.external_id)) for target in call.targets]
        if any(fault is Fault.FAILING for _, fault in faults):
            return _FAILED
        refused = next((target for target, fault in faults if fault is Fault.REFUSED), None)
        if refused is not None:
            metric = self._refused_metrics.get(name)
            asked = [] if metric is None else metrics_of(call)
            if metric is None:
                return _refusal(name, call, refused)
            if metric in asked:
                return _meta(100, f"(#100) metric[{asked.index(metric)}] must be one of the following values: views")
        if len(faults) == 1 and faults[0][1] is Fault.GONE:
            return _gone(name, call.targets[0])
        return _WELL


def _refusal(name: str, call: Call, target: Target) -> Reply:
    """A batch is refused for one of its posts."""
    if name == "x":
        message = f"The `ids` query parameter value [{target.external_id}] is not valid"
        return _json(400, {"errors": [{"message": message}], "title": "Invalid Request"})
    if name == "linkedin":
        message = "Unpermitted fields present in PARAMETER: Data Processing Exception while processing fields [/shares]"
        return _json(403, {"status": 403, "code": "ACCESS_DENIED", "message": message})
    message = f"Error: uris/{call.targets.index(target)} must be a valid at-uri"
    return _json(400, {"error": "InvalidRequest", "message": message})


def _gone(name: str, target: Target) -> Reply:
    """A lone post is not there; where posts are asked for by lists, it is left out of the list."""
    if name in ("facebook", "instagram", "threads"):
        message = f"Unsupported get request. Object with ID '{target.external_id}' does not exist"
        return _meta(100, message, 33)
    if name == "pinterest":
        return _json(404, {"code": 50, "message": "Pin not found."})
    return _WELL


def _meta(code: int, message: str, subcode: int | None = None) -> Reply:
    error = {"message": message, "type": "OAuthException", "code": code, "error_subcode": subcode}
    return _json(400, {"error": error})


def _json(status: int, body: Any) -> Reply:
    return Reply(status, {"content-type": "application/json"}, orjson.dumps(body))


def _metrics_of_posts(name: str) -> list[str]:
    """The metrics that a platform's posts are asked for with."""
    channel = Channel("w", "c", "1", "name")
    target = Target("t", "p", "1_1" if name == "facebook" else "1", "post", START)
    return metrics_of(all_platforms()[name].post_calls(channel, [target], START)[0])


class Faulty:
    """A platform's own file, but for answers of success: these name no figures, and leave out what is gone."""

    def __init__(self, file: Platform, budget: RefereedBudget) -> None:
        self._file = file
        self._budget = budget
        self._is_apart = file.facts.post_batch_size == 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def classify(self, status: int, headers: Mapping[str, str], body: bytes, now: int) -> Verdict:
        """The file's, of refusals."""
        return Verdict(Outcome.OK) if status == 200 else self._file.classify(status, headers, body, now)

    def all_limits(self, _: Mapping[str, str], __: int) -> list[LimitState]:
        """What the referee says, where the platform's headers tell of limits."""
        return [] if self._budget.told is None else [self._budget.told]

    def app_part(self, body: bytes, _: object) -> bytes:
        """All answers are alike."""
        return body

    def verdicts(self, _: PlatformRaw, __: Mapping[str, str], ___: int) -> dict[int, Verdict]:
        """No answer tells of targets apart."""
        return {}

    def read(self, event: PlatformRaw) -> Reading:
        """What is left out."""
        faults = [fault_in(target.external_id) for target in event.targets]
        return Reading(gone=[position for position, fault in enumerate(faults) if fault is Fault.GONE])


class Virtual:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.at = START

    def now(self) -> int:
        """Ms."""
        return self.at

    async def wait(self, changed: object, until: int | None) -> None:
        """Nobody waits here."""
        raise AssertionError("a round waits for nothing but answers")


class _Nowhere:
    """A publisher with room for everything, which keeps nothing."""

    async def reserve(self) -> None:
        """There is room."""

    def release(self) -> None:
        """There is room."""

    async def publish(self, event: PlatformRaw, within: Span = NO_SPAN) -> None:
        """Published at once."""

    async def announce(self, event: AccountEvent) -> None:
        """Published at once."""


class _Connected(TokenStore):
    """Each channel has a token."""

    def __init__(self) -> None:
        super().__init__(CIPHER, {})
        self._any = Credentials(TokenPair("token-of-a-channel"), ())

    def credentials(self, key: ChannelKey, platform: str) -> Credentials:
        """One is like the other."""
        return self._any


class Rounds:
    """The poller's rounds, of channels and across channels.

    Args:
        shared: platforms whose posts are asked for across channels.
    """

    def __init__(self, names: Sequence[str], shared: set[str], schedule: Schedule, budget: RefereedBudget) -> None:
        files = all_platforms()
        platforms = {name: cast("Platform", Faulty(files[name], budget)) for name in names}
        self.time, self.server = Virtual(), Server()
        self.known = Knowledge(schedule.polled_channels, schedule.speed)
        metrics, publisher, tokens = PollerMetrics(CollectorRegistry()), _Nowhere(), _Connected()
        self._circuits = {name: Circuit() for name in names}
        exchange = Exchange(
            time=self.time, platforms=platforms, fetcher=cast("Fetcher", self.server), publisher=publisher,
            budget=budget, metrics=metrics,
        )  # fmt: skip
        upkeep = Upkeep(time=self.time, schedule=schedule, publisher=publisher, tokens=tokens, accounts=Accounts())
        self._channel = ChannelRounds(
            time=self.time, platforms=platforms, schedule=schedule, exchange=exchange, upkeep=upkeep, budget=budget,
            circuits=self._circuits, metrics=metrics, known=self.known,
        )  # fmt: skip
        apps = {name: App(cast("Any", platforms[name]), "token-of-our-app") for name in names if name in shared}
        self._shared = SharedRounds(
            time=self.time, platforms=platforms, schedule=schedule, exchange=exchange, apps=apps, budget=budget,
            circuits=self._circuits, metrics=metrics, known=self.known,
        )  # fmt: skip

    def alone(self, name: str, batch: Batch, now: int) -> None:
        """A round of one channel; settled."""
        self.time.at = now
        self._circuits[name].admit()
        _done(self._channel.run(name, batch))

    def shared(self, name: str, batches: Sequence[Batch], now: int) -> None:
        """A round across channels; settled."""
        self.time.at = now
        self._circuits[name].admit()
        _done(self._shared.run(name, batches))

    def owners(self, name: str, batch: Batch, now: int) -> None:
        """Ask for what a batch's author alone may read."""
        self.time.at = now
        _done(self._channel.ask_owner(name, batch))


def _done(round_of_work: Coroutine[Any, Any, None]) -> None:
    """Nothing in a round waits here, so it ends at its first step."""
    try:
        round_of_work.send(None)
    except StopIteration:
        return
    raise AssertionError("a round waits for something")
