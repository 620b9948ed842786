"""API keys in memory, and the authentication of requests. No I/O: `feed` and `admin` bring the keys."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable, Iterable
from hashlib import sha256

from schemas.events import ApiKey
from schemas.topic_names import API_KEYS
from services.query_api.errors import AdminClosed, Forbidden, Header, Unauthorized
from services.query_api.views import Place, TopicView

READ_SCOPE = "analytics:read"
PREFIXES = {
    "postme": "pml_live_",
    "powerpost": "pp_live_sk_",
    "postfuze": "sk_live_",
    "postflow": "pf_live_",
    "openpost": "op_live_",
    "tidemark": "tm_live_",
}
"""The prefix of each style of key; a key of any style opens all APIs."""

_KEY_BYTES = 32
# Longer than any key, and short enough that hashing rubbish costs nothing.
_LONGEST_KEY_BYTES = 256


def new_key(style: str) -> str:
    """Make a key with 256 random bits."""
    return PREFIXES[style] + secrets.token_urlsafe(_KEY_BYTES)


def key_hash(key: str | bytes) -> str:
    """The hash of a key, hex SHA-256; only the hash is stored."""
    return sha256(key.encode() if isinstance(key, str) else key).hexdigest()


def presented_key(headers: Iterable[Header]) -> bytes | None:
    """The key in a request: a Bearer token, else the header x-api-key; None when there is neither.

    Args:
        headers: names in lower case, as in ASGI.
    """
    api_key: bytes | None = None
    for name, value in headers:
        if name == b"authorization":
            if value[:7].lower() == b"bearer ":
                return value[7:].strip()
        elif name == b"x-api-key":
            api_key = value.strip()
    return api_key


class KeyRing(TopicView[ApiKey]):
    """All valid keys, by hash.

    Attributes:
        catch_up: waits for keys that have not arrived here yet, because this process has just begun or another worker
            of this origin made them; returns whether any may have come. None where nobody has to wait.
        on_write: called with the place of each record written here, before the writer gets its answer.
    """

    topic = API_KEYS
    catch_up: Callable[[], Awaitable[bool]] | None = None
    on_write: Callable[[Place], None] | None = None

    def __init__(self) -> None:
        super().__init__()
        self._by_hash: dict[str, ApiKey] = {}
        self._by_id: dict[tuple[str, str], ApiKey] = {}

    def apply(self, key: tuple[str, str], event: ApiKey | None) -> None:
        """Add or revoke one key."""
        old = self._by_id.pop(key, None)
        if old is not None:
            self._by_hash.pop(old.key_hash, None)
        if event is not None:
            self._by_id[key] = event
            self._by_hash[event.key_hash] = event

    def wrote(self, message_key: bytes, event: ApiKey | None, place: Place) -> None:
        """Apply a key that this process wrote (see `TopicView.wrote`), and tell `on_write` its place."""
        super().wrote(message_key, event, place)
        if self.on_write is not None:
            self.on_write(place)

    def __contains__(self, key: tuple[str, str]) -> bool:
        """Whether there is a valid key with this workspace and id."""
        return key in self._by_id

    def opens(self, workspace_id: str, key_id: str, scope: str = READ_SCOPE) -> bool:
        """Whether a key, by its id, is valid and has a scope."""
        key = self._by_id.get((workspace_id, key_id))
        return key is not None and scope in key.scopes

    def of(self, workspace_id: str) -> list[ApiKey]:
        """The keys of one workspace, unordered."""
        return [key for (owner, _), key in self._by_id.items() if owner == workspace_id]

    async def find(self, headers: Iterable[Header], scope: str = READ_SCOPE) -> ApiKey:
        """As `authenticate`; an unknown key is looked up again once the newest keys have arrived.

        Raises:
            KeysUnread: the keys are not read yet.
        """
        try:
            return self.authenticate(headers, scope)
        except Unauthorized:
            if self.catch_up is None or not presented_key(headers) or not await self.catch_up():
                raise
            return self.authenticate(headers, scope)

    def authenticate(self, headers: Iterable[Header], scope: str = READ_SCOPE) -> ApiKey:
        """The key of a request.

        The time of a look-up by hash reveals nothing about valid keys: a caller chooses the key, but not its hash.

        Args:
            headers: names in lower case.
            scope: the scope that the key must have.

        Raises:
            Unauthorized: the request has no key, or an unknown one.
            Forbidden: the key does not have the scope.
        """
        presented = presented_key(headers)
        if not presented or len(presented) > _LONGEST_KEY_BYTES:
            raise Unauthorized
        key = self._by_hash.get(sha256(presented).hexdigest())
        if key is None:
            raise Unauthorized
        if scope not in key.scopes:
            raise Forbidden(scope)
        return key


class AdminKey:
    """The one key of the admin API.

    Args:
        key: TIDEMARK_ADMIN_KEY; with None or an empty key every request is refused.
    """

    def __init__(self, key: str | None) -> None:
        self.rekey(key)

    def rekey(self, key: str | None) -> None:
        """Go on with another key."""
        self._digest = sha256(key.encode()).digest() if key else None

    def check(self, headers: Iterable[Header]) -> None:
        """Check that a request brings the admin key; takes the same time for every wrong key.

        Raises:
            AdminClosed: the server has no admin key.
            Unauthorized: the request brings another key, or none.
        """
        if self._digest is None:
            raise AdminClosed
        presented = b""
        for name, value in headers:
            if name == b"authorization" and value[:7].lower() == b"bearer ":
                presented = value[7:].strip()
        same = hmac.compare_digest(sha256(presented).digest(), self._digest)
        if not presented or not same:
            raise Unauthorized("The admin key is required, as a Bearer token.")
