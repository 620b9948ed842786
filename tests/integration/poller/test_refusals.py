"""One test a row of the catalogue: a poller before a sandbox that refuses as the real platform does, over HTTP.

In every row the healthy neighbours have right figures after a few polls, what the answer means is known, the calls are
bounded, and all is polled again within an interval after the refusal has ended. Time is virtual.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from infra.sandbox.channels import ACCOUNTS
from infra.sandbox.refusals import catalogue
from infra.sandbox.refusals.row import About, Effect, Refusal
from infra.sandbox.state import State
from infra.sandbox.switches import instants
from schemas.tiers import CHANNEL_INTERVAL, COMMON
from services.platforms import all_platforms
from services.platforms.base import Channel, Outcome, Target
from services.poller.asking.budget import QUOTA_WAIT
from tests.support.refused_polls import BESIDE_INSIGHTS, CULPRIT, FIGURES, HOUR, MINUTE, NEIGHBOUR, PolledPlatform
from tests.support.served_sandbox import serving

INTERVAL = COMMON.tiers[0][1]
# Four hours before a month, and a day of UTC, turn; eleven before a Pacific day does.
START = 1_790_798_400_000
WARM_UP = 40 * MINUTE
MOST_WASTED = 20
# A total failure lasts an hour; what concerns a part is watched over several polls.
SPANS = dict.fromkeys((About.TARGET, About.METRIC, About.SIZE, About.SHAPE), 3 * HOUR)
# Of a call to a culprit that is silent, by the machine's clock; all others are answered long before.
SILENCE = 1.0
# Of what a channel's own figures may meet, which are asked for seldom, the first round is a part.
FROM_THE_START = frozenset({About.METRIC, About.SHAPE})
# A part of a batch is unfinished only where there are batches: the sandbox's own tests send some.
ROWS = [row for row in catalogue().values() if not row.example and row.effect is not Effect.UNFINISHED]
# A silent post is waited for by the machine's clock, again and again: of those that are asked for with others, and of
# those that are asked for alone, one platform each in `make test`.
SILENT_IN_SHORT = ("youtube", "instagram")
ASKED_BY_HAND = [row for row in catalogue().values() if row.example]


def name_of(row: Refusal) -> str:
    return f"{row.platform}-{row.name}"


class Server(NamedTuple):
    """The sandbox of this module."""

    url: str
    state: State


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    state = State(7)
    with serving(state) as url:
        yield Server(url, state)


@pytest.fixture(scope="module")
def usual_calls() -> dict[tuple[str, int, bool], dict[str, int]]:
    """Calls of each channel in a span without any refusal, by platform and span; filled as they are needed."""
    return {}


class Polling:
    """The world of one row."""

    def __init__(self, server: Server, row: Refusal) -> None:
        self.row = row
        token = "sandbox-expired" if row.is_of_tokens else "sandbox-token"
        timeout = SILENCE if row.effect is Effect.SILENT else 20.0
        self.world = PolledPlatform(server.url, server.state, row.platform, START, token, timeout)
        self.span = SPANS.get(row.about, HOUR)

    @property
    def begins_at_once(self) -> bool:
        """Whether the refusal is there before the first poll."""
        has_posts = self.row.platform in FIGURES
        # Where anybody may read the posts, the token is shown as seldom as the channel's own figures are asked for.
        is_seldom = self.row.about is About.TOKEN and self._is_public()
        return self.row.is_of_tokens or self.row.about in FROM_THE_START or not has_posts or is_seldom

    @property
    def figure(self) -> tuple[str, str]:
        """The figure that is compared: none of those that are refused."""
        is_of_insights = "insights" in self.row.names and self.row.about is About.METRIC
        return (BESIDE_INSIGHTS if is_of_insights else FIGURES).get(self.row.platform) or FIGURES[self.row.platform]

    @property
    def culprits(self) -> list[str]:
        """The posts that are refused: one of the channel, or all of it."""
        posts = self.world.posts[CULPRIT]
        return posts[:1] if self.row.about is About.TARGET else posts

    def healthy(self) -> list[str]:
        """The posts that have to be read all the while."""
        posts = self.world.posts
        if self.row.platform not in FIGURES:
            return []
        if self.row.about is About.TARGET:
            # What is refused some metrics alone still has the others.
            is_read = bool(self.row.names) and Outcome.METRIC_FORBIDDEN in self.row.outcomes
            return posts[CULPRIT][not is_read :] + posts[NEIGHBOUR]
        if self.row.about in (About.METRIC, About.SIZE, About.SHAPE):
            is_of_posts = self.row.about is not About.SHAPE or not self._is_of_every_call()
            return posts[CULPRIT] + posts[NEIGHBOUR] if is_of_posts else []
        return posts[NEIGHBOUR] if self.row.about is About.TOKEN else []

    def _is_of_every_call(self) -> bool:
        return self.row.path == r"^/rest/"

    def _is_public(self) -> bool:
        channel = Channel("w", "c", self.world.accounts_of[CULPRIT], "name")
        posts = [Target("t", "p", external_id) for external_id in self.world.posts[CULPRIT]]
        calls = all_platforms()[self.row.platform].post_calls(channel, posts)
        return bool(calls) and all(call.is_public for call in calls)

    def switch_on(self) -> Any:
        account = self.world.accounts_of[CULPRIT]
        if self.row.about is About.TARGET:
            return self.world.switch_on(self.row.name, target=self.culprits[0])
        if self.row.about is About.TOKEN and not self.row.is_of_tokens:
            return self.world.switch_on(self.row.name, account=account)
        return self.world.switch_on(self.row.name)

    async def run(self) -> tuple[int, int]:
        """Warm up, refuse, stop refusing; returns when the refusal began and ended (ms)."""
        time = self.world.time
        if not self.begins_at_once:
            await time.advance(WARM_UP)
        began = time.at
        switch = self.switch_on()
        await time.advance(self.span)
        assert switch.refused, "no call met the refusal"
        if self.row.reset:
            reset = instants(began)[self.row.reset] * 1000
            await time.advance(max(0, reset - time.at))
        self.world.state.switches.clear()
        return began, began + self.span

    def check_figures(self, external_ids: list[str], since: int, until: int) -> None:
        """Each of these was read in a span, and rightly."""
        if self.row.platform not in FIGURES:
            for channel in external_ids:
                assert self.world.channel_figures(channel, since), channel
            return
        metric, name = self.figure
        figures = [figure for figure in self.world.figures(since) if figure.metric == metric]
        for external_id in external_ids:
            own = [figure for figure in figures if figure.external_id == external_id and figure.at <= until]
            assert own, (external_id, self.world.outcomes(None, since))
            for figure in own:
                assert figure.value == self.world.right(external_id, figure.at, name), figure


async def usual(server: Server, row: Refusal, known: dict[tuple[str, int, bool], dict[str, int]]) -> dict[str, int]:
    """Calls of each channel in the same span without a refusal."""
    calm = Polling(server, row)
    key = (row.platform, calm.span, calm.begins_at_once)
    try:
        if key not in known:
            if not calm.begins_at_once:
                await calm.world.time.advance(WARM_UP)
            began = calm.world.time.at
            await calm.world.time.advance(calm.span)
            known[key] = {
                channel: calm.world.calls(channel, began, began + calm.span) for channel in (CULPRIT, NEIGHBOUR)
            }
    finally:
        await calm.world.close()
    return known[key]


def kind_of(row: Refusal) -> tuple[Any, ...]:
    """All that the poller acts upon; the status and the words are classified by the platform's file."""
    return (
        row.platform, row.about, row.effect, row.outcomes, row.path, row.names, row.more_than, row.is_whole,
        row.is_of_tokens, row.is_final, row.reset,
    )  # fmt: skip


# Each row's status and words are classified in tests/unit/infra/test_sandbox_refusals.py: of the rows that differ in
# those alone, one is polled in `make test`.
FIRST_OF_KIND = {kind_of(row): row.name for row in reversed(ROWS)}


def in_short_or_long(row: Refusal) -> Any:
    """A row as a parameter, marked where it is for `make test-long` alone."""
    is_long = row.effect is Effect.SILENT and row.platform not in SILENT_IN_SHORT
    is_classified = row.effect is Effect.REFUSE and not row.is_of_tokens
    is_long |= is_classified and FIRST_OF_KIND[kind_of(row)] != row.name
    return pytest.param(row, id=name_of(row), marks=[pytest.mark.long] if is_long else [])


@pytest.mark.parametrize("row", [in_short_or_long(row) for row in ROWS])
async def test_a_refusal_costs_its_culprit_alone(
    row: Refusal, server: Server, usual_calls: dict[tuple[str, int, bool], dict[str, int]]
) -> None:
    calm = await usual(server, row, usual_calls)
    polling = Polling(server, row)
    world = polling.world
    try:
        began, ended = await polling.run()
        # Known for what it is.
        seen = world.outcomes(polling.culprits[0] if row.about is About.TARGET else None, began)
        seen |= {event.reason or "" for event in world.publisher.announced}
        assert seen & set(row.outcomes), (seen, row.outcomes)
        # The neighbours: right figures, no later than at any other time.
        polling.check_figures(polling.healthy(), ended - INTERVAL, ended)
        # Bounded.
        for channel in (CULPRIT, NEIGHBOUR):
            wasted = world.calls(channel, began, ended) - calm[channel]
            assert wasted <= MOST_WASTED, (channel, wasted)
        # Over: everything within an interval.
        off = world.time.at
        if row.about is About.TOKEN:
            # The person connects the account again: a scope, too, comes with a new token only.
            world.connect(CULPRIT)
        if row.platform not in FIGURES:
            await world.time.advance(CHANNEL_INTERVAL + 5 * MINUTE)
            polling.check_figures([CULPRIT, NEIGHBOUR], off, world.time.at)
            return
        # Where a quota's end is told nowhere, it is looked for now and then.
        is_unknown = not row.reset and "quota_exhausted" in row.outcomes
        await world.time.advance(INTERVAL + 5 * MINUTE + (QUOTA_WAIT if is_unknown else 0))
        returned = [one for one in world.posts[CULPRIT] if not (row.is_final and one in polling.culprits)]
        polling.check_figures(returned + world.posts[NEIGHBOUR], off, world.time.at)
    finally:
        await world.close()


@pytest.mark.parametrize("row", ASKED_BY_HAND, ids=name_of)
async def test_a_refusal_that_no_poll_meets_is_answered_all_the_same(row: Refusal, server: Server) -> None:
    world = PolledPlatform(server.url, server.state, row.platform, START)
    try:
        posts = world.posts[CULPRIT]
        values = {"id": posts[0], "two_ids": ",".join(posts[:2]), "account": world.accounts_of[CULPRIT]}
        path = row.example
        for name, value in values.items():
            path = path.replace(f"{{{name}}}", httpx.URL("/", params={"v": value}).query.decode()[2:])
        headers = {
            "authorization": f"Bearer sandbox-token~{world.accounts_of[CULPRIT]}",
            "linkedin-version": "202606",
            "x-restli-protocol-version": "2.0.0",
        }
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
            before = await client.get(path, headers=headers)
            switch = world.switch_on(row.name)
            reply = await client.get(path, headers=headers)
        assert switch.refused == 1, path
        assert reply.status_code == row.status
        assert reply.content != before.content
        known = all_platforms()[row.platform]
        verdict = known.classify(reply.status_code, reply.headers, reply.content, START)
        assert verdict.outcome.value in row.outcomes
    finally:
        await world.close()


def test_every_platform_is_refused_in_every_way() -> None:
    for platform in ACCOUNTS:
        own = [row for row in ROWS if row.platform == platform]
        assert {About.TOKEN, About.LIMIT, About.HOST} <= {row.about for row in own}
        assert any(row.effect is Effect.REFUSE for row in own)
        of_posts = {row.name for row in own if row.about is About.TARGET}
        assert not ACCOUNTS[platform].post_type or {"post_fails", "post_in_html", "post_is_silent"} <= of_posts
