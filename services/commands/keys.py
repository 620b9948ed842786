"""`tidemark keys`: make, list and revoke API keys, through the admin API."""

# ruff: noqa: T201 - a command line prints

from __future__ import annotations

import sys
from typing import Annotated

import typer

from services.commands.admin_api import (
    LOCAL,
    AdminKey,
    ApiUrl,
    MadeKey,
    Workspace,
    ask,
    checked_id,
    order,
    workspace_path,
)
from services.runtime.settings import exit_with

keys = typer.Typer(help="Make and revoke API keys, through the admin API.", no_args_is_help=True)
_SCOPES = ("analytics:read", "webhooks:write")


@keys.command("create")
def keys_create(
    workspace: Annotated[str, typer.Argument(help="The workspace that the key gives access to.", callback=checked_id)],
    admin_key: AdminKey,
    api: ApiUrl = LOCAL,
    style: Annotated[
        str,
        typer.Option(
            help="Whose errors the key's replies speak: postme, powerpost, postfuze, postflow, openpost or tidemark."
        ),
    ] = "tidemark",
    scope: Annotated[list[str] | None, typer.Option(help="A scope of the key; may be repeated.")] = None,
) -> None:
    """Make a key and print its id and the key itself, which is never shown again."""
    if unknown := sorted(set(scope or ()) - set(_SCOPES)):
        exit_with(f"--scope {unknown[0]}: no such scope; there are {', '.join(_SCOPES)}")
    if not ask("GET", api, admin_key, workspace_path(workspace), Workspace).channels:
        print(f"tidemark: the workspace {workspace} has no channels yet; the key is made all the same", file=sys.stderr)
    body: dict[str, object] = {"scopes": scope or ["analytics:read"], "style": style}
    made = ask("POST", api, admin_key, workspace_path(workspace, "keys"), MadeKey, status=201, body=body)
    print(f"{made.id}\t{made.key}")


@keys.command("list")
def keys_list(
    workspace: Annotated[str, typer.Argument(help="The workspace.", callback=checked_id)],
    admin_key: AdminKey,
    api: ApiUrl = LOCAL,
) -> None:
    """Print id, creation time, style and scopes of each key of a workspace; the keys themselves are stored nowhere."""
    held = ask("GET", api, admin_key, workspace_path(workspace), Workspace).keys
    for key in held:
        print("\t".join((key.id, key.created_at, key.style, ",".join(key.scopes))))
    if not held:
        print(f"the workspace {workspace} has no keys", file=sys.stderr)


@keys.command("revoke")
def keys_revoke(
    workspace: Annotated[str, typer.Argument(help="The key's workspace.", callback=checked_id)],
    key_id: Annotated[str, typer.Argument(help="The key's id, not the key.", callback=checked_id)],
    admin_key: AdminKey,
    api: ApiUrl = LOCAL,
) -> None:
    """Revoke a key everywhere within 5 s."""
    order("DELETE", api, admin_key, workspace_path(workspace, "keys", key_id))
    print(f"revoked {key_id}")
