"""Insights of the running service, compared with what the stored snapshots give the slow way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from schemas.tiers import MILLIS_PER_DAY, MILLIS_PER_HOUR
from services.runtime.clock import iso_millis, to_millis
from tests.integration.query_api import insight_model as model
from tests.integration.query_api.histories import History
from tests.integration.query_api.rows import Store
from tests.integration.query_api.running import ADMIN, CHANNEL, Service
from tests.integration.query_api.test_tidemark_analysis import know_channels, snapshot_row, store_history
from tests.support.query_api import target, values
from tests.support.waiting import wait_until

BERLIN = ZoneInfo("Europe/Berlin")
# Over the night of 25 October 2026, when clocks in Berlin go back.
START = to_millis(datetime(2026, 10, 12, tzinfo=BERLIN).astimezone(UTC))
END = START + 16 * MILLIS_PER_DAY
SPAN = {"from": iso_millis(START), "to": iso_millis(END), "tz": "Europe/Berlin"}
WORKSPACES, TARGETS = 3, 90
READY_SECONDS = 20


@dataclass
class Tenant:
    """A workspace with its histories and the headers of its key."""

    headers: dict[str, str]
    histories: list[History]

    def of(self, channel_id: str | None) -> list[History]:
        """The histories of one channel, or all."""
        return [one for one in self.histories if channel_id in (None, one.channel_id)]


@pytest.fixture(scope="module")
def store(tables: Store) -> Iterator[Store]:
    """The tables, filled by all tests of this file."""
    yield tables
    tables.clear()


@pytest.fixture(scope="module")
def tenants(service: Service, store: Store) -> list[Tenant]:
    """Workspaces with random histories, and things that no answer may count."""
    found = []
    for number in range(WORKSPACES):
        random = Random(number)
        workspace_id = f"insights-{number}"
        histories = [model.aging_history(random, place, START) for place in range(TARGETS)]
        know_channels(service, store, workspace_id, ["c0", "c1", "c-new"])
        # In the last one nearly every answer lies once, as after a merge; some lay at another time before.
        is_last = number == WORKSPACES - 1
        if is_last:
            store.insert("post_snapshots_store", list(moved(workspace_id, histories)))
        with store.together():
            store_history(store, workspace_id, histories, is_repeated=not is_last)
        # Published outside of the span, on a deleted channel, and of no listed target.
        for post_id, channel_id, at in (("p-old", "c0", START - 1), ("p-gone", "c-gone", START)):
            store.post(workspace_id, post_id, [target(f"t-{post_id}", channel_id, published_at=at)])
            store.snapshot(workspace_id, f"t-{post_id}", "e1", at + MILLIS_PER_DAY, values(likes=10**6))
        store.channel(workspace_id, "c-gone", is_deleted=1)
        store.snapshot(workspace_id, "unlisted", "e1", START + MILLIS_PER_DAY, values(likes=10**6))
        found.append(Tenant(service.make_key(workspace_id)[1], histories))
    for tenant in found:
        wait_until_known(service, tenant.headers)
    return found


def moved(workspace_id: str, histories: list[History]) -> Iterator[dict[str, Any]]:
    """Older forms of some answers, with other figures and with times of the same month or of another one."""
    for history in histories[::7]:
        for place, answer in enumerate(history.answers[::3]):
            row = snapshot_row(workspace_id, history, answer)
            yield {**row, "captured_at": iso_millis(answer.at + (place - 2) * 9 * MILLIS_PER_DAY), "likes": 10**6}


def wait_until_known(service: Service, headers: dict[str, str], channel_id: str = "c-new") -> None:
    """Wait until a channel is in the service's memory."""

    def status() -> int:
        return service.client.get(f"/tidemark/v1/channels/{channel_id}", headers=headers).status_code

    wait_until(lambda: status() == 200, READY_SECONDS, lambda: f"channel {channel_id} reads {status()}")


def read(service: Service, name: str, headers: dict[str, str], **params: Any) -> Any:
    """A reply of one insight."""
    asked = {**SPAN, **{key: value for key, value in params.items() if value is not None}}
    reply = service.client.get(f"/tidemark/v1/insights/{name}", params=asked, headers=headers)
    assert reply.status_code == 200, reply.text
    return reply.json()


# Reach is one figure as views are, by the same queries.
METRICS = [pytest.param(name, marks=[pytest.mark.long] if name == "reach" else []) for name in model.PARTS]


def test_several_channels_are_chosen(service: Service, tenants: list[Tenant]) -> None:
    headers = tenants[0].headers
    for name, found in (("best-times", "cells"), ("decay", "ages"), ("unusual", "posts"), ("unusual", "falls")):
        replies = {
            chosen: read(service, name, headers, limit=500 if name == "unusual" else None, **dict([chosen]))
            for chosen in (
                ("channel_id", None),
                ("channel_id", "c0"),
                ("channel_ids", "c-new,c0"),
                ("channel_ids", "c0,c1"),
            )
        }
        whole, one, one_and_empty, both = (reply[found] for reply in replies.values())
        assert one == one_and_empty != whole == both
        assert replies["channel_ids", "c0,c1"]["channel_ids"] == ["c0", "c1"]
        assert "channel_ids" not in replies["channel_id", "c0"]
    asked = {**SPAN, "channel_id": "c0", "channel_ids": "c0,c1"}
    assert service.client.get("/tidemark/v1/insights/decay", params=asked, headers=headers).status_code == 422


@pytest.mark.parametrize("channel_id", [None, "c0"])
@pytest.mark.parametrize("metric", METRICS)
def test_best_times(service: Service, tenants: list[Tenant], metric: str, channel_id: str | None) -> None:
    known = few = 0
    for tenant in tenants:
        for hours, zone in ((24, "Europe/Berlin"), (6, "Asia/Kolkata")):
            reply = read(
                service, "best-times", tenant.headers, metric=metric, channel_id=channel_id, age_hours=hours, tz=zone
            )
            expected = model.best_times(tenant.of(channel_id), metric, hours * MILLIS_PER_HOUR, ZoneInfo(zone))
            assert [(cell["weekday"], cell["hour"]) for cell in reply["cells"]] == [
                (day, hour) for day in range(1, 8) for hour in range(24)
            ]
            for cell in reply["cells"]:
                posts, targets, score = expected.get((cell["weekday"], cell["hour"]), (0, 0, None))
                assert (cell["posts"], cell["targets"]) == (posts, targets), cell
                assert cell["score"] == (None if score is None else pytest.approx(score)), cell
                known += score is not None
                few += score is None and posts > 0
    assert known > 0
    assert few > 10


@pytest.mark.parametrize("metric", METRICS)
def test_decay(service: Service, tenants: list[Tenant], metric: str) -> None:
    known = 0
    for tenant in tenants:
        for channel_id, days in ((None, 28), ("c1", 28), (None, 5)):
            reply = read(service, "decay", tenant.headers, metric=metric, channel_id=channel_id, base_days=days)
            found = [(one["age_hours"], one["posts"], one["targets"], one["share"]) for one in reply["ages"]]
            expected = model.decay(tenant.of(channel_id), metric, days * MILLIS_PER_DAY)
            assert [row[:3] for row in found] == [row[:3] for row in expected]
            assert [row[3] for row in found] == [pytest.approx(row[3]) for row in expected]
            known += sum(row[3] is not None for row in expected)
    assert known > 40


@pytest.mark.parametrize("metric", METRICS)
def test_unusual(service: Service, tenants: list[Tenant], metric: str) -> None:
    compared = fallen = 0
    for tenant in tenants:
        for channel_id, factor in ((None, 3.0), ("c1", 1.5)):
            now = to_millis(datetime.now(UTC))
            reply = read(
                service, "unusual", tenant.headers, metric=metric, channel_id=channel_id, factor=factor, limit=500
            )
            found = {
                one["target_id"]: (one["age_hours"], one["value"], one["usual"], one["targets"])
                for one in reply["posts"]
            }
            assert found == model.unusual(tenant.of(channel_id), metric, factor, now)
            for one in reply["posts"]:
                assert one["ratio"] == one["value"] / one["usual"]
                assert one["direction"] == ("above" if one["value"] > one["usual"] else "below")
            listed = model.falls(tenant.of(channel_id), metric)
            shown = {
                (one["target_id"], one["metric"], one["before"], one["value"], one["event_id"])
                for one in reply["falls"]
            }
            within = {event.event_id for one in tenant.histories for event in one.answers if event.at < END}
            assert shown <= {one for one in listed if one[4] in within}
            if len(reply["falls"]) < 500:
                assert shown == {one for one in listed if one[4] in within}
            compared += len(found)
            fallen += len(shown)
    assert compared > 5
    assert fallen > 50


def test_too_few_targets_have_no_usual(service: Service, store: Store) -> None:
    workspace_id = "insights-few"
    know_channels(service, store, workspace_id, ["c-new"])
    headers = service.make_key(workspace_id)[1]
    wait_until_known(service, headers)

    def publish(number: int) -> None:
        at = START + 9 * MILLIS_PER_HOUR
        store.post(workspace_id, f"p{number}", [target(f"t{number}", "c-new", published_at=at)])
        store.snapshot(workspace_id, f"t{number}", f"e{number}", at + MILLIS_PER_DAY, values(likes=100))

    def nine() -> tuple[Any, int]:
        cell = read(service, "best-times", headers)["cells"][9]
        return cell["score"], cell["posts"]

    for number in range(4):
        publish(number)
    assert nine() == (None, 0)
    publish(4)
    assert nine() == (1.0, 5)


def test_polls_that_are_late(service: Service, store: Store) -> None:
    workspace_id = "insights-late"
    address = f"/admin/v1/workspaces/{workspace_id}/channels/c-new"
    put = service.client.put(address, json={**CHANNEL, "access_token": "a-token"}, headers=ADMIN)
    assert put.status_code == 200, put.text
    store.channel(workspace_id, "c-new")
    headers = service.make_key(workspace_id)[1]
    wait_until_known(service, headers)
    now = to_millis(datetime.now(UTC))
    minute = 60_000
    for name, published, captured in (
        ("fresh", 5 * MILLIS_PER_HOUR, 10 * minute),
        ("late", 5 * MILLIS_PER_HOUR, 90 * minute),
        ("later", 5 * MILLIS_PER_HOUR, 4 * MILLIS_PER_HOUR),
        ("never", 2 * MILLIS_PER_HOUR, None),
        ("due", 5 * MILLIS_PER_HOUR, 40 * minute),
        ("old", 20 * MILLIS_PER_DAY, 19 * MILLIS_PER_DAY),
    ):
        at = None if captured is None else now - captured
        store.post(
            workspace_id,
            f"p-{name}",
            [target(name, "c-new", published_at=now - published, captured_at=at)],
            published_at=now - published,
        )
    late = read(service, "unusual", headers, to=None)["late"]
    # A target without any answer is due since its post was written last, which is long ago for rows put in by hand.
    assert [one["target_id"] for one in late] == ["later", "never", "late"]
    assert {one["tier"] for one in late} == {"30m"}
    assert 3 * 3600 < late[0]["late_seconds"] < 4 * 3600


def test_another_workspace_reads_nothing(service: Service, tenants: list[Tenant]) -> None:
    _, stranger = service.make_key("insights-stranger")
    for name in ("best-times", "decay", "unusual"):
        refused = service.client.get(f"/tidemark/v1/insights/{name}?channel_id=c0", headers=stranger)
        assert refused.status_code == 404
    assert {cell["targets"] for cell in read(service, "best-times", stranger)["cells"]} == {0}
    assert {age["targets"] for age in read(service, "decay", stranger)["ages"]} == {0}
    reply = read(service, "unusual", stranger)
    assert (reply["posts"], reply["falls"], reply["late"]) == ([], [], [])
