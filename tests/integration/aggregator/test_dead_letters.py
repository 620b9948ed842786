"""Dead letters found, shown, sent again after a fix; and the limit past which a worker stops."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import httpx
import orjson
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner, Result

from schemas.events import CatalogTarget
from services.cli import app
from services.runtime.kafka import partition_of
from tests.integration.aggregator.conftest import make_backend
from tests.support.backend import PARTITIONS, Backend, bluesky_event, now_ms
from tests.support.engines import Engines
from tests.support.waiting import wait_until

RAW = "platform.raw"
HOUR = 3_600_000
FUTURE = 5 * 60_000


def _command(backend: Backend, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["dead-letters", *arguments], env=backend.environment)


def _listed(backend: Backend, *arguments: str) -> list[dict[str, Any]]:
    answer = _command(backend, "list", "--json", *arguments)
    assert answer.exit_code == 0, answer.stderr
    return [orjson.loads(line) for line in answer.stdout.splitlines()]


def _wait_listed(backend: Backend, count: int, *arguments: str) -> list[dict[str, Any]]:
    return (
        wait_until(
            lambda: found if len(found := _listed(backend, *arguments)) >= count else None,
            30,
            lambda: f"{count} dead letters; {backend.log_tail()}",
        )
        or []
    )


def _likes(backend: Backend, workspace: str) -> int | None:
    rows = backend.rows("SELECT likes FROM post_totals WHERE workspace_id = {w:String}", {"w": workspace})
    return rows[0]["likes"] if rows else None


def _catalog(backend: Backend, workspace: str) -> None:
    backend.put_channel(workspace, "c1", "bluesky")
    backend.put_post(workspace, "p1", [CatalogTarget("t1", "c1")], published_at=now_ms() - HOUR)


def _early(backend: Backend, workspace: str, *likes: int) -> None:
    """Answers of a poller whose clock is a little too far ahead: good ones, once that time has come."""
    at = now_ms() + FUTURE + 4_000
    for number, count in enumerate(likes):
        event = bluesky_event(workspace, "c1", f"e{number}", {"t1": {"likeCount": count}}, captured_at=at + number)
        backend.publish_raw(event)
    backend.flush()


def test_letters_are_listed_by_reason_workspace_and_time(backend: Backend, workspace: str) -> None:
    backend.publish_raw(bluesky_event(workspace, "c1", "html", {"t1": {}}, body=b"<html>access_token=abc123</html>"))
    backend.publish("platform.raw", workspace.encode(), workspace, b"not avro")
    _early(backend, workspace, 1)
    found = _wait_listed(backend, 2, "--workspace", workspace)
    assert {letter["reason"] for letter in found} == {"body_not_json", "captured_in_future"}
    assert all(letter["origin"].startswith(f"{backend.settings.topic('platform.raw')}/") for letter in found)
    (html,) = _listed(backend, "--workspace", workspace, "--reason", "body_not_json")
    assert _listed(backend, "--workspace", workspace, "--since", "1h") == found
    assert _listed(backend, "--workspace", workspace, "--since", "2100-01-01") == []
    assert len(_listed(backend, "--limit", "1")) == 1
    assert any(letter["reason"] == "malformed_event" for letter in _listed(backend))
    plain = _command(backend, "list", "--workspace", workspace)
    assert plain.stdout.count("\n") == 2
    shown = _command(backend, "show", html["origin"])
    assert shown.exit_code == 0, shown.stderr
    assert "abc123" not in shown.stdout
    letter = orjson.loads(shown.stdout)
    assert letter["reason"] == "body_not_json"
    assert letter["payload"]["event_id"] == "html"
    assert letter["payload"]["body"] == "<html>access_token=***</html>"


def test_bad_options_end_in_one_line(backend: Backend) -> None:
    for arguments, code in (
        (("show", "nonsense"), 2),
        (("show", "nowhere/0/1"), 1),
        (("list", "--since", "yesterday"), 2),
        (("redrive",), 2),
        (("redrive", "--reason", "a", "--every-reason"), 2),
    ):
        answer = _command(backend, *arguments)
        assert answer.exit_code == code, arguments
        assert answer.stderr.count("\n") == 1, answer.stderr


def test_a_redrive_brings_the_numbers_and_a_second_one_nothing(backend: Backend, workspace: str) -> None:
    _catalog(backend, workspace)
    _early(backend, workspace, 5, 6, 7)
    chosen = ("--reason", "captured_in_future", "--workspace", workspace)
    _wait_listed(backend, 3, *chosen)
    dry = _command(backend, "redrive", "--dry-run", *chosen)
    assert (dry.exit_code, dry.stdout) == (0, "captured_in_future\t3\n")
    assert _likes(backend, workspace) is None

    def redriven() -> bool:
        answer = _command(backend, "redrive", *chosen)
        assert answer.exit_code == 0, answer.stderr
        assert "sent 3 of 3 messages again: 3 as received" in answer.stderr
        return _likes(backend, workspace) == 7

    # Too early, they fail again: each of them is sent once all the same.
    wait_until(redriven, 60, lambda: f"the answers count; {_likes(backend, workspace)}; {backend.log_tail()}")
    redriven()
    snapshots = "SELECT count() AS n FROM post_snapshots WHERE workspace_id = {w:String}"
    wait_until(lambda: backend.rows(snapshots, {"w": workspace}) == [{"n": 3}], 20, backend.log_tail)
    assert _likes(backend, workspace) == 7
    letters = _listed(backend, *chosen)
    assert all(letter["redriven_at"] >= letter["failed_at"] for letter in letters)
    plain = _command(backend, "list", "--workspace", workspace).stdout.splitlines()
    assert len(plain) == len(letters)
    assert all("\tredriven 2" in line for line in plain)


def test_what_is_not_there_is_said(backend: Backend, workspace: str) -> None:
    empty = _command(backend, "list", "--workspace", workspace)
    assert (empty.exit_code, empty.stdout, empty.stderr) == (0, "", "there are no dead letters that match\n")
    _catalog(backend, workspace)
    _early(backend, workspace, 5)
    (letter,) = _wait_listed(backend, 1, "--workspace", workspace)
    assert letter["redriven_at"] is None
    wrong = _command(backend, "redrive", "--reason", "captured_in_futur", "--workspace", workspace)
    assert wrong.exit_code == 1
    assert wrong.stderr == "tidemark: no dead letter matches; there are: captured_in_future\n"


def test_a_redrive_takes_the_letter_where_the_message_is_gone(backend: Backend, workspace: str) -> None:
    _catalog(backend, workspace)
    _early(backend, workspace, 9)
    chosen = ("--reason", "captured_in_future", "--workspace", workspace)
    _wait_listed(backend, 1, *chosen)
    topic = backend.settings.topic("platform.raw")
    end = TopicPartition(topic, partition_of(workspace, PARTITIONS), -1)
    admin = AdminClient({"bootstrap.servers": backend.settings.kafka_bootstrap})
    for done in admin.delete_records([end]).values():
        done.result(20)

    def redriven() -> bool:
        answer = _command(backend, "redrive", *chosen)
        assert answer.exit_code == 0, answer.stderr
        assert "0 as received, 1 as kept" in answer.stderr
        return _likes(backend, workspace) == 9

    wait_until(redriven, 60, lambda: f"the answer counts; {backend.log_tail()}")


def _publish_bad(backend: Backend, workspace: str, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        backend.publish_raw(bluesky_event(workspace, "c1", f"{workspace}-{number}", {"t1": {}}, body=b"<html>"))
    backend.flush()


def _readiness(backend: Backend, name: str) -> str:
    return httpx.get(f"{backend.operations_url(name)}/readyz", trust_env=False).text


def _wait_for_rest(backend: Backend, query: str, seconds: float) -> int:
    """The number that a query gives, once it has been the same for so long."""
    seen, since = -1, time.monotonic()

    def is_at_rest() -> bool:
        nonlocal seen, since
        now: int = backend.rows(query)[0]["n"]
        if now != seen:
            seen, since = now, time.monotonic()
        return time.monotonic() - since >= seconds

    wait_until(is_at_rest, seconds + 30, lambda: f"{query} changes, now {seen}")
    return seen


# A worker that is stuck ends after ten seconds: at length, a pause is seen to be no reason.
@pytest.mark.parametrize("paused_seconds", [0.0, pytest.param(20.0, marks=pytest.mark.long)], ids=["short", "long"])
def test_the_limit_pauses_the_worker_once_several_workspaces_fail(
    engines: Engines, tmp_path_factory: pytest.TempPathFactory, paused_seconds: float
) -> None:
    for backend in make_backend(engines, tmp_path_factory):
        _check_the_limit(backend, paused_seconds)


def _check_the_limit(bare_backend: Backend, paused_seconds: float) -> None:
    names = ["alone", *(f"also-{number}" for number in range(8))]
    for name in names:
        bare_backend.put_channel(name, "c1", "bluesky")
    settings = {
        "TIDEMARK_DEAD_LETTER_LIMIT_MINIMUM_EVENTS": "60",
        "TIDEMARK_DEAD_LETTER_LIMIT_WINDOW_SECONDS": "600",
        "TIDEMARK_AGGREGATOR_STUCK_SECONDS": "10",
    }
    pid = bare_backend.start_aggregator("limited", settings)
    _publish_bad(bare_backend, "alone", 100)
    bare_backend.settle()
    # A producer of as many keys and workspaces as it likes is one.
    for number in range(300):
        ghost = f"ghost-{number}"
        bare_backend.publish(RAW, ghost.encode(), ghost, b"rubbish" * 100)
        _publish_bad(bare_backend, ghost, 1)
    bare_backend.settle(60)
    assert _readiness(bare_backend, "limited") == "ready\n"
    # As many events again, from eight more workspaces that there are: now it is not one producer's fault.
    for name in names[1:]:
        _publish_bad(bare_backend, name, 150)
    wait_until(
        lambda: "paused by the dead-letter limit" in _readiness(bare_backend, "limited"),
        60,
        lambda: bare_backend.log_tail("limited"),
    )
    metrics = httpx.get(f"{bare_backend.operations_url('limited')}/metrics", trust_env=False).text
    assert "tidemark_paused 1.0" in metrics
    events = "SELECT uniqExact(workspace_id, event_id) AS n FROM raw_events"
    # What was read before is still written; then it stays.
    held = _wait_for_rest(bare_backend, events, 2.0)
    assert held < 100 + 300 + 8 * 150, "the rest waits"
    assert _wait_for_rest(bare_backend, events, paused_seconds) == held
    assert bare_backend.pid("limited") == pid
    os.kill(pid, signal.SIGUSR1)
    bare_backend.settle(60)
    assert bare_backend.rows(events) == [{"n": 100 + 300 + 8 * 150}]
    assert _readiness(bare_backend, "limited") == "ready\n"
    assert bare_backend.pid("limited") == pid
    assert "Traceback" not in bare_backend.log_tail("limited", 10**6)
    bare_backend.kill_aggregator("limited", signal.SIGTERM)
