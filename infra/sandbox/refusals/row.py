"""One refusal of a platform, as data. Pure.

Texts in `body` and `headers` may hold place holders, which are filled in when a call is refused:

- `{target}`: the id that the refusal is about; `{metric}`: the metric; `{position}`: its place in the list, from 0.
- `{now}`, `{in_15_minutes}`, `{next_utc_day}`, `{next_pacific_day}`, `{next_month}`: instants, in whole unix seconds.
- `{seconds_to_utc_day}`: a span, in whole seconds.
- `{index}`: the place of `{target}` among the ids asked, from 0.
- `{account}`: the account of the token; `{path}`: the path that was asked; `{ids}`: all ids asked, joined by commas.

A text that is one place holder and nothing else becomes a number where the place holder is one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class About(StrEnum):
    """What a refusal is about."""

    TARGET = "target"  # one post of those asked for
    METRIC = "metric"  # one metric of those asked for
    SIZE = "size"  # how much is asked for at once
    SHAPE = "shape"  # this way of asking, whatever is asked for
    TOKEN = "token"  # the token, or the account behind it
    LIMIT = "limit"  # the pace, or a quota of a day or month
    HOST = "host"  # the server: down, another protocol, a page in HTML


class Effect(StrEnum):
    """What a refusal does to the call that it meets."""

    REFUSE = "refuse"  # the body and status stand in place of the answer
    LEAVE_OUT = "leave out"  # the ids are missing from an answer about the others
    ALTER = "alter"  # the answer comes, changed by `alter`
    UNFINISHED = "unfinished"  # a part of a batch is null
    SILENT = "silent"  # no answer comes


Alter = Callable[[Any, str], Any]
"""From a body and the id that the refusal is about to the changed body."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row of the catalogue.

    Attributes:
        name: unique within its platform.
        source: the document, issue or recording that it is from.
        about: what it is about.
        outcomes: what Tidemark takes it for, as outcomes' names; any of them is right.
        does: what Tidemark does then, in words for `docs/refusals.md`.
        status: of the answer.
        body: a JSON value, or a text that is sent as a page in HTML.
        headers: with lower-case names.
        path: regular expression that is found in the paths of the calls concerned; empty: of all calls, but for
            those of token endpoints.
        names: fields or metrics, of which a call has to ask for at least one to be concerned; () for any call.
        more_than: only calls about more ids than this, or for longer lists.
        effect: what becomes of the call.
        alone: for LEAVE_OUT, the body when no other id was asked for.
        alter: for ALTER and LEAVE_OUT: changes the body of the answer.
        is_whole: whether it refuses a batch as a whole, and not each part of it.
        is_of_tokens: whether it concerns token endpoints, and nothing else.
        is_final: whether Tidemark may stop asking for what it is about until the catalog is written again.
        reset: when the platform's own words let calls begin again: a place holder of an instant; empty: they don't say.
        example: path and query of a GET that meets it, where no call that the poller makes by default does.
    """

    platform: str
    name: str
    source: str
    about: About
    outcomes: tuple[str, ...]
    does: str
    status: int = 400
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    path: str = ""
    names: tuple[str, ...] = ()
    more_than: int = 0
    effect: Effect = Effect.REFUSE
    alone: Any = None
    alter: Alter | None = None
    is_whole: bool = False
    is_of_tokens: bool = False
    is_final: bool = False
    reset: str = ""
    example: str = ""


def filled(value: Any, values: Mapping[str, str | int]) -> Any:
    """A body or header with its place holders filled in."""
    if isinstance(value, dict):
        return {filled(name, values): filled(inner, values) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [filled(inner, values) for inner in value]
    if not isinstance(value, str) or "{" not in value:
        return value
    if value[1:-1] in values and value[:1] + value[-1:] == "{}":
        return values[value[1:-1]]
    for name, known in values.items():
        value = value.replace(f"{{{name}}}", str(known))
    return value


HTML_502 = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n"
    "</body>\r\n</html>\r\n"
)
HTML_404 = "<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body><h1>Not Found</h1></body></html>\n"
