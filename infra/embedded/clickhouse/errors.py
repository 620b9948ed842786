"""Errors in ClickHouse's form: a numeric code, its HTTP status, and a body that clients parse.

In: the text of a chDB exception, or a refusal of this process. Out: `ServerError`. Never talks to the engine.

    ServerError            anything that becomes a reply: code, message, HTTP status
    StartError             the process cannot start: one line for stderr, exit code 2
"""

from __future__ import annotations

import contextlib
import logging
import re
import traceback
from collections.abc import Iterator

log = logging.getLogger(__name__)

UNKNOWN_FORMAT = 73
UNKNOWN_USER = 192
SYNTAX_ERROR = 62
READONLY = 164
SUPPORT_IS_DISABLED = 344
QUERY_WAS_CANCELLED = 394
TOO_MANY_ROWS_OR_BYTES = 396
ACCESS_DENIED = 497
AUTHENTICATION_FAILED = 516
BAD_ARGUMENTS = 36
NOT_IMPLEMENTED = 48
CANNOT_DECOMPRESS = 271
UNKNOWN_COMPRESSION_METHOD = 89
ABORTED = 236
TOO_MANY_SIMULTANEOUS_QUERIES = 202
QUERY_IS_TOO_LARGE = 229
NOT_ENOUGH_SPACE = 243
SOCKET_TIMEOUT = 209
CHECKSUM_DOESNT_MATCH = 40
SESSION_NOT_FOUND = 372
SESSION_IS_LOCKED = 373
INVALID_SESSION_TIMEOUT = 374
USER_SESSION_LIMIT_EXCEEDED = 700
TOO_LARGE_SIZE_COMPRESSED = 39
TOO_DEEP_RECURSION = 306
STD_EXCEPTION = 1001

_NAMES = {
    BAD_ARGUMENTS: "BAD_ARGUMENTS",
    NOT_IMPLEMENTED: "NOT_IMPLEMENTED",
    SYNTAX_ERROR: "SYNTAX_ERROR",
    UNKNOWN_FORMAT: "UNKNOWN_FORMAT",
    UNKNOWN_USER: "UNKNOWN_USER",
    UNKNOWN_COMPRESSION_METHOD: "UNKNOWN_COMPRESSION_METHOD",
    READONLY: "READONLY",
    CANNOT_DECOMPRESS: "CANNOT_DECOMPRESS",
    SUPPORT_IS_DISABLED: "SUPPORT_IS_DISABLED",
    QUERY_WAS_CANCELLED: "QUERY_WAS_CANCELLED",
    TOO_MANY_ROWS_OR_BYTES: "TOO_MANY_ROWS_OR_BYTES",
    ACCESS_DENIED: "ACCESS_DENIED",
    AUTHENTICATION_FAILED: "AUTHENTICATION_FAILED",
    ABORTED: "ABORTED",
    TOO_MANY_SIMULTANEOUS_QUERIES: "TOO_MANY_SIMULTANEOUS_QUERIES",
    QUERY_IS_TOO_LARGE: "QUERY_IS_TOO_LARGE",
    NOT_ENOUGH_SPACE: "NOT_ENOUGH_SPACE",
    SOCKET_TIMEOUT: "SOCKET_TIMEOUT",
    CHECKSUM_DOESNT_MATCH: "CHECKSUM_DOESNT_MATCH",
    SESSION_NOT_FOUND: "SESSION_NOT_FOUND",
    SESSION_IS_LOCKED: "SESSION_IS_LOCKED",
    INVALID_SESSION_TIMEOUT: "INVALID_SESSION_TIMEOUT",
    USER_SESSION_LIMIT_EXCEEDED: "USER_SESSION_LIMIT_EXCEEDED",
    TOO_LARGE_SIZE_COMPRESSED: "TOO_LARGE_SIZE_COMPRESSED",
    TOO_DEEP_RECURSION: "TOO_DEEP_RECURSION",
    STD_EXCEPTION: "STD_EXCEPTION",
}

# Source: ClickHouse, src/Server/HTTP/exceptionCodeToHTTPStatus.cpp.
_BAD_REQUEST = (
    6,
    8,
    15,
    25,
    26,
    27,
    36,
    37,
    38,
    41,
    44,
    53,
    62,
    72,
    117,
    123,
    167,
    168,
    223,
    321,
    376,
    427,
    441,
)
_NOT_FOUND = (46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511)
_FORBIDDEN = (192, 193, 497, 512, 516)
_STATUS: dict[int, int] = {
    **dict.fromkeys(_BAD_REQUEST, 400),
    **dict.fromkeys((675, 676), 400),
    **dict.fromkeys(_NOT_FOUND, 404),
    **dict.fromkeys(_FORBIDDEN, 403),
    48: 501,
    76: 503,
    159: 408,
    194: 401,
    209: 503,
    229: 413,
    381: 411,
    439: 503,
    779: 415,
}

_LOGGED_FRAMES = 20
# A message holds names that the client chose, of any length: each pattern takes at most one step a character.
_CODE = re.compile(r"Code:\s*+([0-9]{1,9})")
_VERSION_TRAILER = re.compile(r"(?<!\s)\s*+\(version [^()]*+(?:\([^()]*+\))?+\)(?=\.|\s|$)")
_REPEATED_CODE = re.compile(r"^(Code: \d+\. DB::Exception: )Code: \d+\. DB::Exception: ")


class StartError(Exception):
    """The process cannot start; the message is one line that says what to do."""


class ServerError(Exception):
    """A failed request.

    Args:
        code: ClickHouse's error number; 1002 (UNKNOWN_EXCEPTION) where the engine gave none.
        message: the text after `DB::Exception: `, with the code's `(NAME)` and without the version.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def status(self) -> int:
        """The HTTP status a ClickHouse server gives this code."""
        return http_status(self.code)

    def body(self, version: str) -> str:
        """The reply's text, which ends in the version, like a server's."""
        return f"Code: {self.code}. DB::Exception: {self.message} (version {version})\n"


def http_status(code: int) -> int:
    """ClickHouse's HTTP status of an error code; 500 for every code that ClickHouse's table does not list."""
    return _STATUS.get(code, 500)


def refusal(code: int, message: str) -> ServerError:
    """An error of this process, in the form of the engine's errors."""
    name = _NAMES.get(code, "UNKNOWN_EXCEPTION")
    return ServerError(code, f"{message} ({name})")


def unexpected(error: BaseException) -> ServerError:
    """The reply to an error that nobody has foreseen.

    The log gets the way that led to the error: files, lines and kinds of errors. Neither the log nor the reply gets an
    error's own text, in which the statement and its secrets may stand.
    """
    if isinstance(error, RecursionError):
        return refusal(TOO_DEEP_RECURSION, "The statement, or the type of one of its columns, is nested too deep")
    log.error("unexpected %s", "\n  after ".join(_ways(error)))
    return refusal(STD_EXCEPTION, f"Unexpected {type(error).__name__}; the log of the ClickHouse process says where")


def _ways(error: BaseException) -> Iterator[str]:
    one: BaseException | None = error
    while one is not None:
        frames = traceback.extract_tb(one.__traceback__)[-_LOGGED_FRAMES:]
        lines = [f"\n    {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
        yield f"{type(one).__name__}{''.join(lines)}"
        one = one.__cause__ or one.__context__


def from_engine(text: str) -> ServerError:
    """The error inside a chDB exception's text, without the wrapper's words and repeated codes."""
    found = _CODE.search(text)
    if found is None:
        return ServerError(1002, f"{text.strip()} (UNKNOWN_EXCEPTION)")
    code = int(found.group(1))
    message = _REPEATED_CODE.sub(r"\1", text[found.start() :].strip())
    message = _VERSION_TRAILER.sub("", message)
    prefix = f"Code: {code}. DB::Exception: "
    message = message.removeprefix(prefix)
    doubled = re.fullmatch(r"(?s)(.*?\(([A-Z_0-9]+)\))\.?\s*\(\2\)", message)
    return ServerError(code, doubled.group(1) if doubled else message)


@contextlib.contextmanager
def engine_errors() -> Iterator[None]:
    """Turn chDB's exceptions into ServerError, the only error that leaves the engine's modules."""
    try:
        yield
    except ServerError:
        raise
    except Exception as error:
        raise from_engine(str(error)) from error
