"""The poller's errors, and what each asks of whoever catches it.

PollerError
|- NoAnswer                  a call to a platform brought nothing that could be published
|  |- RetryLater             ask again later; nothing is known of the targets
|  |  |- Unreachable         no connection: DNS, TCP, TLS, or it broke before an answer
|  |  |- TimedOut            too slow to connect, to answer, or as a whole
|  |  `- BrokenAnswer        bytes that are no HTTP, or a body that can't be decompressed
|  |- AnswerTooLarge         ask again in halves; a single target that large is given up until its next regular time
|  `- NotSent                the request can't be sent as it is (address, header); asking again won't help
|     `- ForbiddenAddress    a platform's name that leads into a private network
`- Stop                      the process must not go on; the message says what an operator does
"""

from __future__ import annotations


class PollerError(Exception):
    """Base of all errors here; messages hold no secret."""

    code = "error"


class NoAnswer(PollerError):
    """A call brought nothing that could be published."""


class RetryLater(NoAnswer):
    """No answer came; counts against the platform's circuit."""


class Unreachable(RetryLater):
    """No connection, or it broke before the answer's end."""

    code = "unreachable"


class TimedOut(RetryLater):
    """The platform did not answer within the time of a call."""

    code = "timed_out"


class BrokenAnswer(RetryLater):
    """What came is no HTTP, or can't be decompressed."""

    code = "broken_answer"


class AnswerTooLarge(NoAnswer):
    """The answer doesn't fit a Kafka message."""

    code = "too_large"


class NotSent(NoAnswer):
    """The request itself is impossible."""

    code = "not_sent"


class ForbiddenAddress(NotSent):
    """The host resolves to a private, loopback or link-local address, and no base URL was configured for it."""

    code = "forbidden_address"


class Stop(PollerError):
    """A contradiction that only an operator resolves."""

    code = "stop"
