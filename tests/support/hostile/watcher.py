"""Watches one `tidemark up` from outside: pids, memory, and whether the query API still answers."""

from __future__ import annotations

import threading
import time

import httpx
import psutil

from tests.support.tidemark import Tidemark

EVERY_SECONDS = 0.5


class Watcher:
    """Looks twice a second, as long as the context lasts.

    Attributes:
        peaks: greatest resident bytes of each service, its children included.
        cpu_seconds: processor time of each service since the watcher began, its children included.
        changes: pids that were replaced, or processes that are gone.
        health_seconds: how long `/healthz` of the query API took.
    """

    def __init__(self, tidemark: Tidemark) -> None:
        self._tidemark = tidemark
        self._pids: dict[str, int] = dict(tidemark.ready["pids"])
        self._services = {name: psutil.Process(pid) for name, pid in self._pids.items()}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._watch, self._ask)]
        self.peaks: dict[str, int] = {}
        self.cpu_seconds: dict[str, float] = {}
        self._cpu_before: dict[int, float] = {}
        self.changes: list[str] = []
        self.health_seconds: list[float] = []
        self.health_failures: list[str] = []

    def __enter__(self) -> Watcher:
        self._look()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)
        self._compare()

    def _watch(self) -> None:
        while not self._stop.wait(EVERY_SECONDS):
            self._compare()
            self._look()

    def _look(self) -> None:
        for name, process in self._services.items():
            try:
                family = [process, *process.children(recursive=True)]
                size = sum(each.memory_info().rss for each in family)
                used = sum(sum(each.cpu_times()[:2]) for each in family)
            except psutil.Error:
                continue  # gone: the pids tell
            self.peaks[name] = max(self.peaks.get(name, 0), size)
            self.cpu_seconds[name] = used - self._cpu_before.setdefault(process.pid, used)

    def _compare(self) -> None:
        pids = self._tidemark.ready["pids"]
        for name, pid in self._pids.items():
            if pids.get(name) != pid:
                self.changes.append(f"{name} was started anew")
                self._pids[name] = pids.get(name, pid)
                try:
                    self._services[name] = psutil.Process(self._pids[name])
                except psutil.Error:
                    continue

    def _ask(self) -> None:
        with httpx.Client(base_url=self._tidemark.ready["query_api"], timeout=10, trust_env=False) as client:
            while not self._stop.wait(EVERY_SECONDS):
                asked_at = time.monotonic()
                try:
                    reply = client.get("/healthz")
                    if not reply.is_success:
                        self.health_failures.append(str(reply.status_code))
                except httpx.HTTPError as error:
                    self.health_failures.append(type(error).__name__)
                self.health_seconds.append(time.monotonic() - asked_at)
