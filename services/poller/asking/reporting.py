"""Logs what platforms refuse, as far as a person may want to know of it."""

from __future__ import annotations

from collections.abc import Iterable

from services.platforms.base import Outcome, Verdict
from services.poller.asking.decide import UNEXPLAINED, Decision, LeaveOut, Refused
from services.poller.asking.questions import ChannelQuestion
from services.poller.keys import ChannelKey
from services.runtime.logging import get_logger

# Asking sooner than the regular time won't help.
_NO_FIGURES = frozenset({Outcome.PERMISSION_MISSING, Outcome.TARGET_REFUSED, Outcome.TOO_EARLY})
_log = get_logger(__name__)


def log_refusal(
    name: str, key: ChannelKey, question: ChannelQuestion, verdict: Verdict, decision: Decision[ChannelQuestion]
) -> None:
    """A channel's question was refused."""
    outcome, detail = verdict.outcome, verdict.detail
    metrics = {metric for lesson in decision.lessons if isinstance(lesson, LeaveOut) for metric in lesson.metrics}
    if metrics:
        # A metric that nobody can have any more is ours to look at; one that this post or account lacks is not.
        log = _log.warning if outcome is Outcome.REQUEST_WRONG else _log.info
        log(
            "a metric is refused and left out", platform=name, channel=key, metric=",".join(sorted(metrics)),
            detail=detail,
        )  # fmt: skip
    elif outcome in UNEXPLAINED and any(isinstance(lesson, Refused) for lesson in decision.lessons):
        _log.info(
            "a post fails while others are answered; it is asked for apart", platform=name, channel=key,
            outcome=outcome.value, detail=detail,
        )  # fmt: skip
    elif outcome is Outcome.REQUEST_WRONG and not decision.again:
        _log.error("a request is wrong", platform=name, endpoint=question.call.path, detail=detail)
    elif outcome in _NO_FIGURES:
        _log.info("no figures", platform=name, channel=key, outcome=outcome.value, detail=detail)


def log_incidents(name: str, begun: Iterable[tuple[str, Verdict]]) -> None:
    """Shapes of call are refused of most channels from now on."""
    for shape, verdict in begun:
        _log.error(
            "a shape of call is refused of most channels", platform=name, shape=shape,
            outcome=verdict.outcome.value, detail=verdict.detail,
        )  # fmt: skip
