"""Makes one of each call of a channel and says which the platform takes: what `tidemark platforms check` does.

In: a channel, its tokens, and a post or more of each kind. Out: a line for each call, with the platform's words and
what mends a refusal. The calls are the poller's own; nothing is published, and nothing that is held secret is shown.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import orjson

from schemas.events import Origin, PlatformRaw, RawKind
from services.platforms.abilities import AnswersApart, Discovers, HostedByToken
from services.platforms.base import Call, Channel, MappingError, Outcome, Platform, Remedy, Target, Verdict
from services.poller.asking.directory import Directory
from services.poller.asking.exchange import raw_event
from services.poller.asking.fetch import Fetcher, Reply
from services.poller.connections.tokens import Credentials
from services.poller.errors import NoAnswer

_MOST_WORDS = 160
# A page of any length begins with what it says.
_MOST_BYTES = 16 * 1024
_TAGS = re.compile(r"<(style|script)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)
# Where platforms have their words, the most telling first.
_WORDS = ("message", "detail", "error_description", "error_user_msg", "title", "error", "reason", "code")
# What mends an outcome on any platform, where the platform's own facts say nothing of it.
_USUAL = {
    Outcome.TOKEN_EXPIRED: "connect the account again, or give its refresh token, so that the poller renews it",
    Outcome.TOKEN_REVOKED: "connect the account again; the person took the access back",
    Outcome.ACCOUNT_DISABLED: "the platform closed or suspended the account; its owner has to settle that there",
    Outcome.RETRY_LATER: "wait: the platform's limit is reached; the poller does so by itself",
    Outcome.QUOTA_EXHAUSTED: "wait for the day or month to turn, or ask the platform for a larger quota",
    Outcome.TARGET_GONE: "the platform has no such post, or this account may not see it; look at its external_id",
    Outcome.TARGET_REFUSED: "look at the post's external_id: the platform takes it for none of its own",
    Outcome.NO_DATA_EVER: "nothing: the platform has no figures for this post",
    Outcome.TOO_EARLY: "nothing: the platform has too little data yet",
    Outcome.TOO_MUCH: "nothing: the poller asks for less by itself",
    Outcome.NOT_LISTED: "nothing: the poller asks for the post by itself",
    Outcome.PLATFORM_DOWN: "try again later; if it stays, look at TIDEMARK_{PLATFORM}_BASE_URL",
    Outcome.PERMISSION_MISSING: "give the app the scopes that the platform's documentation names: {documentation}",
    Outcome.METRIC_FORBIDDEN: "give the app the scope of this metric: {documentation}; the others are read without it",
    Outcome.METRIC_NOT_OFFERED: "nothing: the platform has no such metric for this kind of post, and it stays null",
    Outcome.REQUEST_WRONG: "a newer version of Tidemark may ask otherwise; the poller leaves out what it can",
}


@dataclass(frozen=True, slots=True)
class Subject:
    """What is checked.

    Attributes:
        targets: posts of the channel, newest first; of each kind the first is asked for.
    """

    name: str
    platform: Platform
    channel: Channel
    targets: Sequence[Target]
    credentials: Credentials


class Checked(NamedTuple):
    """What became of one call.

    Attributes:
        call: what was asked, in words for operators.
        result: `works`, or the outcome's name.
        words: the platform's, without secrets; empty where the call works.
        mends: what mends it; empty where the call works.
        is_refused: whether the platform did not take the call.
        request: the method and path, to compare with the platform's documentation.
    """

    call: str
    result: str
    words: str
    mends: str
    is_refused: bool
    request: str = ""


class Planned(NamedTuple):
    """One call to make, and what it is called."""

    name: str
    call: Call


def planned(subject: Subject, now: int) -> list[Planned]:
    """One of each call: identity, each kind of call for the newest post of each kind, the channel's own, discovery.

    Args:
        now: ms.
    """
    platform, channel = subject.platform, subject.channel
    calls = [Planned("identity", platform.identity_call(channel))]
    for kind, target in _newest(subject.targets).items():
        for call in platform.post_calls(channel, [target], now):
            calls.append(Planned(_name_of(call, kind), call))
    calls += [Planned(_name_of(call, "channel"), call) for call in platform.channel_calls(channel, now)]
    listing = platform.discovery_call(channel, now) if isinstance(platform, Discovers) else None
    if listing is not None:
        calls.append(Planned("list of posts", listing))
    return _told_apart(list({(one.name, one.call.path, one.call.query): one for one in calls}.values()))


def _told_apart(calls: Sequence[Planned]) -> list[Planned]:
    """The same; calls of one name, such as of several ranges of days, are numbered."""
    count, seen = Counter(one.name for one in calls), Counter[str]()
    told = []
    for one in calls:
        seen[one.name] += 1
        name = f"{one.name} ({seen[one.name]} of {count[one.name]})"
        told.append(one._replace(name=name) if count[one.name] > 1 else one)
    return told


def _newest(targets: Iterable[Target]) -> dict[str, Target]:
    """The first target of each kind."""
    found: dict[str, Target] = {}
    for target in targets:
        found.setdefault(f"{target.post_type or 'post'}{' (story)' if target.is_story else ''}", target)
    return found


def _name_of(call: Call, kind: str) -> str:
    what = call.shape or call.path.rstrip("/").rpartition("/")[2]
    return what if what.startswith(kind) or kind == "channel" else f"{kind}: {what}"


class Checker:
    """Makes the calls of one check.

    Args:
        directory: where accounts have servers of their own.
        now: the clock, ms.
    """

    def __init__(self, fetcher: Fetcher, directory: Directory, now: Callable[[], int]) -> None:
        self._fetcher = fetcher
        self._directory = directory
        self._now = now

    async def check(self, subject: Subject, show: Callable[[str, int, int], None]) -> list[Checked]:
        """Make one of each call, one after the other.

        Args:
            show: is told which call is made, how many are done, and of how many.
        """
        calls = planned(subject, self._now())
        found = []
        for number, one in enumerate(calls):
            show(one.name, number, len(calls))
            request = subject.credentials.redactor.text(f"{one.call.method} {one.call.path}")
            found.append((await self._one(subject, one))._replace(request=request))
        return found

    async def newest_posts(self, subject: Subject) -> list[Target]:
        """The account's newest posts by the platform's own list; [] where it has none, or refuses it."""
        platform, now = subject.platform, self._now()
        if not isinstance(platform, Discovers):
            return []
        listing = platform.discovery_call(subject.channel, now)
        call = None if listing is None else await self._placed(subject, listing)
        if call is None:
            return []
        try:
            reply = await self._fetch(subject, call)
            posts = platform.discovered(_event(subject, call, reply, now)).posts
        except (NoAnswer, MappingError):
            return []
        return [
            Target(f"newest-{number}", f"newest-{number}", post.external_id, post.post_type, post.published_at)
            for number, post in enumerate(posts)
        ]

    async def _placed(self, subject: Subject, call: Call) -> Call | None:
        """A call as rounds make it; None where the account's own server can't be found."""
        return await self._directory.placed(subject.name, subject.channel, call)

    async def _fetch(self, subject: Subject, call: Call) -> Reply:
        platform, token = subject.platform, subject.credentials.access_token
        origin = platform.origin_of(token) if isinstance(platform, HostedByToken) else None
        proof = tuple(subject.credentials.proof.items())
        sent = replace(call, query=(*call.query, *proof)) if proof else call
        base_url = origin or platform.facts.base_url
        headers = {} if call.is_public else platform.authorize(token)
        return await self._fetcher.fetch(subject.name, sent, base_url, headers)

    async def _one(self, subject: Subject, planned_call: Planned) -> Checked:
        placed = await self._placed(subject, planned_call.call)
        if placed is None:
            return Checked(
                planned_call.name, Outcome.PLATFORM_DOWN.value, "no directory names the account's own server",
                "look at the channel's external_id, and whether its server is up", True,
            )  # fmt: skip
        one = planned_call._replace(call=placed)
        try:
            reply = await self._fetch(subject, one.call)
        except NoAnswer as error:
            words = subject.credentials.redactor.text(str(error))
            return Checked(one.name, error.code, words, "look at the network, and at the platform's base URL", True)
        now, redactor = self._now(), subject.credentials.redactor
        verdict = verdict_of(subject.platform, _event(subject, one.call, reply, now), reply, now)
        if verdict.outcome is Outcome.OK:
            return self._works(subject, one, reply, now)
        words = words_of(redactor.body(reply.body))
        return Checked(one.name, verdict.outcome.value, words, mends(subject, one.call, verdict), True)

    def _works(self, subject: Subject, one: Planned, reply: Reply, now: int) -> Checked:
        """A call that was answered: whether figures came, too."""
        try:
            reading = subject.platform.read(_event(subject, one.call, reply, now))
        except MappingError as error:
            return Checked(one.name, "unreadable", str(error), "a newer version of Tidemark may read it", True)
        if reading.gone:
            gone = Verdict(Outcome.TARGET_GONE)
            words = words_of(subject.credentials.redactor.body(reply.body))
            return Checked(one.name, gone.outcome.value, words, mends(subject, one.call, gone), True)
        values = [value for part in reading.posts for value in part.values]
        if one.call.kind == RawKind.POST_METRICS and all(value is None for value in values):
            empty = "answered without figures: the post may have none yet, or a scope is missing"
            return Checked(one.name, "works", empty, _of_facts(subject, one.call, Verdict(Outcome.OK)) or "", False)
        return Checked(one.name, "works", "", "", False)


def verdict_of(platform: Platform, event: PlatformRaw, reply: Reply, now: int) -> Verdict:
    """What an answer means for the first target that it is about, or for the call."""
    whole = platform.classify(reply.status, reply.headers, event.body, now)
    if isinstance(platform, AnswersApart) and event.targets:
        return platform.verdicts(event, reply.headers, now).get(0, whole)
    return whole


def mends(subject: Subject, call: Call, verdict: Verdict) -> str:
    """What mends a refusal: what the platform's facts say of it, else what holds for every platform."""
    told = _of_facts(subject, call, verdict)
    if told is not None:
        return told
    facts = subject.platform.facts
    usual = _USUAL.get(verdict.outcome, "")
    return usual.replace("{PLATFORM}", facts.name.upper()).replace("{documentation}", facts.documentation)


def _of_facts(subject: Subject, call: Call, verdict: Verdict) -> str | None:
    return next((one.mends for one in subject.platform.facts.remedies if _fits(one, call, verdict)), None)


def _fits(remedy: Remedy, call: Call, verdict: Verdict) -> bool:
    return (
        remedy.outcome == verdict.outcome
        and (not remedy.reason or remedy.reason == verdict.reason)
        and (not remedy.calls or re.search(remedy.calls, f"{call.shape} {call.path}") is not None)
    )


def words_of(body: bytes) -> str:
    """What a person can read of a refusal, in one line."""
    try:
        text = _telling(orjson.loads(body))
    except (orjson.JSONDecodeError, RecursionError):
        text = ""
    if not text:
        begins = body[:_MOST_BYTES].decode("utf-8", "replace")
        text = html.unescape(_TAGS.sub(" ", begins)).strip() or begins
    # A platform's words go to a terminal: nothing in them may steer it.
    text = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return text if len(text) <= _MOST_WORDS else text[: _MOST_WORDS - 3] + "..."


def _telling(value: Any) -> str:
    """The most telling text in a JSON value, "" when there is none."""
    if isinstance(value, str):
        # A part of a batch is JSON in a text.
        try:
            return _telling(orjson.loads(value)) if value[:1] in ("{", "[") else value
        except orjson.JSONDecodeError:
            return value
    if isinstance(value, list):
        return next((found for inner in value if (found := _telling(inner))), "")
    if not isinstance(value, dict):
        return ""
    for name in _WORDS:
        held = value.get(name)
        if held and (found := held if isinstance(held, str) else _telling(held)):
            return found
    nested = (inner for inner in value.values() if isinstance(inner, dict | list) or str(inner)[:1] in ("{", "["))
    return next((found for inner in nested if (found := _telling(inner))), "")


def _event(subject: Subject, call: Call, reply: Reply, now: int) -> PlatformRaw:
    key = (subject.channel.workspace_id, subject.channel.channel_id)
    return raw_event(
        "check", key, subject.name, call, status=reply.status, body=reply.body, captured_at=now, origin=Origin.LIVE,
        redactor=subject.credentials.redactor,
    )  # fmt: skip
