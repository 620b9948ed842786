"""A tenant that hoards: with its own key it asks for all that is large, many times at once, and reads little of it."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Iterator

import httpx

from tests.support.hostile.scenario import HOARDER_ADDRESS, Scenario, Tally
from tests.support.hostile.strangers import connect

UNREAD_MOST = 24
HELD_SECONDS = 12.0
READERS = 4
POSTS = 200


class Hoarders:
    """Unread answers, and a few readers that read everything as fast as they can.

    Args:
        tally: counts requests and answers.
    """

    def __init__(self, scenario: Scenario, tally: Tally) -> None:
        self._scenario = scenario
        self._tally = tally
        self._lock = threading.Lock()
        self._port = httpx.URL(scenario.ready["query_api"]).port or 80
        self._held: list[tuple[float, socket.socket]] = []

    def run(self) -> None:
        """Until the scenario's time is up."""
        end = time.monotonic() + self._scenario.seconds
        readers = [threading.Thread(target=self._read, args=(number, end)) for number in range(READERS)]
        for reader in readers:
            reader.start()
        kinds = self._in_turn(self._scenario.seed + 2)
        while (now := time.monotonic()) < end:
            for started, connection in [held for held in self._held if held[0] < now - HELD_SECONDS]:
                connection.close()
                self._held.remove((started, connection))
            if len(self._held) < UNREAD_MOST * self._scenario.strength:
                self._leave_unread(*next(kinds))
            time.sleep(0.2)
        for _, connection in self._held:
            connection.close()
        for reader in readers:
            reader.join(40)

    def _in_turn(self, seed: int) -> Iterator[tuple[str, str, str, bytes]]:
        """Every kind of request once, then every kind again, each time in another order."""
        chance = random.Random(seed)
        while True:
            kinds = self._unread()
            yield from chance.sample(kinds, len(kinds))

    def _unread(self) -> list[tuple[str, str, str, bytes]]:
        own, ids = "/tidemark/v1", [f"hp{number}" for number in range(POSTS)]
        ranged = "/api/v1/social-accounts/h1/metrics?since=2020-01-01&until=2035-01-01"
        found = [
            (f"export {name}.{form}", "GET", f"{own}/exports/{name}?format={form}", b"")
            for name in ("posts", "targets", "post-snapshots", "channel-snapshots")
            for form in ("csv", "ndjson", "parquet", "arrow")
        ]
        found += [
            ("ranged account", "GET", ranged, b""),
            ("bulk read", "POST", f"{own}/posts/query", json.dumps({"ids": ids}).encode()),
            ("rows", "GET", "/v1/analytics?days=365&integration_id=h1", b""),
            ("page", "GET", f"{own}/posts?limit=500", b""),
            ("raw", "GET", f"{own}/targets/ht1/explain?metric=likes", b""),
        ]
        return found

    def _leave_unread(self, what: str, method: str, path: str, body: bytes) -> None:
        """Ask and read nothing; a small window, so that the answer waits at the server."""
        try:
            connection = connect(self._port, HOARDER_ADDRESS)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {self._scenario.hoarder_key}\r\n"
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
        except OSError as error:
            self._note(f"unread {what}", f"no connection: {type(error).__name__}")
            return
        self._held.append((time.monotonic(), connection))
        self._note(f"unread {what}", "held")

    def _read(self, number: int, end: float) -> None:
        """Read whole answers, one after the other."""
        kinds = self._in_turn(self._scenario.seed + 10 + number)
        headers = {"Authorization": f"Bearer {self._scenario.hoarder_key}"}
        while time.monotonic() < end:
            what, method, path, body = next(kinds)
            try:
                # Without `verify` each call would read the authorities' certificates, for an address that has none.
                reply = httpx.request(
                    method, self._scenario.ready["query_api"] + path, content=body, headers=headers, timeout=20,
                    trust_env=False, verify=False,
                )  # fmt: skip
                self._note(f"read {what}", reply.status_code)
                with self._lock:
                    self._tally.look_into(reply.content, path)
            except httpx.HTTPError as error:
                self._note(f"read {what}", type(error).__name__)
            time.sleep(0.5 / self._scenario.strength)

    def _note(self, what: str, answer: object) -> None:
        with self._lock:
            self._tally.note(what, answer)
