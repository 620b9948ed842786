"""Clients of other languages, as they come: current drivers with their defaults, built from their registries."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.infra.test_clickhouse_server import ANALYST_PASSWORD, BUILDER_PASSWORD, PASSWORD, Process
from tests.support.foreign import built

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = Process(
        tmp_path_factory.mktemp("clickhouse"), "--analyst-database", "analytics", "--analyst-database", "analytics_*"
    )
    try:
        yield process.wait_until_ready()
    finally:
        if process.popen.poll() is None:
            process.end()


@pytest.fixture(scope="module")
def go_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = built(
        tmp_path_factory.mktemp("foreign"),
        "go",
        ("go",),
        ["go", "get", "github.com/ClickHouse/clickhouse-go/v2@latest"],
        ["go", "mod", "tidy"],
        ["go", "build", "-o", "client", "."],
    )
    return folder / "client"


@pytest.mark.parametrize("compression", ["none", "lz4", "zstd", "gzip"])
def test_clickhouse_go(server: Process, go_client: Path, compression: str) -> None:
    command = [str(go_client), f"127.0.0.1:{server.port}", PASSWORD, ANALYST_PASSWORD, compression]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    read = [
        "inserted 100000 4999950000 10",
        "read 50000 99999 9 49999.5 [x 99999] 99999",
        "error true",
        "empty sql: no rows in result set",
    ]
    assert done.stdout.splitlines() == ["as default", *read, "as analyst", *read], done.stderr
    assert done.returncode == 0


def test_jdbc_as_the_analyst_and_the_jdk(server: Process, tmp_path: Path) -> None:
    folder = built(
        tmp_path,
        "jdbc",
        ("mvn", "javac", "java"),
        ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib"],
        ["javac", "-cp", f"lib{os.sep}*", "-d", ".", "Foreign.java"],
    )
    command = [
        "java",
        "-cp",
        f".{os.pathsep}lib{os.sep}*",
        "Foreign",
        f"127.0.0.1:{server.port}",
        PASSWORD,
        ANALYST_PASSWORD,
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.splitlines() == [
        "read 1000 it's; 999",
        "limited 10",
        "prepared it's; 7",
        "tables true",
        "columns 2",
        "error 60 true",
        "posted by the JDK",
    ], done.stderr


@pytest.mark.parametrize("options", [["--http2"], ["--http1.1"], ["--compressed"]])
def test_curl(server: Process, options: list[str]) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = ["curl", "-sS", *options, "-u", f"default:{PASSWORD}", "-d", "SELECT 'from curl'", server.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "from curl\n", done.stderr


def test_java_client_v2(server: Process, tmp_path: Path) -> None:
    folder = built(
        tmp_path,
        "client_v2",
        ("mvn", "javac", "java"),
        ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib"],
        ["javac", "-cp", f"lib{os.sep}*", "-d", ".", "ClientV2.java"],
    )
    address = f"127.0.0.1:{server.port}"
    command = ["java", "-cp", f".{os.pathsep}lib{os.sep}*", "ClientV2", address, PASSWORD, ANALYST_PASSWORD]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.splitlines() == ["read 5000 it's; 9999", "parameter it's; 7", "error 60 true"], done.stderr


def test_rust(server: Process, tmp_path: Path) -> None:
    folder = built(tmp_path, "rust", ("cargo",), ["cargo", "build", "--quiet"])
    command = [str(folder / "target" / "debug" / "foreign"), server.url, PASSWORD, ANALYST_PASSWORD]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.splitlines() == [
        "inserted 100000 4999950000",
        "read 50000 it's; 99999",
        "error true",
    ], done.stderr


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


def test_dbt_as_the_builder(server: Process, tmp_path: Path) -> None:
    # From 1.12 on, dbt-core's installation fetches a part that is in no registry.
    pip = [sys.executable, "-m", "venv", "."], ["bin/pip", "-q", "install", "dbt-core==1.11.*", "dbt-clickhouse"]
    folder = built(tmp_path, None, (), *pip)
    profile = (
        "tidemark: {target: dev, outputs: {dev: {type: clickhouse, driver: http, host: 127.0.0.1, "
        f"port: {server.port}, user: builder, password: {BUILDER_PASSWORD}, schema: analytics}}}}}}\n"
    )
    for name, text in {**DBT_FILES, "profiles.yml": profile}.items():
        path = folder / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for sql in (
        "CREATE TABLE posts_of_dbt (likes UInt64, day Date) ENGINE = MergeTree ORDER BY day",
        "INSERT INTO posts_of_dbt SELECT number, toDate('2026-01-01') + number % 3 FROM numbers(30)",
    ):
        assert server.post(sql).status_code == 200
    command = [str(folder / "bin" / "dbt"), "build", "--profiles-dir", ".", "--no-use-colors"]
    environment = {**os.environ, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
    for _ in range(2):
        done = subprocess.run(
            command, cwd=folder / "project", env=environment, capture_output=True, text=True, timeout=180, check=False
        )
        assert done.returncode == 0, done.stdout[-3000:]
        assert "PASS=7 WARN=0 ERROR=0" in done.stdout, done.stdout[-3000:]
    for table, rows in (("a_view", 30), ("a_table", 3), ("grown", 3), ("appended", 6), ("replaced", 3), ("names", 2)):
        assert server.post(f"SELECT count() FROM analytics.{table}", user="analyst").text == f"{rows}\n", table
