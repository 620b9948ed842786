"""dbt as the builder: the project of `infra/dbt` on tables with rows, and every materialization of dbt-clickhouse."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from services.runtime.clock import SystemClock
from services.runtime.migrations import migrate
from services.runtime.settings import ClickHouseSettings
from tests.integration.infra.test_clickhouse_server import BUILDER_PASSWORD, PASSWORD, Process
from tests.integration.query_api.rows import Store
from tests.support.analysts import CHANNELS, POSTS, WORKSPACE, fill
from tests.support.deployments import INFRA
from tests.support.foreign import built

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("clickhouse")
    with Process.running(folder, "--analyst-database", "analytics", "--analyst-database", "analytics_*") as process:
        yield process


@pytest.fixture(scope="module")
def dbt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, installed."""
    # From 1.12 on, dbt-core's installation fetches a part that is in no registry.
    uv = [sys.executable, "-m", "uv"]
    made = [*uv, "venv", "--quiet", "--allow-existing", "."]
    installed = [*uv, "pip", "install", "--quiet", "--python", "bin/python", "dbt-core==1.11.*", "dbt-clickhouse"]
    return built(tmp_path_factory.mktemp("dbt"), None, (), made, installed) / "bin" / "dbt"


def run(dbt: Path, project: Path, server: Process, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "CLICKHOUSE_PORT": str(server.port),
        "CLICKHOUSE_PASSWORD": BUILDER_PASSWORD,
    }
    command = [str(dbt), *arguments, "--profiles-dir", ".", "--no-use-colors"]
    return subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


@pytest.fixture(scope="module")
def project(server: Process, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, on the migrated tables with two tenants in them."""
    url = f"http://default:{PASSWORD}@127.0.0.1:{server.port}/tidemark"
    list(migrate(ClickHouseSettings(clickhouse_url=SecretStr(url))))
    fill(Store(url), SystemClock().now())
    folder = tmp_path_factory.mktemp("project") / "tidemark"
    shutil.copytree(INFRA / "dbt" / "tidemark", folder)
    return folder


def test_the_project_builds_and_all_its_tests_hold(dbt: Path, project: Path, server: Process) -> None:
    done = run(dbt, project, server, "build", "--warn-error")
    assert done.returncode == 0, done.stdout[-3000:]
    # Of 8 sources and 2 models.
    assert re.search(r"PASS=(\d+) WARN=0 ERROR=0", done.stdout), done.stdout[-2000:]
    done = run(dbt, project, server, "source", "freshness")
    assert done.returncode == 0, done.stdout[-3000:]
    ran = {
        result["unique_id"].rpartition(".")[2]: result["status"]
        for result in json.loads((project / "target" / "sources.json").read_text(encoding="utf-8"))["results"]
    }
    fresh = ("channel_snapshots", "latest_post_metrics", "post_snapshots", "raw_events")
    assert ran == dict.fromkeys(fresh, "pass")


def test_the_models_hold_what_the_rows_say(dbt: Path, project: Path, server: Process) -> None:
    done = run(dbt, project, server, "run")
    assert done.returncode == 0, done.stdout[-3000:]
    grown = server.post(
        "SELECT sum(likes_gained), countIf(views_gained IS NOT NULL) FROM analytics.post_growth_by_day"
        f" WHERE workspace_id = '{WORKSPACE}'",
        user="analyst",
    ).text
    likes = len(CHANNELS) * sum(10 * number for number in range(1, POSTS))
    assert grown == f"{likes}\t0\n"
    scored = server.post(
        "SELECT channel_id, impressions, measured_posts FROM analytics.channel_scorecard"
        f" WHERE workspace_id = '{WORKSPACE}' ORDER BY channel_id",
        user="analyst",
    ).text
    assert scored == "".join(f"{channel_id}\t2800\t{POSTS - 1}\n" for channel_id in sorted(CHANNELS))


def test_a_platform_that_the_project_does_not_know_is_found(dbt: Path, project: Path, server: Process) -> None:
    url = f"http://default:{PASSWORD}@127.0.0.1:{server.port}/tidemark"
    Store(url).channel("later", "ch-1", "twelfth")
    done = run(dbt, project, server, "test", "--select", "source:tidemark.channels")
    assert done.returncode == 1
    assert "Failure in test source_accepted_values_tidemark_channels_platform" in done.stdout
    assert "ERROR=1" in done.stdout, done.stdout[-2000:]
    known = json.dumps({"platforms": ["instagram", "twelfth", "x"]})
    done = run(dbt, project, server, "test", "--select", "source:tidemark.channels", "--vars", known)
    assert done.returncode == 0, done.stdout[-3000:]


DBT_MODELS = {
    "a_view": "select likes, day from {{ source('tidemark', 'posts_of_dbt') }}",
    "a_table": "{{ config(materialized='table', order_by='day') }}"
    " select day, sum(likes) as likes from {{ ref('a_view') }} group by day",
    "grown": "{{ config(materialized='incremental', order_by='day', unique_key='day') }}"
    " select day, likes from {{ ref('a_table') }}"
    " {% if is_incremental() %} where day >= (select max(day) from {{ this }}) {% endif %}",
    "appended": "{{ config(materialized='incremental', order_by='day', incremental_strategy='append') }}"
    " select day, likes from {{ ref('a_table') }}",
    "replaced": "{{ config(materialized='incremental', order_by='day', unique_key='day',"
    " incremental_strategy='delete_insert') }} select day, likes from {{ ref('a_table') }}",
}
DBT_FILES = {
    "dbt_project.yml": "name: posts\nversion: '1.0'\nprofile: tidemark\nmodel-paths: [models]\nseed-paths: [seeds]\n",
    "models/sources.yml": "version: 2\nsources:\n  - {name: tidemark, tables: [{name: posts_of_dbt}]}\n"
    "models:\n  - {name: a_table, columns: [{name: likes, data_tests: [not_null]}]}\n",
    "seeds/names.csv": "id,name\n1,a\n2,b\n",
    **{f"models/{name}.sql": text for name, text in DBT_MODELS.items()},
}


def test_every_materialization(dbt: Path, server: Process, tmp_path: Path) -> None:
    profile = (
        "tidemark: {target: dev, outputs: {dev: {type: clickhouse, driver: http, host: 127.0.0.1, "
        f"port: {server.port}, user: builder, password: {BUILDER_PASSWORD}, schema: analytics_2}}}}}}\n"
    )
    for name, text in {**DBT_FILES, "profiles.yml": profile}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for sql in (
        "CREATE TABLE tidemark.posts_of_dbt (likes UInt64, day Date) ENGINE = MergeTree ORDER BY day",
        "INSERT INTO tidemark.posts_of_dbt SELECT number, toDate('2026-01-01') + number % 3 FROM numbers(30)",
    ):
        assert server.post(sql).status_code == 200
    for _ in range(2):
        done = run(dbt, tmp_path, server, "build")
        assert done.returncode == 0, done.stdout[-3000:]
        assert "PASS=7 WARN=0 ERROR=0" in done.stdout, done.stdout[-3000:]
    for table, rows in (("a_view", 30), ("a_table", 3), ("grown", 3), ("appended", 6), ("replaced", 3), ("names", 2)):
        assert server.post(f"SELECT count() FROM analytics_2.{table}", user="analyst").text == f"{rows}\n", table
