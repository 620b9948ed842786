"""API keys in memory, and who a request comes from. No I/O: `feed` and `admin` bring the keys."""

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
"""What a key of each style begins with; any style opens any of the APIs."""

_KEY_BYTES = 32
# Longer than any key, short enough that hashing rubbish costs nothing.
_LONGEST_KEY_BYTES = 256


def new_key(style: str) -> str:
    """A fresh key with 256 random bits."""
    return PREFIXES[style] + secrets.token_urlsafe(_KEY_BYTES)


def key_hash(key: str | bytes) -> str:
    """What is stored of a key."""
    return sha256(key.encode() if isinstance(key, str) else key).hexdigest()


def presented_key(headers: Iterable[Header]) -> bytes | None:
    """The key that a request brings: a Bearer token, else x-api-key.

    Args:
        headers: names in lower case, as ASGI has them.
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
    """Every key that works, by its hash.

    Attributes:
        catch_up: waits for keys that were made at this origin but did not arrive here yet; tells whether any may have
            come. None where one process is the origin: it knows the keys that it made.
        on_write: is told of each record written here, before its writer is answered.
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
        """See `TopicView`."""
        super().wrote(message_key, event, place)
        if self.on_write is not None:
            self.on_write(place)

    def __contains__(self, key: tuple[str, str]) -> bool:
        """Whether a key of this workspace and id works."""
        return key in self._by_id

    def of(self, workspace_id: str) -> list[ApiKey]:
        """The keys of one workspace, unordered."""
        return [key for (owner, _), key in self._by_id.items() if owner == workspace_id]

    async def find(self, headers: Iterable[Header], scope: str = READ_SCOPE) -> ApiKey:
        """See `authenticate`; an unknown key is looked for again once the newest ones have arrived."""
        try:
            return self.authenticate(headers, scope)
        except Unauthorized:
            if self.catch_up is None or not await self.catch_up():
                raise
            return self.authenticate(headers, scope)

    def authenticate(self, headers: Iterable[Header], scope: str = READ_SCOPE) -> ApiKey:
        """The key of a request.

        Args:
            headers: names in lower case.
            scope: that the key has to have.

        A look-up by hash tells by its time nothing that helps to find a key: whoever chooses the key does not choose
        its hash.

        Raises:
            Unauthorized: no key, or an unknown one.
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
        key: TIDEMARK_ADMIN_KEY; None or empty lets nobody in.
    """

    def __init__(self, key: str | None) -> None:
        self._digest = sha256(key.encode()).digest() if key else None

    def check(self, headers: Iterable[Header]) -> None:
        """Let the holder pass; takes the same time for every wrong key.

        Raises:
            AdminClosed: there is no admin key.
            Unauthorized: everybody else.
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
