"""The seam of traces: spans that note nothing, which is what every process has until traces are asked for. Pure.

`telemetry.TelemetryTracer` takes the place of `Tracer` where an operator sets OpenTelemetry's variables (`traces`).
Callers give a span only names, ids of workspaces and channels, statuses and counts. No address's path or query, no
header, no text of an error and no body becomes an attribute, since a collector is another system, with readers of its
own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum, auto
from types import TracebackType
from typing import Self

Headers = Sequence[tuple[str, bytes | None]]
"""Headers of a message, in order."""
Value = str | int | bool
"""Of an attribute."""
TRACEPARENT = "traceparent"
"""The header that carries a trace from one process to the next. Source: W3C Trace Context."""
# W3C's version 00 has 55 characters; a later version may append some.
_TRACEPARENT_MAX_BYTES = 256
# Messages of others may have any number of headers; of those after this many none is looked at.
_HEADERS_MAX = 64


class Kind(Enum):
    """The role of a span, in OpenTelemetry's words."""

    INTERNAL = auto()
    CLIENT = auto()
    PRODUCER = auto()
    CONSUMER = auto()


class Span:
    """One step of a trace; this class notes nothing.

    As a context manager it ends with its block, and fails with the class of an error that leaves the block.
    """

    __slots__ = ()

    @property
    def is_recorded(self) -> bool:
        """Whether the span will be exported, so that gathering attributes is worth while."""
        return False

    @property
    def headers(self) -> tuple[tuple[str, bytes], ...]:
        """Headers of a message that continues the trace; none where there is no trace."""
        return ()

    def note(self, attributes: Mapping[str, Value]) -> None:
        """Set attributes; gather many of them only where the span `is_recorded`."""

    def fail(self, why: str) -> None:
        """Mark the step as failed.

        Args:
            why: a code or the name of an error's class; never an error's text, which may quote a secret.
        """

    def end(self) -> None:
        """End the step now; a second call changes nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.fail(kind.__name__)
        self.end()


NO_SPAN = Span()
"""The only instance that most processes ever have."""


class Tracer:
    """Begins spans; this class begins none.

    Attributes:
        is_on: whether anything can be traced; callers look at it before they gather attributes.
    """

    is_on = False

    def begin(
        self,
        name: str,
        kind: Kind = Kind.INTERNAL,
        within: Span = NO_SPAN,
        attributes: Mapping[str, Value] | None = None,
    ) -> Span:
        """Begin a step.

        Args:
            name: of few values over all spans.
            within: the step that it is a part of, or that caused it; without one, a new trace begins.
        """
        return NO_SPAN

    def received(self, name: str, headers: Headers) -> Span:
        """Begin the work on a message, in the trace that the message's headers name, or in a new trace."""
        return NO_SPAN

    def joined(self, name: str, linked: Sequence[Span], attributes: Mapping[str, Value] | None = None) -> Span:
        """Begin work that belongs to several traces, as a trace of its own with a link to each of them.

        Args:
            linked: recorded spans, at least one; the work is then recorded too, whatever share of traces is.
        """
        return NO_SPAN

    def linked(self, name: str, kind: Kind, within: Span, to: Span, attributes: Mapping[str, Value]) -> Span:
        """Begin a step of one trace, with a link to the joint work that does it."""
        return NO_SPAN

    def close(self, seconds: float) -> None:
        """Export what has ended, for at most so long. Blocking."""


UNTRACED = Tracer()


def traceparent_of(headers: Headers) -> str | None:
    """The text of a message's only `traceparent`; None where there is none that could be valid.

    Anybody may write to a topic: whatever stands in the headers, this function returns and raises nothing. Two of them
    contradict each other, and count as none.
    """
    found = [value for name, value in headers[:_HEADERS_MAX] if name == TRACEPARENT]
    if len(found) != 1 or not found[0] or len(found[0]) > _TRACEPARENT_MAX_BYTES or not found[0].isascii():
        return None
    return found[0].decode("ascii")
