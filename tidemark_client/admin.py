"""The admin API: channels, posts and keys."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from tidemark_client.errors import TidemarkError
from tidemark_client.models import ChannelLine, ChannelWrite, Given, MadeKey, PostLine, PostWrite, Written
from tidemark_client.transport import Transport, parsed, quoted

Style = Literal["postme", "powerpost", "postfuze", "postflow", "openpost", "tidemark"]
READ_SCOPE = "analytics:read"
NO_CONTENT = 204


class TidemarkAdmin(Transport):
    """Writes channels, posts and keys of any workspace, with the admin key.

    Every method raises TidemarkError. Writes of the catalog are tried again where that may help, since repeating them
    is harmless; calls about keys are not.
    """

    def put_channel(self, workspace_id: str, channel_id: str, channel: ChannelWrite) -> None:
        """Add or replace a connected account; without a token, the stored token is kept."""
        self._put(workspace_id, f"channels/{quoted(channel_id)}", channel)

    def delete_channel(self, workspace_id: str, channel_id: str) -> None:
        """Delete an account and its tokens; an account that does not exist is no error."""
        self._delete(workspace_id, f"channels/{quoted(channel_id)}", repeatable=True)

    def put_post(self, workspace_id: str, post_id: str, post: PostWrite) -> None:
        """Add or replace a post with all its targets."""
        self._put(workspace_id, f"posts/{quoted(post_id)}", post)

    def delete_post(self, workspace_id: str, post_id: str) -> None:
        """Delete a post; a post that does not exist is no error."""
        self._delete(workspace_id, f"posts/{quoted(post_id)}", repeatable=True)

    def write_catalog(self, lines: Iterable[ChannelLine | PostLine | Mapping[str, Any]]) -> Written:
        """Write many channels and posts; a wrong line is rejected by itself and does not affect the others."""
        content = b"".join(_line(line) + b"\n" for line in lines)
        reply = self._call("POST", "/admin/v1/catalog", content=content, repeatable=True)
        return parsed(Written, reply)

    def make_key(
        self, workspace_id: str, *, style: Style = "tidemark", scopes: Sequence[str] = (READ_SCOPE,)
    ) -> MadeKey:
        """Make an API key; the key works at once, and is never shown again."""
        body = {"scopes": list(scopes), "style": style}
        reply = self._call("POST", _path(workspace_id, "keys"), json=body, repeatable=False)
        return parsed(MadeKey, reply)

    def revoke_key(self, workspace_id: str, key_id: str) -> None:
        """Revoke a key; raises with the code `not_found` when there is no such key."""
        self._delete(workspace_id, f"keys/{quoted(key_id)}", repeatable=False)

    def _delete(self, workspace_id: str, path: str, *, repeatable: bool) -> None:
        reply = self._call("DELETE", _path(workspace_id, path), repeatable=repeatable)
        if reply.status_code != NO_CONTENT:
            # Another server's page would otherwise look like a deletion.
            raise TidemarkError.of_strange_reply(reply.status_code)

    def _put(self, workspace_id: str, path: str, body: Given) -> None:
        content = body.model_dump_json(exclude_unset=True).encode()
        self._call("PUT", _path(workspace_id, path), content=content, repeatable=True)


def _path(workspace_id: str, rest: str) -> str:
    return f"/admin/v1/workspaces/{quoted(workspace_id)}/{rest}"


def _line(line: ChannelLine | PostLine | Mapping[str, Any]) -> bytes:
    if isinstance(line, Mapping):
        return json.dumps(line).encode()
    # A line's type is a default value, which `exclude_unset` leaves out, but the server needs it.
    return json.dumps({"type": line.type, **json.loads(line.model_dump_json(exclude_unset=True))}).encode()
