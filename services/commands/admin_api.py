"""One call of the admin API, for the commands that write keys and the catalog.

Comes in: a request and the admin key. Goes out: the reply of a call that succeeded. Whatever else happens ends the
command with one line, which names the address or says what the API answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from services.runtime.patience import waiting_for
from services.runtime.settings import exit_with

if TYPE_CHECKING:
    import httpx

ApiUrl = Annotated[
    str, typer.Option("--api", envvar="TIDEMARK_QUERY_API_URL", help="Origin of the query API.", show_default=True)
]
AdminKey = Annotated[str, typer.Option("--admin-key", envvar="TIDEMARK_ADMIN_KEY", help="The admin key.")]
LOCAL = "http://127.0.0.1:8080"
# For one call: many catalog lines take their time.
_ADMIN_SECONDS = 120.0
_CONNECT_SECONDS = 5.0


def workspace_path(workspace_id: str) -> str:
    return f"/admin/v1/workspaces/{quote(workspace_id, safe='')}"


def ask(
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
            reply = httpx.request(
                method, api.rstrip("/") + path, json=body, content=content, headers=headers, timeout=timeouts
            )
    except httpx.HTTPError as error:
        exit_with(f"the query API can't be reached at {api} ({error}); set TIDEMARK_QUERY_API_URL or --api", 1)
    if reply.is_error:
        try:
            said = reply.json().get("message", reply.reason_phrase)
        except ValueError:
            said = reply.reason_phrase
        exit_with(f"the query API answered {reply.status_code}: {said}", 1)
    return reply
