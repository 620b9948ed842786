"""What a platform may offer beyond the protocol that all platforms have, each ability with its nouns.

A platform has an ability where its class has the methods; the poller looks for them. Pure, as all of a platform is:
calls are descriptions, replies are bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple, Protocol, TypeGuard, TypeVar, runtime_checkable

from schemas.events import PlatformRaw
from services.platforms.base import Call, Channel, LimitState, Outcome, Platform, Target, Verdict

Ability = TypeVar("Ability")
_KNOWN: dict[tuple[type, type], bool] = {}


def has(platform: object, ability: type[Ability]) -> TypeGuard[Ability]:
    """Whether a platform has an ability: `isinstance`, remembered by class, for what is asked at every call.

    To look for a protocol's methods takes some ten microseconds each time.
    """
    known = _KNOWN.get((type(platform), ability))
    if known is None:
        known = _KNOWN[type(platform), ability] = isinstance(platform, ability)
    return known


@runtime_checkable
class AcrossAccounts(Protocol):
    """A platform that answers for posts of several accounts in one call, with our app's own token. Pure as well."""

    def authorize_app(self, token: str) -> dict[str, str]:
        """Headers that authorize a call as our app."""

    def app_post_calls(self, targets: Sequence[Target]) -> list[Call]:
        """Calls that ask for the public figures of posts of any accounts, in the platform's largest batches."""

    def app_part(self, body: bytes, external_ids: Collection[str]) -> bytes:
        """An answer's body with nothing of other posts than these, in the answer's own shape; also of a failed one.

        An answer that can't be read has no part: empty.
        """


@runtime_checkable
class AnswersApart(Protocol):
    """A platform of which one answer can tell of each target apart whether it was answered. Pure as well."""

    def verdicts(self, event: PlatformRaw, headers: Mapping[str, str], now: int) -> Mapping[int, Verdict]:
        """What an answer means for those targets that it tells of apart, by their positions in `event.targets`.

        A target that is absent from the result has the meaning of the whole answer (`classify`). `headers` with
        lower-case names, `now` in ms. A platform that says NOT_LISTED of targets of a list asks for a lone one by
        another call than a list.
        """


@runtime_checkable
class LimitsByWindow(Protocol):
    """A platform of which one answer tells of limits of several windows, such as 15 minutes and a day. Pure as well."""

    def all_limits(self, headers: Mapping[str, str], now: int) -> Sequence[LimitState]:
        """The state of each limit that the headers tell of; [] where they tell of none. Used in place of `limits`.

        `headers` with lower-case names, `now` in ms. Each state of a window but the shortest names its length
        (`window_seconds`).
        """


@runtime_checkable
class OwnersFigures(Protocol):
    """A platform with figures that only a post's author may read, beside those that our app's own token reads."""

    def owner_calls(self, channel: Channel, targets: Sequence[Target], now: int) -> list[Call]:
        """Calls that ask for the private figures of posts of one channel with its token; [] where none has any."""


@runtime_checkable
class InDirectories(Protocol):
    """A platform of many servers, where public directories know who has a name and which server holds an account.

    Pure as well: the poller makes the lookups, without any token, and keeps what they answer for a while.
    """

    def names_of(self, channel: Channel, call: Call | None, known: Mapping[str, str]) -> Sequence[str]:
        """The names that have to be looked up before a call is made, less those that are known.

        Args:
            call: None for a refresh of the channel's tokens.
            known: what was found, by name.
        """

    def lookup_call(self, name: str) -> Call | None:
        """The call that looks a name up; None where no directory can know it."""

    def looked_up(self, name: str, status: int, body: bytes) -> str | None:
        """What a directory's answer says of a name; None when it doesn't."""

    def placed(self, channel: Channel, call: Call, known: Mapping[str, str]) -> Call:
        """The call as it has to be made, with what was looked up."""

    def home_of(self, channel: Channel, known: Mapping[str, str]) -> str | None:
        """Origin of the account's own server, which alone takes its tokens; None where it is not known."""


class PlatformSetting(NamedTuple):
    """A setting of one platform, or of several that share it.

    Attributes:
        name: its environment variable without `TIDEMARK_`, such as `META_VERSION`.
        pattern: regular expression that a value has to match as a whole.
        expected: what a value looks like, for a person: `such as v25.0`.
        default: the value where the setting is not set; None where there is none.
        is_required: whether the platform itself refuses calls that are made without it. No real account is asked for
            then; another server that stands for the platform (`TIDEMARK_<PLATFORM>_BASE_URL`) needs none.
    """

    name: str
    pattern: str
    expected: str
    default: str | None = None
    is_required: bool = False


@runtime_checkable
class Configurable(Protocol):
    """A platform with settings of its own. Pure as well."""

    @property
    def settings(self) -> Sequence[PlatformSetting]:
        """The settings; two platforms that share one declare it alike."""

    def configured(self, values: Mapping[str, str]) -> Platform:
        """The platform with these values, by the settings' names; a name that is left out keeps its default."""


@runtime_checkable
class HostedByToken(Protocol):
    """A platform whose origin depends on which login a token is from. Pure as well."""

    def origin_of(self, token: str | None) -> str | None:
        """The origin that takes this token; None for the platform's usual one."""


@runtime_checkable
class ProvesTokens(Protocol):
    """A platform that lets an app prove that a token was given to it. Pure as well."""

    def proof(self, token: str, client: AppClient) -> Mapping[str, str]:
        """Query parameters that are sent with each call and never recorded; {} where the app has no secret."""


@runtime_checkable
class Addressed(Protocol):
    """A platform where a post's own page follows from the post's id alone. Pure as well."""

    def post_address(self, external_id: str) -> str | None:
        """The address of a post's page; None for an id of another form than the platform's posts have."""


class Discovered(NamedTuple):
    """A post that an account's own list names; times in ms, texts as the platform has them.

    Attributes:
        other_ids: further ids that the platform has for the same post, such as those of its earlier versions.
    """

    external_id: str
    published_at: int
    post_type: str = ""
    permalink: str = ""
    content: str = ""
    other_ids: tuple[str, ...] = ()


class Listed(NamedTuple):
    """What an account's own list holds.

    Attributes:
        posts: newest first.
        lacking: how many items were passed over since they lack a field that a post needs, by the field's name.
    """

    posts: Sequence[Discovered] = ()
    lacking: Mapping[str, int] = {}


@runtime_checkable
class Discovers(Protocol):
    """A platform that lists the newest posts of an account. Pure as well."""

    def discovery_call(self, channel: Channel, now: int) -> Call | None:
        """The call that lists the account's newest posts; of kind IDENTITY, so that no figure is read from it.

        None where the platform lists no posts of such an account.
        """

    def discovered(self, event: PlatformRaw) -> Listed:
        """The posts in an answer; none for a failed one. An item that can't be read takes no other with it.

        Raises:
            MappingError: a successful answer of another shape than the platform's.
        """


class Resource(NamedTuple):
    """Something that a platform bills for once a UTC day; `kind` is a key of `Priced.prices`."""

    kind: str
    external_id: str


@runtime_checkable
class Priced(Protocol):
    """A platform that bills for what is read. Pure as well."""

    @property
    def priced_on(self) -> str:
        """Date of the prices, ISO."""

    @property
    def prices(self) -> Mapping[str, Decimal]:
        """US dollars for one resource, by its kind."""

    def may_read(self, call: Call) -> Sequence[Resource]:
        """The most that an answer to a call can be billed for, as far as its parameters tell."""

    def billed(self, event: PlatformRaw) -> Sequence[Resource]:
        """What an answer is billed for."""


@dataclass(frozen=True, slots=True)
class AppClient:
    """Our own app at a platform, as configured; values that are not set are not sent."""

    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)


class HeldTokens(Protocol):
    """The tokens that a channel holds."""

    @property
    def access_token(self) -> str | None:
        """The token that authorizes calls."""

    @property
    def refresh_token(self) -> str | None:
        """The token that a new access token is requested with; None where the platform has no such tokens."""


@dataclass(frozen=True, slots=True)
class RefreshCall:
    """One request to a token endpoint. It holds secrets: its answer is never published, and neither is ever logged.

    Attributes:
        method: GET or POST.
        path: the platform's own path, from the origin on.
        query: parameters in order.
        form: fields of a POST.
        headers: with the app's or the channel's own authorization.
        base_url: the token endpoint's origin, where it is not the platform's usual one.
        ahead_seconds: how long before its end a token is refreshed; days where an expired token can't be.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    form: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    base_url: str | None = None
    ahead_seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class TokenGrant:
    """New tokens.

    Attributes:
        refresh_token: None where the old refresh token stays valid.
        expires_in_seconds: life of the access token; None where the platform gave none.
    """

    access_token: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    expires_in_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class RefreshFailure:
    """Why a refresh brought no new tokens.

    Attributes:
        detail: the platform's own code, for logs; never a secret.
    """

    outcome: Outcome
    retry_after_seconds: float | None = None
    detail: str = ""

    @property
    def is_final(self) -> bool:
        """Whether these tokens will never bring new ones: the person has to reconnect."""
        return self.outcome in (Outcome.TOKEN_EXPIRED, Outcome.TOKEN_REVOKED, Outcome.ACCOUNT_DISABLED)


@runtime_checkable
class Refreshable(Protocol):
    """A platform whose tokens can be renewed. Pure as well."""

    def refresh_call(self, tokens: HeldTokens, client: AppClient) -> RefreshCall | None:
        """The call that brings new tokens; None when these can't be renewed."""

    def read_refresh(self, status: int, headers: Mapping[str, str], body: bytes) -> TokenGrant | RefreshFailure:
        """The new tokens in an answer of the token endpoint, or why there are none; `headers` with lower-case names."""


@runtime_checkable
class ExchangesTokens(Protocol):
    """A platform that gives the token of an account for the token of a person who manages it. Pure as well.

    Asked only once the platform has refused a token, and only where no refresh brings another.
    """

    def exchange_call(self, channel: Channel, tokens: HeldTokens, client: AppClient) -> RefreshCall | None:
        """The call that brings the account's own token; None when there is no token to exchange."""

    def read_exchange(self, status: int, headers: Mapping[str, str], body: bytes) -> TokenGrant | RefreshFailure:
        """The account's token in an answer, or why there is none; `headers` with lower-case names."""
