"""What to poll, folded from the catalog topics into the schedule; pure.

Channels, posts and tokens arrive in any order, each event replacing the one before it; a tombstone deletes. Only
targets that can be polled are held: published, with the platform's id and a time, young enough. Channels of a workspace
that is still being read are held, but not active: `activate` comes when all is known of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from schemas.codec import Codec, MalformedEvent
from schemas.events import CatalogChannel, CatalogPost, ChannelStatus, ChannelTokens, PostStatus
from schemas.keys import Reason, checked_key, reason_of
from schemas.topic_names import CHANNELS, POSTS, TOKENS
from services.poller.connections.accounts import Accounts
from services.poller.connections.tokens import PUT, TokenStore
from services.poller.discoveries import Discoveries
from services.poller.keys import ChannelKey
from services.poller.schedule.entry import Entry
from services.poller.schedule.schedule import Schedule
from services.runtime.logging import get_logger
from services.runtime.registry import RegistryUnavailable

TOPICS = (CHANNELS, TOKENS, POSTS)

_log = get_logger(__name__)


class Catalog:
    """Channels, posts and tokens, as far as the poller needs them.

    Args:
        codecs: a codec for each of `TOPICS`, by name without prefix.
        is_read: whether all is known of a workspace, so that its channels may be asked.

    Attributes:
        channels: every channel's newest event.
        discoveries: what is known of posts that were published elsewhere.
        on_channel: called after news of a channel or of its tokens.
        refused: how many messages did not count, by topic and reason.
        on_connected: called after a channel was put, or new tokens of it, but not after a refresh of its tokens.
        on_refused: called for each of them.
        on_written: called with the channel of each target that is new, or written again after it was put off.
        is_set_aside: asked of each target that is written again as it was: whether it was refused, and so is put off.
        is_news: asked of each event of a channel that the topic brings, whether it is to be taken in.
    """

    def __init__(
        self,
        codecs: Mapping[str, Codec[Any]],
        schedule: Schedule,
        tokens: TokenStore,
        accounts: Accounts,
        is_read: Callable[[str], bool] | None = None,
    ) -> None:
        self._codecs = codecs
        self._schedule = schedule
        self._tokens = tokens
        self._accounts = accounts
        self._is_read = is_read or _always
        self._posts: dict[str, dict[str, tuple[Entry, ...]]] = {}
        self._names: dict[str, str] = {}
        self.channels: dict[ChannelKey, CatalogChannel] = {}
        self.discoveries = Discoveries()
        self.on_channel: Callable[[ChannelKey], None] = _nothing
        self.on_connected: Callable[[ChannelKey], None] = _nothing
        self.on_written: Callable[[ChannelKey], None] = _nothing
        self.is_set_aside: Callable[[ChannelKey, str], bool] = _never
        self.is_news: Callable[[ChannelKey, CatalogChannel | None], bool] = _always_news
        schedule.forget = self._forget
        self.refused: Counter[tuple[str, Reason]] = Counter()
        self.on_refused: Callable[[str, Reason], None] = _uncounted

    def fold(
        self,
        topic: str,
        message_key: bytes | None,
        value: bytes | None,
        now: int,
        is_home: Callable[[str], bool] | None = None,
    ) -> None:
        """Take in one message of a catalog topic; one that does not count is logged, counted and passed over.

        Args:
            value: None for a tombstone.
            now: ms.
            is_home: whether the message's partition is a workspace's.

        Raises:
            RegistryUnavailable: from the codec; to be called again.
        """
        try:
            event = None if value is None else self._codecs[topic].decode(value)
            workspace_id, subject_id = checked_key(topic, message_key, event, is_home)
        except RegistryUnavailable:
            raise
        except MalformedEvent as error:
            self._refuse(topic, reason_of(error), str(error))
            return
        except Exception as error:
            # One message must not keep the others from being read, whatever is wrong with it or with its decoder.
            self._refuse(topic, Reason.UNREADABLE_VALUE, repr(error))
            return
        key = (self._name(workspace_id), subject_id)
        if topic == POSTS:
            self.put_post(key[0], subject_id, event, now)
        elif topic == CHANNELS:
            self.take_channel(key, event, now)
        else:
            self.put_tokens(key, event, now)

    def take_channel(self, key: ChannelKey, event: CatalogChannel | None, now: int) -> None:
        """A channel as the topic brings it; see `put_channel`."""
        if self.is_news(key, event):
            held = self.channels.get(key)
            self.put_channel(key, event, now)
            if event is not None and held is not None and event.updated_at > held.updated_at:
                self.on_connected(key)

    def put_channel(self, key: ChannelKey, event: CatalogChannel | None, now: int) -> None:
        """A channel as it is now; None for its deletion. Acts at once on what is not yet in flight."""
        active = event is not None and event.status == ChannelStatus.ACTIVE and self._is_read(key[0])
        if event is not None and self._accounts.try_again(key, event.updated_at):
            self._schedule.resume(self._schedule.plan(key), now)
        self._schedule.connect(key, event, active=active, now=now)
        if event is None:
            self.channels.pop(key, None)
        else:
            self.channels[key] = event
        self.discoveries.put_channel(key, event)
        self.on_channel(key)

    def put_tokens(self, key: ChannelKey, event: ChannelTokens | None, now: int) -> None:
        """A channel's tokens; a paused channel is tried again with them."""
        held = self._tokens.sealed(key)
        self._tokens.put(key, event)
        taken = self._tokens.sealed(key)
        if taken is not None and taken is not held and taken.origin == PUT:
            self.on_connected(key)
        if event is not None:
            self._accounts.try_again(key, event.updated_at)
            plan = self._schedule.plans.get(key)
            if plan is not None:
                self._schedule.resume(plan, now)
        self.on_channel(key)

    def put_post(self, workspace_id: str, post_id: str, event: CatalogPost | None, now: int) -> None:
        """A post with all its targets; None for its deletion.

        Targets that stayed the same keep their due times, but for those that their platform had no figures of.
        """
        posts = self._posts.setdefault(workspace_id, {})
        held = posts.get(post_id, ())
        self.discoveries.put_post(workspace_id, post_id, event, held)
        kept: list[Entry] = []
        if event is not None and event.status != PostStatus.DELETED:
            for target in event.targets:
                published_at = event.published_at_of(target)
                if published_at is None or not target.external_id or target.status != PostStatus.PUBLISHED:
                    continue
                entry = next((entry for entry in held if entry.same_as(target, published_at)), None)
                if entry is not None and (entry.is_resting or self.is_set_aside(entry.key, entry.external_id)):
                    # Whoever writes it again wants it to be asked for again.
                    entry = None
                if entry is None:
                    plan = self._schedule.plan((workspace_id, target.channel_id))
                    entry = self._schedule.add(plan, post_id, target, published_at, now)
                    self.on_written(plan.key)
                if entry is not None:
                    kept.append(entry)
        for entry in held:
            if entry not in kept:
                self._schedule.drop(entry)
        if kept:
            posts[post_id] = tuple(kept)
        else:
            posts.pop(post_id, None)

    def activate(self, belongs: Callable[[str], bool], captured: Mapping[ChannelKey, int], now: int) -> int:
        """All is known of workspaces now, and `is_read` says so: their channels are asked from here on.

        Args:
            belongs: which workspaces.
            captured: when channels' own figures were last captured (ms), as far as known.

        Returns:
            How many channels there are.
        """
        keys = [key for key in self.channels if belongs(key[0])]
        for key in keys:
            event = self.channels[key]
            self._schedule.connect(key, event, active=event.status == ChannelStatus.ACTIVE, now=now)
            if key in captured:
                self._schedule.restore_channel(key, captured[key])
        for key in self._accounts.paused():
            if belongs(key[0]) and key in self._schedule.plans:
                self._schedule.pause(self._schedule.plans[key])
        self._schedule.rebuild(keys)
        for key in keys:
            self.on_channel(key)
        return len(keys)

    def deactivate(self, belongs: Callable[[str], bool], now: int) -> None:
        """Take out no more work for workspaces; what is under way goes on."""
        for key, event in self.channels.items():
            if belongs(key[0]):
                self._schedule.connect(key, event, active=False, now=now)

    def discard(self, belongs: Callable[[str], bool]) -> None:
        """Forget workspaces that belong to another process now."""
        gone = {key for key in (*self._schedule.plans, *self.channels) if belongs(key[0])}
        self._schedule.discard(gone)
        for workspace_id in [name for name in self._posts if belongs(name)]:
            del self._posts[workspace_id]
        for workspace_id in [name for name in self._names if belongs(name)]:
            del self._names[workspace_id]
        self._tokens.discard(belongs)
        self._accounts.discard(belongs)
        self.discoveries.discard(belongs)
        for key in gone:
            self.channels.pop(key, None)
            self.on_channel(key)

    def entries(self, workspace_id: str, post_id: str) -> tuple[Entry, ...]:
        """What is polled of a post, () when nothing is."""
        return self._posts.get(workspace_id, {}).get(post_id, ())

    def _refuse(self, topic: str, reason: Reason, error: str) -> None:
        self.refused[topic, reason] += 1
        self.on_refused(topic, reason)
        _log.error("a catalog event does not count", topic=topic, reason=reason.value, error=error)

    def _forget(self, entry: Entry) -> None:
        posts = self._posts.get(entry.key[0], {})
        left = tuple(other for other in posts.get(entry.post_id, ()) if other is not entry)
        if left:
            posts[entry.post_id] = left
        else:
            posts.pop(entry.post_id, None)

    def _name(self, workspace_id: str) -> str:
        """One text object a workspace, however many things it has."""
        return self._names.setdefault(workspace_id, workspace_id)


def _nothing(key: ChannelKey) -> None:
    """Nobody asked to be told."""


def _uncounted(topic: str, reason: Reason) -> None:
    """Stands in for a counter of refused records where none is kept."""


def _never(_: ChannelKey, __: str) -> bool:
    """Where nothing is asked of platforms, nothing was refused."""
    return False


def _always(_: str) -> bool:
    """Where nothing is read from Kafka, all is known."""
    return True


def _always_news(_: ChannelKey, __: CatalogChannel | None) -> bool:
    """Where this process writes no channel, everything on the topic is news."""
    return True
