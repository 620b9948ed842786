"""Posts that were published elsewhere, as far as the catalog knows them; pure.

In: the catalog's channels and posts as they are folded, and what an account's own list names. Out: the posts that are
missing, and the ids of discovered posts that have to go. A discovered post has an id that follows from its channel and
the platform's id of it, so that it is the same whoever finds it, however often:

- An id that the topic ever brought, a tombstone included, is not written again. The topic keeps tombstones for 90 days,
  and no older post is looked for, so that what was deleted stays deleted over restarts too.
- A post of the product's with the platform's id of a discovered one takes its place: the discovered one goes.
- Where the product deletes a post of its own, the id that it would be discovered by gets a tombstone.
- A platform may know one post by several ids: a reel of a page as a video and as a post, an edited post by each
  version's. A list's item names them, or its link does. What the product has under any of them is not found again.
  Where no list names the product's kind of id, a post of the same moment is taken for the product's.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import parse_qsl, unquote, urlsplit

from schemas.events import CatalogChannel, CatalogPost, CatalogTarget, ChannelStatus, PostStatus, TargetOrigin
from schemas.tiers import Rule
from services.platforms.abilities import Discovered
from services.poller.keys import ChannelKey
from services.poller.schedule.entry import Entry
from services.poller.schedule.plan import Plan

PREFIX = "discovered:"
_ID_BYTES = 16
# Whoever publishes by the platform's API tells the catalog so within seconds; what is younger waits for the next look.
SETTLING = 10 * 60_000
_LONGEST_CONTENT = 200_000
# An id with a page, a kind or a type before it.
_QUALIFIED = re.compile(r"\d+_(\d+)|t\d_(\w+)|urn:li:(?:share|ugcPost|activity):(\d+)")
# What may be an id among the words of a link.
_WORD = re.compile(r"(?=.*\d|.{10})[\w-]{5,128}", re.ASCII)
_LONG_NUMBER = re.compile(r"\d{10,}")
_LONGEST_LINK = 2_000
# Of a post that the product knows by an id that no list names, the instant is all that both have in common: better one
# post less is found than one counted twice.
_SAME_MOMENT = 2 * 60_000

PostKey = tuple[str, str]
"""Workspace and id of a post."""


def spelling(external_id: str) -> str:
    """The part of a platform's id that is the same however it is written: with a handle, a page or a kind before it."""
    last = external_id.rstrip("/").rpartition("/")[2]
    qualified = _QUALIFIED.fullmatch(last)
    return qualified[qualified.lastindex or 0] if qualified else last


def ids_in(link: str) -> list[str]:
    """Whatever in a post's link may be an id of the post: words of the path, values of parameters, long numbers.

    Some of them are ids of other things (an account, an album). Compared with ids of posts alone, these match none.
    """
    try:
        parts = urlsplit(link[:_LONGEST_LINK])
    except ValueError:
        return []
    words = [*unquote(parts.path).split("/"), *(value for _, value in parse_qsl(parts.query))]
    found: dict[str, None] = {}
    for word in map(spelling, words):
        whole = [word] if _WORD.fullmatch(word) else []
        found.update(dict.fromkeys([*whole, *_LONG_NUMBER.findall(word)]))
    return list(found)


def names_of(external_id: str) -> list[str]:
    """The spellings of an id that may be a link to the post; its own first."""
    is_link = external_id.startswith(("https://", "http://"))
    return list(dict.fromkeys([spelling(external_id), *(ids_in(external_id) if is_link else ())]))


def discovered_id(channel_id: str, external_id: str) -> str:
    """Our id of a discovered post, and of its target."""
    text = f"{channel_id}\0{spelling(external_id)}".encode()
    return PREFIX + hashlib.blake2b(text, digest_size=_ID_BYTES).hexdigest()


def oldest_discovered(rule: Rule) -> int:
    """Up to which age (ms) posts are looked for: those that are polled, less two of their last intervals.

    Of an older one the schedule may hold nothing any more, although the catalog does.
    """
    until, interval = rule.tiers[-1]
    return until - 2 * interval


class Discoveries:
    """What is known of posts that were published elsewhere.

    Attributes:
        channels: active channels whose posts are looked for, by platform.
        superseded: discovered posts whose tombstone is to be written.
        on_superseded: called when `superseded` or what is to be checked grows.
    """

    def __init__(self) -> None:
        self.channels: dict[str, set[ChannelKey]] = defaultdict(set)
        self.superseded: set[PostKey] = set()
        self.on_superseded: Callable[[], None] = _nothing
        # Whether a discovered post stands, by each id with the prefix that the topic ever brought.
        self._heard: dict[str, dict[str, bool]] = {}
        # The platform's ids of the product's posts that the schedule does not hold, since they are not polled.
        self._unpolled: dict[str, dict[str, tuple[tuple[str, str], ...]]] = {}
        # Discovered posts that came after what the product may have written of them before.
        self._unchecked: dict[ChannelKey, set[str]] = defaultdict(set)

    def put_channel(self, key: ChannelKey, event: CatalogChannel | None) -> None:
        """A channel as it is now; None for its deletion."""
        for keys in self.channels.values():
            keys.discard(key)
        if event is not None and event.discover and event.status == ChannelStatus.ACTIVE:
            self.channels[event.platform].add(key)

    def put_post(self, workspace_id: str, post_id: str, event: CatalogPost | None, held: Iterable[Entry]) -> None:
        """A post as it is now; None for its deletion.

        Args:
            held: what was polled of it until now.
        """
        targets = () if event is None else event.targets
        if post_id.startswith(PREFIX) and self._put_own(workspace_id, post_id, event):
            return
        before = {entry.target_id: (entry.key[1], entry.external_id) for entry in held}
        unpolled = self._unpolled.get(workspace_id, {}).get(post_id, ())
        self._keep_unpolled(workspace_id, post_id, event)
        for target in targets:
            before.pop(target.target_id, None)
            self._supersede_where(workspace_id, target.channel_id, target.external_id)
        gone = [*before.values(), *(unpolled if event is None else ())]
        for channel_id, external_id in gone if not post_id.startswith(PREFIX) else ():
            self._bar(workspace_id, channel_id, external_id)

    def missing(
        self, key: ChannelKey, plan: Plan, found: Iterable[Discovered], now: int, unlisted_ids: str = ""
    ) -> list[CatalogPost]:
        """Of the posts in an account's list those that the catalog lacks, as they are to be written.

        A discovered post that the product has under another id, as the list shows, is superseded.

        Args:
            now: ms.
            unlisted_ids: how ids begin that no list of the platform names; empty where every id is named.
        """
        known, heard = self._products(key, plan), self._heard.get(key[0], {})
        by_moment = (entry for entry in plan.live() if unlisted_ids and entry.external_id.startswith(unlisted_ids))
        unnamed = [entry.published_at for entry in by_moment]
        youngest, oldest = now - SETTLING, now - oldest_discovered(plan.rule)
        made: dict[str, CatalogPost] = {}
        for post in found:
            post_id, *others = [discovered_id(key[1], name) for name in _names_of_listed(post)]
            if not known.isdisjoint(others) and heard.get(post_id):
                self.superseded.add((key[0], post_id))
                self.on_superseded()
            is_lacking = known.isdisjoint((post_id, *others)) and heard.keys().isdisjoint((post_id, *others))
            may_be_held = any(abs(post.published_at - at) <= _SAME_MOMENT for at in unnamed)
            if is_lacking and not may_be_held and oldest < post.published_at <= youngest:
                made[post_id] = _post(key, post_id, post, now)
        return list(made.values())

    def is_unheard(self, workspace_id: str, post_id: str) -> bool:
        """Whether the topic never brought an id, and this process never wrote it."""
        return post_id not in self._heard.get(workspace_id, {})

    def wrote(self, workspace_id: str, post_id: str) -> None:
        """A discovered post is on its way to the topic."""
        self._heard.setdefault(workspace_id, {})[post_id] = True

    def check(self, may_ask: Callable[[str], bool], plan_of: Callable[[ChannelKey], Plan | None]) -> None:
        """Find those among newly read discovered posts that the product has as well: they are superseded.

        Args:
            may_ask: whether all is known of a workspace, and it is this process's.
        """
        for key in [key for key in self._unchecked if may_ask(key[0])]:
            plan, ids = plan_of(key), self._unchecked.pop(key)
            if plan is not None:
                self.superseded.update((key[0], post_id) for post_id in ids & self._products(key, plan))

    def discard(self, belongs: Callable[[str], bool]) -> None:
        """Forget workspaces that belong to another process now."""
        for by_workspace in (self._heard, self._unpolled):
            for workspace_id in [name for name in by_workspace if belongs(name)]:
                del by_workspace[workspace_id]
        for key in [key for key in self._unchecked if belongs(key[0])]:
            del self._unchecked[key]
        for keys in (*self.channels.values(), self.superseded):
            keys.difference_update([key for key in keys if belongs(key[0])])

    def _put_own(self, workspace_id: str, post_id: str, event: CatalogPost | None) -> bool:
        """A post with an id of a discovered one; returns whether it is one, and not the product's by now."""
        heard, held = self._heard.setdefault(workspace_id, {}), (workspace_id, post_id)
        is_there = event is not None and event.status != PostStatus.DELETED
        if event is None or not event.targets or any(t.origin != TargetOrigin.DISCOVERED for t in event.targets):
            heard[post_id] = False
            self.superseded.discard(held)
            return False
        if not is_there or heard.get(post_id) is False:
            # Sent before its tombstone, or by a process that did not know of it: the tombstone stands.
            heard[post_id] = False
            if is_there:
                self.superseded.add(held)
                self.on_superseded()
            return True
        heard[post_id] = True
        self._unchecked[workspace_id, event.targets[0].channel_id].add(post_id)
        self.on_superseded()
        return True

    def _keep_unpolled(self, workspace_id: str, post_id: str, event: CatalogPost | None) -> None:
        unpolled = () if event is None else tuple(
            (target.channel_id, target.external_id)
            for target in event.targets
            if target.external_id
            and (
                event.status == PostStatus.DELETED
                or target.status != PostStatus.PUBLISHED
                or event.published_at_of(target) is None
            )
        )  # fmt: skip
        if unpolled:
            self._unpolled.setdefault(workspace_id, {})[post_id] = unpolled
        elif workspace_id in self._unpolled:
            self._unpolled[workspace_id].pop(post_id, None)

    def _supersede_where(self, workspace_id: str, channel_id: str, external_id: str) -> None:
        heard = self._heard.get(workspace_id)
        if not heard or not external_id:
            return
        for name in names_of(external_id):
            post_id = discovered_id(channel_id, name)
            if heard.get(post_id):
                self.superseded.add((workspace_id, post_id))
                self.on_superseded()

    def _bar(self, workspace_id: str, channel_id: str, external_id: str) -> None:
        """The product deleted a post of its own: it is not to come back as one that was found."""
        if not any((workspace_id, channel_id) in keys for keys in self.channels.values()):
            return
        for name in names_of(external_id):
            post_id = discovered_id(channel_id, name)
            if self.is_unheard(workspace_id, post_id):
                self._heard.setdefault(workspace_id, {})[post_id] = False
                self.superseded.add((workspace_id, post_id))
                self.on_superseded()

    def _products(self, key: ChannelKey, plan: Plan) -> set[str]:
        """The ids that a channel's posts of the product's own would be discovered by."""
        stands = self._heard.get(key[0], {})
        own = [
            entry.external_id
            for entry in plan.live()
            if not (entry.post_id.startswith(PREFIX) and stands.get(entry.post_id))
        ]
        for unpolled in self._unpolled.get(key[0], {}).values():
            own += [external_id for channel_id, external_id in unpolled if channel_id == key[1]]
        return {discovered_id(key[1], name) for external_id in own for name in names_of(external_id)}


def _names_of_listed(post: Discovered) -> list[str]:
    """The spellings of all ids that a list's item is known by; the one that it is discovered under first."""
    others = [spelling(other) for other in post.other_ids]
    return list(dict.fromkeys([spelling(post.external_id), *others, *ids_in(post.permalink)]))


def _post(key: ChannelKey, post_id: str, found: Discovered, now: int) -> CatalogPost:
    target = CatalogTarget(
        post_id, key[1], found.post_type, PostStatus.PUBLISHED.value, found.external_id, found.permalink or None,
        found.published_at, found.content[:_LONGEST_CONTENT] or None, origin=TargetOrigin.DISCOVERED.value,
    )  # fmt: skip
    return CatalogPost(
        key[0], post_id, PostStatus.PUBLISHED.value, found.published_at, found.published_at, (target,), now
    )


def _nothing() -> None:
    """Nobody asked to be told."""


def slot(phase: int, interval: int, now: int) -> int:
    """The last instant (ms) up to `now` at which a channel's list was due: the same for every process, at any time."""
    return now - (now - phase) % interval


def newest_first(found: Sequence[Discovered], most: int) -> Sequence[Discovered]:
    """The newest posts of a list that may be long."""
    return sorted(found, key=lambda post: -post.published_at)[:most]
