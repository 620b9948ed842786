"""The error tree of the embedded engines. Each message is one line that says what to do next.

EmbeddedError
├── ArtifactError        an engine's files cannot be fetched or verified: check the network or the cache folder
├── UsageError           an option or setting makes no sense here: the message names it and the allowed values
├── PortTakenError       another process listens on a port: stop that process or use --ports auto
├── DataDirError         the data folder cannot be used: unwritable, full, or held by another `up`
└── ServiceFailedError   a child process did not start, or died too often: read its log
"""

from __future__ import annotations


class EmbeddedError(Exception):
    """Base of every expected failure here; `up` prints it as one line and exits non-zero."""


class ArtifactError(EmbeddedError):
    """An engine's files could not be fetched, verified or unpacked."""


class UsageError(EmbeddedError):
    """An option or setting contradicts what the embedded engines can do."""


class PortTakenError(EmbeddedError):
    """A port that was asked for has another listener."""


class DataDirError(EmbeddedError):
    """The data folder is unwritable, full, or in use by another `up`."""


class ServiceFailedError(EmbeddedError):
    """A supervised service could not be started or kept running.

    Attributes:
        service: the service's name, as in `--without`.
    """

    def __init__(self, service: str, message: str) -> None:
        super().__init__(message)
        self.service = service
