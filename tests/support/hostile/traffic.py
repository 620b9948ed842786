"""The tenants' traffic: a well-behaved producer and reader a tenant, and what the readers saw."""

from __future__ import annotations

import itertools
import random
import re
import secrets
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx

from infra.sandbox.ids import make_id
from tests.support.hostile.scenario import TOKEN_MARK
from tests.support.hostile.tenants import CountingTenant, RandomTenant, Read, Tenant
from tests.support.tidemark import RawPublisher, Tidemark
from tests.support.waiting import wait_until

EVENTS_PER_SECOND = 4
READS_PER_SECOND = 6
POLLED_ACCOUNT = "did:plc:sandboxsandboxsandboxsan"
MOST_NOTES = 20
SETTLED_SECONDS = 20.0
_ID = re.compile(r"(posts?/|items/|targets/|channels/|_id=)[^/?&]+")


@dataclass
class Seen:
    """What the readers saw in a span of time.

    Attributes:
        took: seconds of each read.
        took_by_kind: the same, by product and path, with ids left out.
        late: seconds by which each judged figure was late.
        wrong: figures of no state, the first ones.
        failed: wrong statuses and failed requests, by product and kind.
    """

    took: list[float] = field(default_factory=list)
    took_by_kind: dict[str, list[float]] = field(default_factory=dict)
    late: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    published: int = 0


def quantile(values: list[float], share: float) -> float:
    """The value below which a share lies; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


class Traffic:
    """Events and reads of all tenants, as long as the context lasts.

    Args:
        seed: of the tenants and of the order of reads.
    """

    def __init__(self, tidemark: Tidemark, seed: int) -> None:
        self._tidemark = tidemark
        self._seed = seed
        name, now = f"tenant-{seed}-{secrets.token_hex(2)}", int(time.time() * 1000) // 1000 * 1000
        self.random_tenants = [RandomTenant(f"{name}-r{number}", seed + number, now) for number in range(2)]
        self.counting_tenants = [CountingTenant(f"{name}-c{number}") for number in range(2)]
        self._tenants: list[Tenant] = [*self.random_tenants, *self.counting_tenants]
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._keys: dict[str, str] = {}
        self._client = httpx.Client(timeout=10, trust_env=False)
        self.seen = Seen()

    @property
    def workspaces(self) -> list[str]:
        """Their names."""
        return [tenant.workspace for tenant in self._tenants]

    def register(self) -> None:
        """Write the catalogs and make the keys; one channel is polled in the sandbox, with a canary for a token."""
        for random_tenant in self.random_tenants:
            for kind, thing, body in random_tenant.writes():
                path = f"/admin/v1/workspaces/{random_tenant.workspace}/{kind}/{thing}"
                reply = self._tidemark.admin("DELETE" if body is None else "PUT", path, body)
                assert reply.is_success or (body is None and reply.status_code == 404), reply.text
        published_at = datetime.fromtimestamp(time.time() - 3600, UTC).isoformat()
        for counting in self.counting_tenants:
            for platform, account in counting.ACCOUNTS.items():
                channel, target = f"c-{platform}", {"target_id": f"t-{platform}", "channel_id": f"c-{platform}"}
                self._tidemark.put_channel(
                    counting.workspace, channel, platform=platform, external_id=account, status="disabled",
                )  # fmt: skip
                entry = {**target, "status": "published", "external_id": f"{platform}-1"}
                self._tidemark.put_post(counting.workspace, f"p-{platform}", [entry], published_at=published_at)
            token = f"sandbox-{TOKEN_MARK}{secrets.token_hex(6)}"
            self._tidemark.put_channel(
                counting.workspace, "polled", external_id=POLLED_ACCOUNT, access_token=token, username="polled"
            )
            external_id = make_id("bluesky", (int(time.time()) - 3600) * 1000, 1, account=POLLED_ACCOUNT)
            target = {"target_id": "t-polled", "channel_id": "polled", "external_id": external_id}
            self._tidemark.put_post(
                counting.workspace, "p-polled", [{**target, "status": "published"}], published_at=published_at
            )
        for workspace in self.workspaces:
            body = {"scopes": ["analytics:read"], "style": "tidemark"}
            made = self._tidemark.admin("POST", f"/admin/v1/workspaces/{workspace}/keys", body).raise_for_status()
            self._keys[workspace] = made.json()["key"]
        # The catalog's events and raw events have no common order: reads are judged once both are there.
        for tenant in self._tenants:
            for read in tenant.reads():
                self._wait_for(tenant, read)

    def __enter__(self) -> Traffic:
        for number, tenant in enumerate(self._tenants):
            for work in (self._publish, self._read):
                thread = threading.Thread(target=work, args=(tenant, self._seed + number))
                self._threads.append(thread)
                thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def take(self) -> Seen:
        """What was seen since the last call."""
        with self._lock:
            taken, self.seen = self.seen, Seen()
        return taken

    def _wait_for(self, tenant: Tenant, read: Read) -> None:
        def is_there() -> bool:
            return self._get(tenant, read).status_code == read.status

        wait_until(is_there, 30, lambda: f"{read} of {tenant.workspace}: {self._get(tenant, read).text}")

    def stale_reads(self, tenant: Tenant) -> list[str]:
        """Reads that do not come to show the newest state; asked once no event is on its way."""
        waiting = [read for read in tenant.reads() if read.shown is not None]
        deadline = time.monotonic() + SETTLED_SECONDS
        wrong = dict.fromkeys(waiting, "nothing: never asked")
        while waiting and time.monotonic() < deadline:
            for read in list(waiting):
                if time.monotonic() >= deadline:
                    break
                if shown := self._shown_wrongly(tenant, read):
                    wrong[read] = shown
                else:
                    waiting.remove(read)
        return [f"{tenant.workspace} {read.path} shows in the end {wrong[read]}" for read in waiting]

    def _shown_wrongly(self, tenant: Tenant, read: Read) -> str | None:
        assert read.shown is not None
        assert read.expected is not None
        wanted = read.expected(tenant.history.newest)
        try:
            reply = self._get(tenant, read)
        except httpx.HTTPError as error:
            return repr(error)
        shown = read.shown(reply.json()) if reply.is_success else reply.status_code
        return None if shown == wanted else f"{shown}; expected {wanted}"

    def _headers(self, tenant: Tenant) -> dict[str, str]:
        # PowerPost's header, which the others pass over.
        return {"Authorization": f"Bearer {self._keys[tenant.workspace]}", "X-Workspace-Id": tenant.workspace}

    def _get(self, tenant: Tenant, read: Read) -> httpx.Response:
        return self._client.get(self._tidemark.ready["query_api"] + read.path, headers=self._headers(tenant))

    def _publish(self, tenant: Tenant, _: int) -> None:
        publisher = RawPublisher(self._tidemark.ready)
        while not self._stop.wait(1 / EVENTS_PER_SECOND):
            publisher.publish(tenant.answer())
            with self._lock:
                self.seen.published += 1
        publisher.flush()

    def _read(self, tenant: Tenant, seed: int) -> None:
        chance = random.Random(seed)
        reads = tenant.reads()
        headers = self._headers(tenant)
        origin = self._tidemark.ready["query_api"]
        with httpx.Client(base_url=origin, headers=headers, timeout=10, trust_env=False) as client:
            for _ in itertools.count():
                if self._stop.wait(chance.expovariate(READS_PER_SECOND)):
                    return
                read = chance.choice(reads)
                asked_at = time.monotonic()
                try:
                    reply = client.get(read.path)
                except httpx.HTTPError as error:
                    self._note(tenant, read, time.monotonic() - asked_at, failed=type(error).__name__)
                    continue
                took = time.monotonic() - asked_at
                if reply.status_code != read.status:
                    self._note(tenant, read, took, failed=f"answered {reply.status_code}")
                elif read.shown is None or read.expected is None:
                    self._note(tenant, read, took)
                else:
                    shown = read.shown(reply.json())
                    late = tenant.history.lateness(asked_at, shown, read.expected)
                    wrong = (
                        None if late is not None else f"{shown} was never so; {read.expected(tenant.history.newest)}"
                    )
                    self._note(tenant, read, took, wrong=wrong, late=late)

    def _note(
        self,
        tenant: Tenant,
        read: Read,
        took: float,
        *,
        failed: str | None = None,
        wrong: str | None = None,
        late: float | None = None,
    ) -> None:
        kind = f"{read.product} " + _ID.sub(r"\1{id}", read.path)
        with self._lock:
            self.seen.took.append(took)
            self.seen.took_by_kind.setdefault(kind, []).append(took)
            if late is not None:
                self.seen.late.append(late)
            if wrong is not None and len(self.seen.wrong) < MOST_NOTES:
                self.seen.wrong.append(f"{tenant.workspace} {read.path}: {wrong}")
            if failed is not None:
                self.seen.failed[f"{read.product}: {failed}"] += 1
