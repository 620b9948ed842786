"""Keeps a set of services running: ordered start, restart with backoff, clean stop, and no orphan whatever happens.

Comes in: `Service` descriptions. Goes out: running processes, their logs, and a call whenever a pid changes.
It knows nothing about the services' work. One supervisor runs in the main thread of its process; the ties that end its
children with it are made in `processes`. Source: docs/decisions/0002-own-supervisor.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Mapping, Sequence

from infra.embedded.disk import Disk
from infra.embedded.display import Display
from infra.embedded.errors import EmbeddedError, ServiceFailedError
from infra.embedded.logs import Logs
from infra.embedded.processes import Child, Watchdog
from infra.embedded.service import LONGEST_RESTART_SECONDS, Deaths, Readiness, Service, State, stop_order
from infra.embedded.strain import is_stopped, patience

POLL_SECONDS = 0.05
READINESS_PAUSE_SECONDS = 0.1
# All processes have ended this long after a stop was asked for: the contract allows 15 s.
STOP_DEADLINE_SECONDS = 13.0
LOG_CHECK_SECONDS = 5.0
PROBE_PAUSE_SECONDS = 2.0
PROBE_TIMEOUT_SECONDS = 5.0
# A service that has not answered for this long is shown to the operator.
SILENCE_TOLD_SECONDS = 5.0

PidsChanged = Callable[[Mapping[str, int]], None]


class Supervisor:
    """Runs services until a signal, or until one of them cannot be kept running.

    Args:
        on_ready: called once, when every service has been ready.
        on_pids: called with name -> pid of the running services when all are ready, and at each later change. Services
            that run once are left out.
        disk: the data folder's disk; deaths while this disk is full do not count.
    """

    def __init__(
        self,
        services: Sequence[Service],
        *,
        logs: Logs,
        display: Display,
        on_pids: PidsChanged,
        on_ready: Callable[[], None],
        disk: Disk | None = None,
    ) -> None:
        self._disk = disk
        self._are_pids_told = True
        self._services = list(services)
        self._stop_groups = stop_order(self._services)
        self._logs = logs
        self._display = display
        self._on_pids = on_pids
        self._on_ready = on_ready
        self._children: dict[str, Child] = {}
        self._ready = {service.name: asyncio.Event() for service in self._services}
        self._all_ready = False
        self._stopping = asyncio.Event()
        self._kill_now = False
        self._watchdog = Watchdog()

    async def run(self) -> None:
        """Start everything, keep it running, and return after a signal stopped it.

        Raises:
            ServiceFailedError: a service was given up; everything else was stopped first.
            EmbeddedError: a service's preparation failed; everything else was stopped first.
        """
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        for number in numbers:
            loop.add_signal_handler(number, self.request_stop)
        try:
            with self._watchdog:
                await self._run()
        finally:
            self._display.settle()
            for number in numbers:
                loop.remove_signal_handler(number)

    def request_stop(self) -> None:
        """Begin the clean stop; a second call kills at once."""
        if self._stopping.is_set():
            self._kill_now = True
        self._stopping.set()

    @property
    def pids(self) -> dict[str, int]:
        """Name -> pid of the services that run at this moment, without those that run once."""
        lasting = {service.name for service in self._services if not service.once}
        return {name: child.pid for name, child in self._children.items() if name in lasting}

    async def _run(self) -> None:
        tasks = [asyncio.create_task(self._supervise(service), name=service.name) for service in self._services]
        tasks.append(asyncio.create_task(self._announce_ready()))
        tasks.append(asyncio.create_task(self._tick()))
        stopping = asyncio.create_task(self._stopping.wait())
        waiting: set[asyncio.Task[object]] = {stopping, *tasks}
        failure: BaseException | None = None
        while not self._stopping.is_set() and failure is None:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            failure = next((error for task in done if (error := task.exception()) is not None), None)
        self._stopping.set()
        for task in [stopping, *tasks]:
            task.cancel()
        await asyncio.gather(stopping, *tasks, return_exceptions=True)
        self._display.settle()
        await self._stop_all()
        if failure is not None:
            raise failure

    async def _supervise(self, service: Service) -> None:
        for name in service.depends_on:
            await self._ready[name].wait()
        deaths = Deaths(allowed_before_ready=2 if service.once else 3)
        while True:
            if service.prepare is not None:
                self._display.show(service.name, State.STARTING, "(preparing)")
                try:
                    await asyncio.to_thread(service.prepare)
                except (EmbeddedError, OSError) as error:
                    if not self._is_excused:
                        raise
                    self._display.show(service.name, State.DOWN, f"({error}); again in {LONGEST_RESTART_SECONDS:g} s")
                    await asyncio.sleep(LONGEST_RESTART_SECONDS)
                    continue
            child, started_at = self._spawn(service), time.monotonic()
            end, ready_at = await self._until_ready(service, child), None
            if end is None:
                ready_at = time.monotonic()
                state = State.DONE if service.once else State.READY
                self._display.show(service.name, state, f"in {ready_at - started_at:.1f} s")
                self._ready[service.name].set()
                if service.once:
                    self._children.pop(service.name)
                    return
                end = await self._until_ended(service, child)
            self._children.pop(service.name, None)
            pause = deaths.record(
                ready_seconds=None if ready_at is None else time.monotonic() - ready_at,
                was_ever_ready=self._ready[service.name].is_set(),
                is_excused=self._is_excused,
            )
            self._logs.announce(service.name, f"{service.name} {end}")
            if pause is None:
                raise self._given_up(service, deaths.quick, end)
            self._display.show(service.name, State.DOWN, f"({end}); restarting in {pause:.1f} s")
            await asyncio.sleep(pause)

    def _spawn(self, service: Service) -> Child:
        self._logs.rotate(service.name)
        child = Child.spawn(
            service.argv,
            watchdog=self._watchdog,
            log=self._logs.path(service.name),
            environment=service.environment,
        )
        self._logs.announce(service.name, f"{service.name} started, pid {child.pid}")
        self._children[service.name] = child
        self._display.show(service.name, State.STARTING)
        if self._all_ready and not service.once:
            self._tell_pids()
        return child

    def _tell_pids(self) -> None:
        try:
            self._on_pids(self.pids)
        except OSError:
            # The pids could not be written, as on a full disk: the next tick tries again.
            self._are_pids_told = False
        else:
            self._are_pids_told = True

    @property
    def _is_excused(self) -> bool:
        return self._disk is not None and self._disk.excuses

    async def _until_ready(self, service: Service, child: Child) -> str | None:
        """Wait until the service is ready (or done) and return None; or until it is dead, and return how it ended."""
        started = time.monotonic()
        while time.monotonic() - started < (limit := service.start_timeout_seconds * patience()):
            if (code := child.poll()) is not None:
                return None if service.once and code == 0 else _describe_end(code)
            if service.ready is not None and not service.once:
                ready = asyncio.create_task(_ask(service.ready))
                dead = asyncio.create_task(self._until_dead(child))
                await asyncio.wait([ready, dead], return_when=asyncio.FIRST_COMPLETED)
                dead.cancel()
                if not ready.done():
                    ready.cancel()
                elif ready.result() and child.poll() is None:
                    return None
            elif not service.once:
                return None
            await asyncio.sleep(READINESS_PAUSE_SECONDS)
        await self._stop(service, child)
        return f"was not ready within {limit:.3g} s"

    async def _until_ended(self, service: Service, child: Child) -> str:
        """Wait for the end of a ready service, and kill the service when it stops answering; returns how it ended."""
        dead = asyncio.create_task(self._until_dead(child))
        silent = asyncio.create_task(self._until_silent(service, child))
        try:
            await asyncio.wait([dead, silent], return_when=asyncio.FIRST_COMPLETED)
            if dead.done():
                return _describe_end(dead.result())
            silence = silent.result()
            child.signal_group(signal.SIGKILL)
            await dead
            return f"did not answer for {silence:.0f} s and was killed"
        finally:
            dead.cancel()
            silent.cancel()

    async def _until_silent(self, service: Service, child: Child) -> float:
        """Return when a service has not answered for too long; the result is how many seconds it did not answer.

        On an overloaded machine the service has more time, unless a signal stopped its process.
        """
        if service.alive is None:
            await asyncio.Event().wait()
            return 0.0
        since: float | None = None
        is_told = False
        while True:
            await asyncio.sleep(min(PROBE_PAUSE_SECONDS, service.silent_seconds / 4))
            asked_at = time.monotonic()
            if await _answers(service.alive):
                since = None
                if is_told:
                    is_told = False
                    self._display.show(service.name, State.READY, "(answers again)")
                continue
            if self._disk is not None and self._disk.is_full:
                since = None  # starting the service anew would not help: the disk is full
                continue
            since = asked_at if since is None else since
            silence = time.monotonic() - since
            limit = service.silent_seconds * (1 if is_stopped(child.pid) else patience())
            if silence >= limit:
                return silence
            if not is_told and silence >= min(SILENCE_TOLD_SECONDS, service.silent_seconds / 2):
                is_told = True
                detail = f"(no answer for {silence:.0f} s; restarted after {limit:.0f} s)"
                self._display.show(service.name, State.SILENT, detail)

    async def _until_dead(self, child: Child) -> int:
        while (code := child.poll()) is None:  # noqa: ASYNC110 - the end of a process is not an asyncio event everywhere
            await asyncio.sleep(POLL_SECONDS)
        return code

    async def _announce_ready(self) -> None:
        for event in self._ready.values():
            await event.wait()
        self._all_ready = True
        self._display.settle()
        self._tell_pids()
        self._on_ready()

    async def _tick(self) -> None:
        checked_at = time.monotonic()
        while True:
            self._display.tick()
            await asyncio.sleep(4 * POLL_SECONDS)
            if self._disk is not None:
                self._disk.look()
            if not self._are_pids_told:
                self._tell_pids()
            if time.monotonic() - checked_at >= LOG_CHECK_SECONDS:
                checked_at = time.monotonic()
                for service in self._services:
                    self._logs.rotate(service.name)

    async def _stop_all(self) -> None:
        deadline = time.monotonic() + STOP_DEADLINE_SECONDS
        for group in self._stop_groups:
            running = [(service, self._children[service.name]) for service in group if service.name in self._children]
            await asyncio.gather(*(self._stop(service, child, deadline) for service, child in running))
            for service, _ in running:
                self._display.show(service.name, State.STOPPED)

    async def _stop(self, service: Service, child: Child, deadline: float = float("inf")) -> None:
        limit = min(time.monotonic() + service.stop_timeout_seconds, deadline)
        child.terminate()
        while child.poll() is None:
            if self._kill_now or time.monotonic() >= limit:
                self._logs.announce(service.name, f"{service.name} did not stop in time, killing it")
                child.signal_group(signal.SIGKILL)
                await self._until_dead(child)
            await asyncio.sleep(POLL_SECONDS)

    def _given_up(self, service: Service, quick_deaths: int, end: str) -> ServiceFailedError:
        last_line = self._logs.last_line(service.name)
        quoted = f' (its last line: "{last_line}")' if last_line else ""
        times = "once" if quick_deaths == 1 else f"{quick_deaths} times in a row"
        return ServiceFailedError(
            service.name,
            f"{service.name} {end}, {times}; everything is stopped: see {self._logs.path(service.name)}{quoted}",
        )


async def _ask(ready: Readiness) -> bool:
    return await ready()


async def _answers(alive: Readiness) -> bool:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
            return await alive()
    except TimeoutError:
        return False


def _describe_end(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"was killed by {signal.Signals(-code).name}"
    return f"exited with code {code}"
