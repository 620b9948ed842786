"""A platform whose answers say in plain words what they mean, for tests of what the poller makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from schemas.events import PlatformRaw, RawKind
from services.platforms.base import Call, Channel, Facts, LimitState, Outcome, Reading, Target, Verdict
from tests.support.platform_transport import json_answer

METRICS = ("a", "b", "c", "d")


@dataclass
class Asked:
    """One request for posts.

    Attributes:
        ids: external ids.
        metrics: names asked for.
        token: of whom.
        path: where.
        at: filled by whoever keeps it.
    """

    ids: tuple[str, ...]
    metrics: tuple[str, ...]
    token: str
    path: str


Say = Callable[[Asked], Verdict | Mapping[str, Verdict] | None]
"""What the platform says to a request: a refusal, what it says of ids apart, or None: figures of all."""


def words(verdict: Verdict) -> dict[str, Any]:
    """A verdict as the platform's body has it."""
    return {
        "outcome": verdict.outcome.value, "wait": verdict.retry_after_seconds, "metric": verdict.refused_metric,
        "place": verdict.refused_position, "target": verdict.refused_target, "detail": verdict.detail,
    }  # fmt: skip


def verdict_of(said: Mapping[str, Any]) -> Verdict:
    """The verdict that a body holds."""
    return Verdict(
        Outcome(said["outcome"]), said["wait"], said["detail"], said["metric"], said["place"], said["target"]
    )


class Plain:
    """The platform; `reel` posts are asked for by a shape of their own."""

    def __init__(self, batch_size: int = 50) -> None:
        self.facts = Facts(
            name="youtube", base_url="https://plain.example", documentation="", read_on="2026-11-30", auth="",
            rate_limit="", post_batch_size=batch_size,
        )  # fmt: skip

    def authorize(self, token: str | None) -> dict[str, str]:
        """A bearer token."""
        return {"authorization": f"Bearer {token}"} if token else {}

    def post_calls(self, channel: Channel, targets: Sequence[Target], now: int | None = None) -> list[Call]:
        """Batches of one kind."""
        calls = []
        for kind in ("", "reel"):
            group = [target for target in targets if (target.post_type == "reel") == (kind == "reel")]
            for start in range(0, len(group), self.facts.post_batch_size):
                part = tuple(group[start : start + self.facts.post_batch_size])
                ids = ",".join(target.external_id for target in part)
                query = (("ids", ids), ("metric", ",".join(METRICS)))
                shape = f"posts/{kind or 'feed'}"
                calls.append(Call(RawKind.POST_METRICS, "GET", f"/{shape}", query, None, part, shape=shape))
        return calls

    def channel_calls(self, channel: Channel, now: int) -> list[Call]:
        """None: these tests are about posts."""
        return []

    def identity_call(self, channel: Channel) -> Call:
        """Unused."""
        return Call(RawKind.IDENTITY, "GET", "/me", shape="identity")

    def read(self, event: PlatformRaw) -> Reading:
        """What is left out is gone."""
        left_out = set(orjson.loads(event.body).get("left_out", []))
        return Reading(gone=[at for at, target in enumerate(event.targets) if target.external_id in left_out])

    def part(self, event: PlatformRaw, target_index: int) -> Any:
        """Unused."""
        return {}

    def classify(self, status: int, headers: Mapping[str, str], body: bytes, now: int) -> Verdict:
        """As the body says."""
        said = orjson.loads(body)
        return verdict_of(said) if "outcome" in said else Verdict(Outcome.OK)

    def limits(self, headers: Mapping[str, str], now: int) -> LimitState | None:
        """None."""
        return None


class PlainApart(Plain):
    """The same, where an answer tells of each id apart."""

    def verdicts(self, event: PlatformRaw, headers: Mapping[str, str], now: int) -> Mapping[int, Verdict]:
        """As the body says of each."""
        said = orjson.loads(event.body).get("apart", {})
        return {
            at: verdict_of(said[target.external_id])
            for at, target in enumerate(event.targets)
            if target.external_id in said
        }


class Server:
    """Answers by `say`.

    Attributes:
        asked: each request, in order.
    """

    def __init__(self, say: Say = lambda _: None) -> None:
        self.say = say
        self.asked: list[Asked] = []

    def wire(self, request: httpx.Request) -> httpx.Response:
        """See `PlatformTransport`."""
        params = request.url.params
        asked = Asked(
            tuple(params["ids"].split(",")), tuple(params["metric"].split(",")),
            request.headers.get("authorization", ""), request.url.path,
        )  # fmt: skip
        self.asked.append(asked)
        said = self.say(asked)
        if said is None:
            return json_answer(200, b"{}")
        if isinstance(said, Verdict):
            return json_answer(400, orjson.dumps(words(said)))
        return json_answer(200, orjson.dumps({"apart": {name: words(one) for name, one in said.items()}}))
