"""The pages over the fakes of the query API at an address, and answers made up for a browser's reads."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import uvicorn
from playwright.sync_api import Route

from services.query_api.admin.letters import LetterTopics
from tests.support.query_api import fake_api
from tests.support.waiting import wait_until

SCRIPT = "</pre><script>window.hacked=1</script><img src=x onerror=window.hacked=1>"


@contextmanager
def serving(topics: LetterTopics | None = None) -> Iterator[str]:
    """The query API over fakes; its origin."""
    app = (fake_api() if topics is None else fake_api(letters=topics)).app
    assert app is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="error"))
        free.listen()
        thread = threading.Thread(target=server.run, args=([free],), daemon=True)
        thread.start()
        wait_until(lambda: server.started, 20, lambda: "the server started")
        try:
            yield f"http://127.0.0.1:{free.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)


# A channel and a post that nothing is known of yet.
NEXT_POLL_AT = "in 12 minutes from when the page asks"
METRICS = ("followers", "following", "posts_count", "reach", "profile_views", "engagements", "likes", "views")
UNPOLLED = {
    "captured_at": None,
    "next_poll_at": NEXT_POLL_AT,
    "metrics": dict.fromkeys(METRICS),
    "reasons": dict.fromkeys(METRICS, "pending"),
}
CHANNEL: dict[str, Any] = {
    "id": "c1",
    "platform": "x",
    "username": SCRIPT,
    "status": "active",
    "periods": [],
    **UNPOLLED,
}
TARGET: dict[str, Any] = {
    "id": "t1",
    "channel_id": "c1",
    "platform": "x",
    "content": SCRIPT,
    "permalink": "javascript:window.hacked=1",
}
POST: dict[str, Any] = {
    "id": "p1",
    "status": "published",
    "published_at": NEXT_POLL_AT,
    "targets": [{**TARGET, **UNPOLLED}],
    **UNPOLLED,
}
EVENTS = [
    {"type": "account.recovered", "occurred_at": "2026-06-02T10:00:00Z", "reason": None},
    {"type": "account.token_expired", "occurred_at": "2026-06-01T09:00:00Z", "reason": "token_revoked"},
]
NONE = {"value": None, "previous": None, "change": None}


POINTS = {"points": [{"start": "2026-06-01T00:00:00Z", "end": "2026-06-02T00:00:00Z"}]}


@dataclass
class Answers:
    """Answers reads of the pages; a path without an answer of its own has that of a workspace before its first poll.

    Attributes:
        bodies: by path below `/tidemark/v1/` or `/admin/v1/`: JSON, text as it is, a problem's status, or a
            function of the route that makes one of these.
        held: paths whose requests wait, with the requests.
        asked: the addresses of all requests, oldest first.
    """

    bodies: dict[str, Any] = field(default_factory=dict)
    held: dict[str, list[Route]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def __call__(self, route: Route) -> None:
        self.asked.append(route.request.url)
        path = route.request.url.partition("/v1/")[2].partition("?")[0]
        if path in self.held:
            self.held[path].append(route)
        else:
            self.answer(route)

    def answer(self, route: Route) -> None:
        """Answer a request now."""
        path = route.request.url.partition("/v1/")[2].partition("?")[0]
        body = self.bodies.get(path, 503 if path == "stream" else _unpolled(path))
        if callable(body):
            body = body(route)
        if isinstance(body, int):
            problem = {"type": "about:blank", "title": "x", "status": body, "code": "c", "message": "Not now."}
            route.fulfill(status=body, body=json.dumps(problem), content_type="application/problem+json")
            return
        next_poll_at = (datetime.now(UTC) + timedelta(minutes=12)).isoformat()
        text = body if isinstance(body, str) else json.dumps(body)
        route.fulfill(body=text.replace(NEXT_POLL_AT, next_poll_at), content_type="application/json")

    def release(self, path: str) -> None:
        """Answer the requests of a path that wait, and let later ones pass."""
        for route in self.held.pop(path):
            self.answer(route)


def _unpolled(path: str) -> Any:
    found: dict[str, Any] = {
        "channels": {"data": [CHANNEL], "next_cursor": None},
        "channels/c1": CHANNEL,
        "channels/c1/events": {"data": EVENTS},
        "posts": {"data": [POST], "next_cursor": None},
        "posts/p1": POST,
        "top/posts": {"data": [], "next_cursor": None},
        "totals": {"metrics": dict.fromkeys(METRICS, NONE)},
    }
    windows = {"metrics": dict.fromkeys(METRICS), "sources": {}}
    return found.get(path, POINTS if path.endswith("series") else windows)


def unpolled(route: Route) -> None:
    """What the API answers of a workspace before its first poll."""
    Answers().answer(route)


def operators_figures(status: Any, accounts: Any) -> dict[tuple[str, str, str], Any]:
    """The figures that `/ops` shows of the status and the accounts, by kind and id of the row, and metric.

    Args:
        status, accounts: the admin API's answers, numbers in the API's own digits.
    """
    lag, engine = status["kafka"]["lag"], status["clickhouse"]
    known = {
        ("table", one["name"], key): one[key] for one in engine["tables"] for key in ("rows", "parts", "disk_bytes")
    }
    known |= {("lag", f"{one['topic']}/{one['partition']}", "lag"): one["lag"] for one in lag}
    known |= {("engine", "clickhouse", key): engine[key] for key in ("memory_bytes", "free_bytes")}
    behind = added(one["lag"] for one in lag) or "0"
    waits = [one["waits_seconds"] for one in lag if int(one["lag"]) and one["waits_seconds"] is not None]
    longest = max(waits, key=Decimal, default=None)
    known |= {
        ("flow", "lag", "lag"): behind,
        ("flow", "waits", "waits_seconds"): longest,
        ("verdict", "first", "lag"): behind,
        ("verdict", "first", "waits_seconds"): longest,
        ("verdict", "first", "free_bytes"): engine["free_bytes"],
        ("verdict", "first", "waiting"): accounts["waiting"],
        ("accounts", "all", "waiting"): accounts["waiting"],
        ("accounts", "all", "workspaces"): accounts["workspaces"],
    }
    known |= {("accounts", "all", f"by_status.{name}"): count for name, count in accounts["by_status"].items()}
    for rate in ("calls", "events", "rows", "rollups", "requests"):
        key = f"{rate}_per_second"
        told = [held[key] for held in status["services"].values() if held.get(key) is not None]
        known["flow", key, key] = added(told)
    slowest = [
        held["event_latency_seconds"]["p99"] for held in status["services"].values() if "event_latency_seconds" in held
    ]
    known["flow", "latency", "event_latency_seconds.p99"] = (
        None if None in slowest else max(slowest, key=Decimal, default=None)
    )
    for service, held in status["services"].items():
        known["service", service, "memory_bytes"] = held.get("memory_bytes")
        for name, value in held.items():
            if isinstance(value, dict) and "p50" in value:
                known |= {("service", service, f"{name}.{part}"): bound for part, bound in value.items()}
        for one in held.get("refused_shapes", []):
            known["refused", f"{one['platform']}/{one['shape']}/{one['outcome']}", "channels"] = one["channels"]
        for platform, one in held.get("platforms", {}).items():
            # A platform without a budget has no figure of what is left.
            known |= {("money", platform, key): None for key in ("money_left_usd", "spending_forecast_usd")}
            for key, value in one.items():
                parts = value.items() if isinstance(value, dict) else ()
                known |= {("platform", platform, f"{key}.{part}"): count for part, count in parts}
                known |= {("platform", platform, key): value, ("money", platform, key): value}
            spent = one.get("spent_usd_by_workspace", {})
            known |= {("spent", workspace, "spent_usd"): value for workspace, value in spent.items()}
    return known


def added(figures: Iterable[str]) -> str | None:
    """The exact sum of figures, in digits; None of none."""
    told = [Decimal(text) for text in figures]
    return str(sum(told, Decimal(0))) if told else None
