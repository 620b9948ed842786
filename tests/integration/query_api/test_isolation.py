"""Another workspace's things read as if they were not there, whatever names them and wherever.

Endpoints come from the description, so a new one is covered or, where it names things in a way not known here, fails.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from random import Random
from statistics import median
from time import perf_counter
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from services.query_api.apis import all_apis
from services.query_api.live import LiveReads
from services.query_api.reads.clickhouse import ClickHouse
from services.query_api.reads.read_model import ClickHouseReadModel
from services.query_api.serving.openapi import openapi
from services.runtime.settings import ClickHouseSettings
from tests.integration.query_api.rows import Store
from tests.support.query_api import NOW, FakeApi, ManualClock, fake_api, target, values

OWNER, STRANGER = "owner", "stranger"
# The kinds of ids, with one of the owner's and one that nobody has; of the same length, as guesses would be.
IDS = {
    "post": ("post-of-owner-01", "post-of-nobody-1"),
    "target": ("target-of-owner-", "target-of-nobody"),
    "channel": ("chan-of-owner-01", "chan-of-nobody-1"),
    "external": ("ext-of-owner-001", "ext-of-nobody-01"),
}
KIND_BY_SEGMENT = {
    "posts": "post", "post": "post", "targets": "target", "post-items": "target", "channels": "channel",
    "social-accounts": "channel",
}  # fmt: skip
KIND_BY_PARAMETER = {
    "integration_id": "channel",
    "channel_id": "channel",
    "channel_ids": "channel",
    "external_id": "external",
}
# Named things that are no ids of a workspace.
NO_IDS = {"dataset"}
REQUIRED = {"metric": "likes", "metrics": "likes"}
DESCRIBED = openapi(all_apis())
ROUNDS = 25
TRIES = 3
SHORTEST, LONGEST = 0.7, 1.4


@dataclass(frozen=True)
class Way:
    """One way to name a thing: an endpoint and a place in its request."""

    method: str
    path: str
    place: str
    kind: str
    query: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.place}"

    def request(self, client: httpx.AsyncClient, key: dict[str, str], thing: str, workspace: str) -> httpx.Request:
        path = self.path
        query = dict(self.query)
        body: Any = None
        if self.place == "body":
            body = {"ids": [thing]}
        elif self.place.startswith("{"):
            path = path.replace(self.place, thing)
        else:
            query[self.place] = thing
        headers = {**key, "X-Workspace-Id": workspace}
        return client.build_request(self.method, path, params=query, json=body, headers=headers)


def ways() -> Iterator[Way]:
    """Every way to name a thing, from the description."""
    for path, methods in DESCRIBED["paths"].items():
        for method, operation in methods.items():
            if not _is_compared(path, operation):
                continue
            yield from _ways_of(method.upper(), path, operation)


def _is_compared(path: str, operation: dict[str, Any]) -> bool:
    """Whether an operation names a workspace's posts, targets or channels.

    The admin key is nobody's: it names the workspace itself. Webhooks need a key of another scope, and have a test of
    their own in `tests/unit/query_api/tidemark/webhooks`.
    """
    return operation["tags"] != ["admin"] and not path.startswith("/tidemark/v1/webhooks")


def _ways_of(method: str, path: str, operation: dict[str, Any]) -> Iterator[Way]:
    parameters = {held["name"]: held for held in operation["parameters"]}
    query = [(name, REQUIRED[name]) for name, held in parameters.items() if held["in"] == "query" and held["required"]]
    for name in re.findall(r"\{(\w+)\}", path):
        before = path.split(f"/{{{name}}}")[0].rpartition("/")[2]
        if name not in NO_IDS:
            yield Way(method, path, f"{{{name}}}", KIND_BY_SEGMENT[before], tuple(query))
    path = path.replace("{dataset}", "posts")
    if "{" not in path:
        subject = KIND_BY_SEGMENT.get(path.rpartition("/")[2])
        for name, held in parameters.items():
            if name == "ids":
                assert subject is not None
                yield Way(method, path, name, subject, tuple(query))
            elif name in KIND_BY_PARAMETER:
                more = [("platform", "x")] if name == "external_id" else []
                yield Way(method, path, name, KIND_BY_PARAMETER[name], (*query, *more))
            else:
                assert not name.endswith(("_id", "_ids")), f"{path} names things by {name}: say of which kind they are"
                assert held["in"] in ("query", "header") or name in NO_IDS
        if method == "POST":
            yield Way(method, path, "body", KIND_BY_SEGMENT[path.split("/")[-2]])


WAYS = list(ways())


class NoPoller:
    """Nobody takes live requests."""

    async def ask(self, *_: Any, **__: Any) -> None:
        return None


@pytest.fixture
async def api(store: Store) -> AsyncIterator[FakeApi]:
    """The application on real tables; nothing is kept, so that every request is worked out."""
    clickhouse = ClickHouse(ClickHouseSettings(clickhouse_url=SecretStr(store.url)))
    made = fake_api(
        clickhouse=clickhouse,
        reads=lambda directory: LiveReads(
            ClickHouseReadModel(clickhouse, directory), NoPoller(), directory, ManualClock()
        ),
    )
    yield made
    await made.client.aclose()
    await clickhouse.close()


@pytest.fixture
def keys(api: FakeApi, store: Store) -> dict[str, dict[str, str]]:
    """A key of each workspace; both hold a post with all that belongs to it, and only the names differ."""
    for workspace in (OWNER, STRANGER):
        post, thing, channel, external = (
            held[0] if workspace == OWNER else f"{kind}-of-stranger" for kind, held in IDS.items()
        )
        api.add_channel(workspace, channel)
        store.channel(workspace, channel, "x", external_id=external)
        shown = target(thing, channel, external_id=external, captured_at=NOW - 60_000, values=values(likes=3))
        store.post(workspace, post, [shown])
        store.snapshot(workspace, thing, "e1", NOW - 60_000, values(likes=3), post_id=post, channel_id=channel)
        store.channel_period(workspace, channel, "lifetime", None, None, followers=3)
        store.channel_snapshot(workspace, channel, "e1", NOW - 60_000, followers=3)
    return {name: dict(api.add_key(name, f"key-of-{name}")) for name in (OWNER, STRANGER)}


def test_every_endpoint_that_names_things_is_known() -> None:
    named = {(way.method, way.path) for way in WAYS if way.place.startswith("{")}
    templates = {
        (method.upper(), path)
        for path, methods in DESCRIBED["paths"].items()
        for method, operation in methods.items()
        if _is_compared(path, operation) and set(re.findall(r"\{(\w+)\}", path)) - NO_IDS
    }
    assert named == templates
    assert len(WAYS) > len(templates)


async def test_anothers_reads_as_nobodys(
    api: FakeApi, keys: dict[str, dict[str, str]], subtests: pytest.Subtests
) -> None:
    """Same status, headers and body; and its owner sees something else, so the request is one that finds it."""

    async def reply(way: Way, key: str, thing: str) -> httpx.Response:
        return await api.client.send(way.request(api.client, keys[key], thing, key))

    for way in WAYS:
        mine, nobodys = IDS[way.kind]
        foreign, missing = await reply(way, STRANGER, mine), await reply(way, STRANGER, nobodys)
        owned = await reply(way, OWNER, mine)
        with subtests.test(str(way)):
            assert owned.status_code == 200, owned.text
            assert foreign.status_code == missing.status_code
            # A list by ids says which of them are not there, in the caller's own words; its length and tag follow.
            assert foreign.status_code == 200 or dict(foreign.headers) == dict(missing.headers)
            assert foreign.content.replace(mine.encode(), b"") == missing.content.replace(nobodys.encode(), b"")
            assert foreign.content != owned.content
            if way.place.startswith("{"):
                assert foreign.status_code == 404
                assert mine not in foreign.text


@pytest.mark.long
async def test_anothers_takes_as_long_as_nobodys(
    api: FakeApi, keys: dict[str, dict[str, str]], subtests: pytest.Subtests
) -> None:
    """Medians of interleaved calls, in a random order each round, so that whatever slows the machine slows both.

    Half of the calls may be disturbed before a median moves. A look-up that is made for one of the two alone would show
    as a factor, since one query of ClickHouse takes most of the time of a reply. Three tries, all of which have to
    differ: a real difference is there each time, and chance is not.
    """
    for way in WAYS:
        random = Random(str(way))
        requests = [way.request(api.client, keys[STRANGER], thing, STRANGER) for thing in IDS[way.kind]]
        ratios: list[float] = []
        while len(ratios) < TRIES and not any(SHORTEST < ratio < LONGEST for ratio in ratios):
            ratios.append(await _ratio(api, requests, random))
        with subtests.test(str(way)):
            assert any(SHORTEST < ratio < LONGEST for ratio in ratios), f"another's to nobody's: {ratios}"


async def _ratio(api: FakeApi, requests: list[httpx.Request], random: Random) -> float:
    """The median time of the first request, as a fraction of the second's."""
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for number in random.sample((0, 1), 2):
            started = perf_counter()
            await api.client.send(requests[number])
            taken[number].append(perf_counter() - started)
    return median(taken[0]) / median(taken[1])
