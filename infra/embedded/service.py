"""The description of one supervised service, and the rules for restarting it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

Readiness = Callable[[], Awaitable[bool]]
"""Asked again and again; must answer within a few seconds, and return False, not raise, while the service starts."""

FIRST_RESTART_SECONDS = 0.2
LONGEST_RESTART_SECONDS = 5.0
STEADY_SECONDS = 10.0


class State(StrEnum):
    """Where a service is in its life."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    DONE = "done"
    DOWN = "down"
    SILENT = "silent"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Service:
    """A program to keep running, or to run once.

    Attributes:
        environment: its whole environment.
        ready: tells when the service's dependents may start. A service that runs once is ready with exit code 0.
        alive: asked all the time once the service is ready; a service that gives False for `silent_seconds` is killed
            and started anew. None: only the end of the process counts. On an overloaded machine `silent_seconds` and
            `start_timeout_seconds` are stretched.
        depends_on: names of services that must be ready (or done) before this service starts, and that stop after it.
        once: whether the service runs to completion; after exit code 0 it is not started again.
        prepare: blocking work before each start, such as formatting a folder; an `EmbeddedError` of it stops all
            services.
        stop_timeout_seconds: from SIGTERM to SIGKILL.
        start_timeout_seconds: from the start until `ready`; past it the start counts as a death.
    """

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    ready: Readiness | None = None
    depends_on: frozenset[str] = frozenset()
    once: bool = False
    prepare: Callable[[], None] | None = None
    stop_timeout_seconds: float = 5.0
    start_timeout_seconds: float = 120.0
    alive: Readiness | None = None
    silent_seconds: float = 30.0


@dataclass
class Deaths:
    """Counts a service's quick deaths in a row and computes when to start the service again.

    A death is quick unless the service had been ready for `STEADY_SECONDS`. A service that was never ready in this run
    is given up after few quick deaths, since its settings are probably wrong; a service that has been ready, after
    many.
    """

    allowed_before_ready: int = 3
    allowed_after_ready: int = 10
    quick: int = 0

    def record(self, *, ready_seconds: float | None, was_ever_ready: bool, is_excused: bool = False) -> float | None:
        """Count one death.

        Args:
            ready_seconds: how long the service had been ready when it died; None when it was not ready.
            is_excused: whether the death does not count, since its cause lies outside the service and will pass.

        Returns:
            Seconds until the next attempt; None to give up.
        """
        if is_excused:
            return LONGEST_RESTART_SECONDS
        steady = ready_seconds is not None and ready_seconds >= STEADY_SECONDS
        self.quick = 1 if steady else self.quick + 1
        if self.quick >= (self.allowed_after_ready if was_ever_ready else self.allowed_before_ready):
            return None
        return float(min(FIRST_RESTART_SECONDS * 2 ** (self.quick - 1), LONGEST_RESTART_SECONDS))


def stop_order(services: Sequence[Service]) -> list[list[Service]]:
    """Groups of services that may stop together, dependents before what they depend on.

    Raises:
        ValueError: services depend on each other in a circle, or on one that is not among them.
    """
    names = {service.name for service in services}
    for service in services:
        if unknown := service.depends_on - names:
            raise ValueError(f"{service.name} depends on {', '.join(sorted(unknown))}, which is not supervised")
    left = list(services)
    groups: list[list[Service]] = []
    while left:
        needed = frozenset[str]().union(*(service.depends_on for service in left))
        group = [service for service in left if service.name not in needed]
        if not group:
            raise ValueError(f"a circle of dependencies among {', '.join(service.name for service in left)}")
        groups.append(group)
        left = [service for service in left if service not in group]
    return groups
