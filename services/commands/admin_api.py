"""One call of the admin API, for the commands that write keys and the catalog.

Comes in: a request and the admin key. Goes out: the reply of a call that the admin API itself answered as it answers
what was done. Whatever else happens ends the command with one line, which names the address or says what was answered.
No line holds the key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar
from urllib.parse import quote, urlsplit

import typer
from pydantic import BaseModel, ValidationError

from services.runtime.patience import waiting_for
from services.runtime.sendable import checked_origin, sendable_key
from services.runtime.settings import exit_with

if TYPE_CHECKING:
    import httpx


def _checked_by(check: Callable[[str], str]) -> Callable[[str], str]:
    """A check of an option's value, whose error names the option and its variable."""

    def checked(value: str) -> str:
        try:
            return check(value)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    return checked


def _id(text: str) -> str:
    from schemas.keys import is_id

    if not is_id(text):
        raise ValueError(f"{text[:60]!r} is no id: 1-128 characters of A-Z, a-z, 0-9 and ._:-")
    return text


def checked_ids(texts: list[str] | None) -> list[str]:
    """Ids of an option that may be repeated.

    Raises:
        typer.BadParameter: one of them is no id.
    """
    return [_checked_by(_id)(text) for text in texts or ()]


checked_id = _checked_by(_id)
ApiUrl = Annotated[
    str,
    typer.Option(
        "--api",
        envvar="TIDEMARK_QUERY_API_URL",
        help="Origin of the query API.",
        show_default=True,
        callback=_checked_by(checked_origin),
    ),
]
AdminKey = Annotated[
    str,
    typer.Option("--admin-key", envvar="TIDEMARK_ADMIN_KEY", help="The admin key.", callback=_checked_by(sendable_key)),
]
LOCAL = "http://127.0.0.1:8080"
# For one call: many catalog lines take their time.
_ADMIN_SECONDS = 120.0
_CONNECT_SECONDS = 5.0
_SHOWN_CHARACTERS = 300
Answer = TypeVar("Answer", bound=BaseModel)


class Refusal(BaseModel):
    """What the admin API answers instead: a problem of RFC 9457."""

    code: str
    message: str


class HeldKey(BaseModel):
    """An API key of a workspace, without the key itself."""

    id: str
    scopes: list[str]
    style: str
    created_at: str


class HeldChannel(BaseModel):
    """A channel of a workspace."""

    channel_id: str


class Workspace(BaseModel):
    """What the admin API shows of a workspace."""

    channels: list[HeldChannel]
    keys: list[HeldKey]


class MadeKey(BaseModel):
    """A new key, shown this once."""

    id: str
    key: str


class RejectedLine(BaseModel):
    """A line of the catalog that was not written."""

    line: int
    error: str


class Written(BaseModel):
    """What became of the lines of the catalog."""

    accepted: int
    rejected: list[RejectedLine]


def workspace_path(*ids: str) -> str:
    """The path of a workspace, or of something in it: the workspace's id, then a kind and an id."""
    return "/admin/v1/workspaces/" + "/".join(map(_segment, ids))


def _segment(text: str) -> str:
    # "." and ".." are ids, too; as they are, clients and proxies take them out of a path (RFC 3986, 5.2.4).
    return text.replace(".", "%2E") if text in (".", "..") else quote(text, safe="")


def ask(
    method: str,
    api: str,
    admin_key: str,
    path: str,
    answer: type[Answer],
    *,
    status: int = 200,
    body: dict[str, object] | None = None,
    content: bytes | None = None,
) -> Answer:
    """Make a call that is answered with a body; ends the command unless the answer is the admin API's own.

    Args:
        status: of the answer.
    """
    reply = _reply(method, api, admin_key, path, body=body, content=content)
    if reply.status_code != status:
        _end_by(reply, api, admin_key)
    try:
        return answer.model_validate_json(reply.content)
    except ValidationError:
        _end_by(reply, api, admin_key)


def order(method: str, api: str, admin_key: str, path: str) -> None:
    """Make a call that is answered with 204; ends the command unless it is."""
    reply = _reply(method, api, admin_key, path)
    if reply.status_code != 204:
        _end_by(reply, api, admin_key)


def _reply(
    method: str,
    api: str,
    admin_key: str,
    path: str,
    *,
    body: dict[str, object] | None = None,
    content: bytes | None = None,
) -> httpx.Response:
    import httpx

    headers = {"Authorization": f"Bearer {admin_key}"}
    timeouts = httpx.Timeout(_ADMIN_SECONDS, connect=_CONNECT_SECONDS)
    try:
        with waiting_for(f"the query API at {api}"):
            return httpx.request(method, api + path, json=body, content=content, headers=headers, timeout=timeouts)
    except httpx.TransportError as error:
        # Errors of a request that can't be sent repeat its headers.
        is_safe = not isinstance(error, httpx.LocalProtocolError)
        reason = _shown(str(error), admin_key) if is_safe and str(error) else type(error).__name__
        exit_with(f"the query API can't be reached at {api} ({reason}); set TIDEMARK_QUERY_API_URL or --api", 1)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, ImportError, OSError) as error:
        exit_with(f"the query API can't be asked at {api} ({type(error).__name__}); check --api and proxies", 1)


def _end_by(reply: httpx.Response, api: str, admin_key: str) -> NoReturn:
    """End the command by one line about an answer that is not the expected one."""
    said = f"the query API at {api} answered {reply.status_code}"
    if reply.is_redirect:
        place = reply.headers["location"]
        named = _origin(place)
        is_elsewhere = named and not f"{api}/".startswith(f"{named}/")
        give = f"give that origin with --api {_shown(named, admin_key)}" if is_elsewhere else "check --api"
        exit_with(f"{said} (Location {_shown(place, admin_key)}), and nothing was done; {give}", 1)
    if reply.is_error:
        try:
            refusal = Refusal.model_validate_json(reply.content)
        except ValidationError:
            pass
        else:
            exit_with(f"{said}: {_shown(refusal.message, admin_key)}", 1)
    phrase = f" {_shown(reply.reason_phrase, admin_key)}" if reply.reason_phrase else ""
    exit_with(
        f"{said}{phrase}, but not as the admin API does: nothing may have been done; check --api, and proxies between",
        1,
    )


def _origin(place: str) -> str:
    try:
        parts = urlsplit(place)
        return checked_origin(f"{parts.scheme}://{parts.netloc}")
    except ValueError:
        return ""


def _shown(text: str, admin_key: str) -> str:
    """A text of another server, fit for one line of a terminal."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in text.replace(admin_key, "..."))
    return plain[:_SHOWN_CHARACTERS]
