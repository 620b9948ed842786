"""The example that mirrors a workspace into SQLite: whole pages or nothing, resumed, begun again where it has to be."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from examples.mirror_sqlite import main, place
from examples.mirror_sqlite import mirror as mirror_with_clock
from services.query_api.tidemark.changes.models import ACCOUNT_CHANGE, POST_CHANGE
from tests.unit.tidemark_client.test_client import Wire, problem
from tidemark_client import Tidemark, TidemarkError

EVENT_AT = datetime.fromisoformat(ACCOUNT_CHANGE["captured_at"])


def mirror(tidemark: Tidemark, database: sqlite3.Connection, *, follows: bool, days: int = 1) -> None:
    mirror_with_clock(tidemark, database, follows=follows, clock=lambda: EVENT_AT + timedelta(days=days))


def page(cursor: str, *changes: Any, has_more: bool = False) -> httpx.Response:
    return httpx.Response(200, json={"changes": list(changes), "next_cursor": cursor, "has_more": has_more})


def gone(change: Any) -> Any:
    return {**change, "deleted": True, "captured_at": None, "data": None}


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    made = sqlite3.connect(":memory:")
    yield made
    made.close()


def held(database: sqlite3.Connection) -> dict[tuple[str, str], Any]:
    rows = database.execute("SELECT type, id, data FROM things")
    return {(kind, id_): json.loads(data) for kind, id_, data in rows}


def test_the_mirror_holds_what_the_changes_say_and_resumes(database: sqlite3.Connection) -> None:
    replies = iter([page("c1", POST_CHANGE, has_more=True), page("c2", ACCOUNT_CHANGE)])
    wire = Wire(lambda _: next(replies))
    mirror(wire.client(), database, follows=False)
    post, account = (("post", POST_CHANGE["id"]), ("account", ACCOUNT_CHANGE["id"]))
    assert held(database) == {post: POST_CHANGE["data"], account: ACCOUNT_CHANGE["data"]}
    assert place(database) == "c2"
    wire = Wire(lambda _: page("c3", gone(POST_CHANGE)))
    mirror(wire.client(), database, follows=False)
    assert wire.requests[0].url.params["cursor"] == "c2"
    assert set(held(database)) == {account}


def test_an_old_account_event_is_let_go_of_and_the_newest_cursor_kept(database: sqlite3.Connection) -> None:
    mirror(Wire(lambda _: page("c1", POST_CHANGE, ACCOUNT_CHANGE)).client(), database, follows=False)
    mirror(Wire(lambda _: page("c2")).client(), database, follows=False, days=30)
    assert {kind for kind, _ in held(database)} == {"post", "account"}
    mirror(Wire(lambda _: page("c3")).client(), database, follows=False, days=31)
    assert {kind for kind, _ in held(database)} == {"post"}
    assert place(database) == "c3"


def test_a_page_is_applied_whole_or_not_at_all(database: sqlite3.Connection) -> None:
    mirror(Wire(lambda _: page("c1", POST_CHANGE)).client(), database, follows=False)
    database.execute("CREATE TRIGGER full BEFORE INSERT ON place BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    with pytest.raises(sqlite3.IntegrityError):
        mirror(Wire(lambda _: page("c2", gone(POST_CHANGE))).client(), database, follows=False)
    assert place(database) == "c1"
    assert set(held(database)) == {("post", POST_CHANGE["id"])}


def test_an_expired_cursor_begins_again_with_an_empty_mirror(database: sqlite3.Connection) -> None:
    mirror(Wire(lambda _: page("c1", POST_CHANGE)).client(), database, follows=False)

    def answer(request: httpx.Request) -> httpx.Response:
        return problem(410, "cursor_expired") if "cursor" in request.url.params else page("c9", ACCOUNT_CHANGE)

    mirror(Wire(answer).client(), database, follows=False)
    assert set(held(database)) == {("account", ACCOUNT_CHANGE["id"])}
    with pytest.raises(TidemarkError, match="unauthorized"):
        mirror(Wire(lambda _: problem(401, "unauthorized")).client(), database, follows=False)


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIDEMARK_API_KEY", raising=False)
    with pytest.raises(SystemExit):
        main(["http://127.0.0.1:1", "mirror.sqlite"])
