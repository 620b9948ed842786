"""Clients of other languages, as they come: current drivers with their defaults, built from their registries."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.infra.test_clickhouse_server import ANALYST_PASSWORD, PASSWORD, Process
from tests.support.foreign import built

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("clickhouse")
    with Process.running(folder, "--analyst-database", "analytics", "--analyst-database", "analytics_*") as process:
        yield process


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
