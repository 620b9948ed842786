"""A platform is one file, one file of sandbox routes and golden cases: one is added while nothing else changes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.tidemark import Tidemark
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
NAME = "mastodon"
WORKSPACE = "twelfth"


@pytest.fixture
def extended(second_tidemark: Tidemark) -> Tidemark:
    return second_tidemark


def test_a_platform_added_at_run_time_is_polled_mapped_and_answered(extended: Tidemark) -> None:
    published_at = (time.time_ns() // 1_000_000_000 - 5 * 3600) * 1000
    made = extended.sandbox("id", platform=NAME, published_at=published_at)
    external_id = made["external_id"]
    assert made["published_at"] == published_at
    extended.put_channel(WORKSPACE, "c", platform=NAME, external_id="1001", access_token="sandbox-token-of-c")
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(published_at / 1000))
    target = {"target_id": "t", "channel_id": "c", "status": "published", "external_id": external_id}
    extended.put_post(WORKSPACE, "p", [target], published_at=at)

    query = (
        "SELECT platform, views, likes, comments, shares, quotes, toUnixTimestamp64Milli(captured_at) AS at "
        f"FROM latest_post_metrics WHERE workspace_id = '{WORKSPACE}'"
    )
    rows = wait_until(lambda: extended.query(query), 30, lambda: extended.log("poller") + extended.log("aggregator"))
    row = rows[0]
    served = extended.sandbox("served", platform=NAME, external_id=external_id, until=row["at"] + 1)["served"][-1]
    figures = served["fields"]
    shares = figures["reblogs_count"] + figures["quotes_count"]
    assert row == {
        "platform": NAME,
        "views": None,
        "likes": figures["favourites_count"],
        "comments": figures["replies_count"],
        "shares": shares,
        "quotes": figures["quotes_count"],
        "at": row["at"],
    }

    # ClickHouse has a figure first, the rollup that tells the query API of it follows.
    path = "/api/v1/posts/p/insights"
    wait_until(lambda: extended.get(WORKSPACE, path).json()["updated_at"], 30, lambda: extended.log("query_api"))
    answer = extended.get(WORKSPACE, path).json()
    assert [block["platform"] for block in answer["channels"]] == [NAME]
    assert (answer["totals"]["likes"], answer["totals"]["comments"], answer["totals"]["shares"]) == (
        figures["favourites_count"],
        figures["replies_count"],
        shares,
    )

    def followers() -> int | None:
        known: int | None = extended.get(WORKSPACE, "/api/v1/channels/c/insights").json()["followers"]
        return known

    told = wait_until(followers, 30, lambda: extended.log("poller"))
    accounts = extended.sandbox("served", platform=NAME, external_id="1001")["served"]
    assert told in [record["fields"]["followers_count"] for record in accounts]
    # A live pull and the account's health go the same way.
    assert extended.get(WORKSPACE, "/api/v1/social-accounts/c/health").json()["healthy"] is True
    (live,) = extended.get(WORKSPACE, "/api/v1/posts/p/analytics").json()["metrics_by_account"]
    assert live["likes"] >= figures["favourites_count"]


def test_a_name_that_no_file_has_is_refused_with_those_that_are(extended: Tidemark) -> None:
    body = {"platform": "myspace", "external_id": "1"}
    reply = extended.admin("PUT", f"/admin/v1/workspaces/{WORKSPACE}/channels/m", body)
    assert reply.status_code == 422
    assert NAME in reply.text
    assert "myspace" not in reply.text


def test_the_contract_suites_of_platforms_take_it_in(platforms_folder: Path) -> None:
    suites = ["test_golden.py", "test_fuzz.py"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-k", NAME, "-p", "no:cacheprovider"]
        + [f"tests/unit/platforms/{suite}" for suite in suites]
        + ["tests/unit/infra/test_sandbox_routes.py"],
        cwd=ROOT,
        env={**os.environ, "TIDEMARK_PLATFORMS_PATH": str(platforms_folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-3000:]
    assert " passed" in ran.stdout
