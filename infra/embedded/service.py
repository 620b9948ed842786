"""What the supervisor knows of one service, and the arithmetic of its restarts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

Readiness = Callable[[], Awaitable[bool]]
"""Asked again and again; must answer within a few seconds, and False rather than raise while the service starts."""

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
        ready: when its dependents may start; for a service that runs once, its exit code 0 counts instead.
        alive: asked of a ready service all the time; when it says False for `silent_seconds` the service is killed
            and started anew. None: only its end counts. An overloaded machine stretches this time and the next.
        depends_on: names of services that must be ready (or done) first, and that stop after it.
        once: it runs to completion; a start after it ended well is not repeated.
        prepare: blocking work before each start, such as formatting a folder; its `EmbeddedError` ends everything.
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
    """Counts a service's quick deaths in a row and says when to try again.

    A death is quick unless the service had been ready for `STEADY_SECONDS`. What was never ready in this run is
    given up after few of them (its settings are wrong), what once was ready only after many (it may only be unlucky).
    """

    allowed_before_ready: int = 3
    allowed_after_ready: int = 10
    quick: int = 0

    def record(self, *, ready_seconds: float | None, was_ever_ready: bool, is_excused: bool = False) -> float | None:
        """Count one death.

        Args:
            ready_seconds: how long it had been ready when it died; None when it was not.
            is_excused: what it died of passes, and is not the service's: it doesn't count.

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
