"""Bodies are bounded: bombs, endless statements, forms without end and half-sent bodies cost a bounded amount."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator
from functools import cache

import httpx
import psutil
import pytest

from infra.embedded.clickhouse.compression import ENCODINGS, compressor
from infra.embedded.clickhouse.native_compression import LZ4, NONE, ZSTD, BlockEncoder
from tests.integration.infra.test_clickhouse_server import ANALYST_PASSWORD, PASSWORD, Process

MIB = 1024 * 1024
BOMB_BYTES = 512 * MIB
# The spool's memory, the engine's own for an insert, and noise.
GROWTH_BYTES = 160 * MIB


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = Process(tmp_path_factory.mktemp("clickhouse"), "--insert-mb", "64")
    try:
        process.wait_until_ready()
        process.post("CREATE TABLE t (a String) ENGINE = Null")
        process.post("INSERT INTO t FORMAT CSV\nwarm\n")
        yield process
    finally:
        if process.popen.poll() is None:
            process.end()


# Packing half a gigabyte takes seconds.
@cache
def bomb(encoding: str) -> bytes:
    encoder = compressor(encoding)
    return b"".join(encoder.feed(bytes(4 * MIB)) for _ in range(BOMB_BYTES // (4 * MIB))) + encoder.finish()


def blocks(method: int) -> bytes:
    if method == NONE:
        return BlockEncoder(method).feed(bytes(96 * MIB))
    return BlockEncoder(method).feed(bytes(4 * MIB)) * (BOMB_BYTES // (4 * MIB))


@cache
def compressed_blocks() -> bytes:
    encoder = compressor("gzip")
    block = BlockEncoder().feed(bytes(4 * MIB))
    return b"".join(encoder.feed(block) for _ in range(BOMB_BYTES // (4 * MIB))) + encoder.finish()


def made(name: str) -> tuple[bytes, dict[str, str], dict[str, str]]:
    """A bomb with its headers and its address's parameters."""
    if name in METHODS:
        return blocks(METHODS[name]), {}, {"decompress": "1"}
    if name == "blocks in gzip":
        return compressed_blocks(), {"Content-Encoding": "gzip"}, {"decompress": "1"}
    return bomb(name), {"Content-Encoding": name}, {}


METHODS = {"block lz4": LZ4, "block zstd": ZSTD, "block none": NONE}


class Peak:
    """The most memory that a process had since this was made; from the kernel, so that no peak is missed."""

    def __init__(self, process: Process) -> None:
        self._status = f"/proc/{process.popen.pid}/status"
        with open(f"/proc/{process.popen.pid}/clear_refs", "w") as file:
            file.write("5")
        self._before: int = psutil.Process(process.popen.pid).memory_info().rss

    def growth(self) -> int:
        with open(self._status) as file:
            line = next(line for line in file if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 - self._before


@pytest.mark.parametrize("name", [*ENCODINGS, *METHODS, "blocks in gzip"])
@pytest.mark.parametrize(
    ("user", "query"),
    [
        ("default", ""),
        pytest.param("default", "INSERT INTO t FORMAT RowBinary", marks=pytest.mark.long),
        pytest.param("analyst", "", marks=pytest.mark.long),
        ("analyst", "INSERT INTO t FORMAT CSV"),
    ],
)
def test_a_bomb_is_refused_within_bounds(server: Process, name: str, user: str, query: str) -> None:
    body, headers, params = made(name)
    peak = Peak(server)
    password = PASSWORD if user == "default" else ANALYST_PASSWORD
    reply = server.http.post(
        server.url, content=body, headers=headers, params={**params, "query": query}, auth=(user, password)
    )
    assert (reply.status_code, reply.headers["X-ClickHouse-Exception-Code"]) == (413, "229"), reply.text
    assert peak.growth() < GROWTH_BYTES
    assert server.post("SELECT 1").text == "1\n"


def test_a_long_form_and_many_fields(server: Process) -> None:
    peak = Peak(server)
    auth = ("default", PASSWORD)
    long = server.http.post(server.url, files={"query": (None, b"SELECT 1 " + b" " * (150 * MIB))}, auth=auth)
    assert (long.status_code, long.headers["X-ClickHouse-Exception-Code"]) == (413, "229")
    many = server.http.post(server.url, files={f"param_{n}": (None, "1") for n in range(2000)}, auth=auth)
    assert (many.status_code, many.headers["X-ClickHouse-Exception-Code"]) == (400, "36")
    address = server.http.post(server.url, params={f"param_{n}": "1" for n in range(2000)}, auth=auth)
    assert (address.status_code, address.headers["X-ClickHouse-Exception-Code"]) == (400, "36")
    assert peak.growth() < GROWTH_BYTES
    encoded = server.http.post(server.url, data={"query": "x" * (8 * MIB)}, auth=auth)
    assert (encoded.status_code, encoded.headers["X-ClickHouse-Exception-Code"]) == (413, "229")
    for content_type in ("multipart/form-data", "multipart/form-data; boundary=x"):
        broken = server.post(b"no form", headers={"Content-Type": content_type})
        assert (broken.status_code, broken.headers["X-ClickHouse-Exception-Code"]) == (400, "36")


def test_headers_and_address_are_bounded(server: Process) -> None:
    auth = ("default", PASSWORD)
    many = server.http.post(server.url, content="SELECT 1", headers={f"x-{n}": "1" for n in range(300)}, auth=auth)
    assert many.headers["X-ClickHouse-Exception-Code"] == "36"
    long = server.http.post(server.url, content="SELECT 1", headers={"x": "y" * 200_000}, auth=auth)
    assert long.headers["X-ClickHouse-Exception-Code"] == "36"
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("POST", f"/?password={PASSWORD}&query=SELECT+'" + "y" * (2 * MIB))
    address = connection.getresponse()
    # No address past 64 KiB comes through the parser; the server says so before it reads on.
    assert address.status == 414
    connection.close()
    for far in ({f"x-{n}": "1" for n in range(1_100)}, {"x": "y" * 300_000}):
        assert server.http.post(server.url, content="SELECT 1", headers=far, auth=auth).status_code == 431


def test_a_large_insert_waits_on_disk(server: Process) -> None:
    server.post("CREATE TABLE rows_on_disk (a UInt64) ENGINE = MergeTree ORDER BY a")
    peak = Peak(server)
    body = b"12345678\n" * (60 * MIB // 9)
    for params in ({"query": "INSERT INTO rows_on_disk FORMAT TSV"}, {}):
        content = body if params else b"INSERT INTO rows_on_disk FORMAT TSV\n" + body
        reply = server.http.post(server.url, content=content, params=params, auth=("default", PASSWORD))
        assert reply.status_code == 200, reply.text
    assert server.post("SELECT count() FROM rows_on_disk").text == f"{2 * (60 * MIB // 9)}\n"
    assert peak.growth() < 400 * MIB


def test_a_statement_of_4_mib_is_read_and_a_longer_one_is_not(server: Process) -> None:
    values = ",".join(f"{n:07d}" for n in range(500_000))
    assert server.post(f"SELECT length([{values}])", max_query_size="5000000").text == "500000\n"
    longer = server.post(f"SELECT length([{values}, {values[: MIB // 8 * 8 - 1]}])", max_query_size="50000000")
    assert (longer.status_code, longer.headers["X-ClickHouse-Exception-Code"]) == (413, "229")
    body = httpx.post(server.url, content=f"SELECT '{'x' * 100}", auth=("default", PASSWORD))
    assert body.headers["X-ClickHouse-Exception-Code"] == "62"


@pytest.mark.long
def test_a_half_sent_body_is_cut_off(server: Process) -> None:
    head = (
        "POST / HTTP/1.1\r\nHost: x\r\nX-ClickHouse-User: default\r\n"
        f"X-ClickHouse-Key: {PASSWORD}\r\nContent-Length: 1000\r\n\r\nSELECT"
    )
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(head.encode())
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert b"x-clickhouse-exception-code: 209" in answer.lower()
    assert time.monotonic() - began < 45
