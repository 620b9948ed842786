"""Makes and revokes API keys."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from schemas.events import ApiKey
from services.query_api.admin.catalog import KEYS, Catalog
from services.query_api.admin.parameters import KeyRequest
from services.query_api.errors import NotFound
from services.query_api.publisher import Write
from services.query_api.serving.auth import KeyRing, key_hash, new_key
from services.runtime.clock import Clock


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A fresh key, which is shown once and stored nowhere."""

    id: str
    key: str
    scopes: tuple[str, ...]


class Keys:
    """Makes and revokes API keys."""

    def __init__(self, catalog: Catalog, ring: KeyRing, clock: Clock) -> None:
        self._catalog = catalog
        self._ring = ring
        self._clock = clock

    async def make(self, workspace_id: str, request: KeyRequest) -> MadeKey:
        """Make a key, which works at this origin at once.

        Raises:
            WritesUnavailable: Kafka did not confirm; the key's record may exist, but nobody has the key.
        """
        key_id = f"key_{secrets.token_hex(12)}"
        key = new_key(request.style)
        event = ApiKey(
            workspace_id=workspace_id,
            key_id=key_id,
            key_hash=key_hash(key),
            scopes=tuple(request.scopes),
            style=request.style,
            created_at=self._clock.now(),
        )
        await self._catalog.write([Write(KEYS, workspace_id, key_id, event)])
        return MadeKey(key_id, key, event.scopes)

    def of(self, workspace_id: str) -> list[ApiKey]:
        """The valid keys of a workspace, oldest first; the keys themselves are stored nowhere."""
        return sorted(self._ring.of(workspace_id), key=lambda key: (key.created_at, key.key_id))

    async def revoke(self, workspace_id: str, key_id: str) -> None:
        """Revoke a key.

        Raises:
            NotFound: the workspace has no such key.
            WritesUnavailable: Kafka did not confirm; the key still works.
        """
        if (workspace_id, key_id) not in self._ring and self._ring.catch_up is not None:
            await self._ring.catch_up()
        if (workspace_id, key_id) not in self._ring:
            raise NotFound
        await self._catalog.write([Write(KEYS, workspace_id, key_id, None)])
