"""Looks up in public directories what calls of some platforms need: the id behind a name, the server of an account.

What was found is kept for a day, and looked up again once an account's server no longer answers for it. A lookup is
made without any token and its answer is not published, since it holds no figure. A server that a directory names is
reached through the guard against private addresses (`addresses.py`), as every host that no setting names.

Where a platform's address is configured, that address stands for all of its servers, so no server is looked up.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from services.platforms.abilities import InDirectories, RefreshCall, has
from services.platforms.base import Call, Channel, Platform
from services.poller.asking.fetch import Fetcher
from services.poller.errors import PollerError
from services.poller.timing import Time
from services.runtime.clock import MILLIS_PER_DAY, MILLIS_PER_SECOND
from services.runtime.logging import get_logger

KEPT_FOR = MILLIS_PER_DAY
# How soon a lookup that brought nothing is made again.
AGAIN_AFTER = 5 * 60 * MILLIS_PER_SECOND
MOST_KEPT = 100_000
# A name, then the server of what it stands for: more steps than there are.
_MOST_STEPS = 3
_log = get_logger(__name__)


class Directory:
    """What directories said, for all platforms that have some.

    Args:
        configured: platforms whose address is configured.
    """

    def __init__(
        self, *, time: Time, platforms: Mapping[str, Platform], fetcher: Fetcher, configured: Collection[str] = ()
    ) -> None:
        self._time = time
        self._platforms = platforms
        self._fetcher = fetcher
        self._configured = frozenset(configured)
        self._known: dict[str, OrderedDict[str, tuple[str, int]]] = {}
        self._missed: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._under_way: dict[tuple[str, str], asyncio.Task[str | None]] = {}

    async def placed(self, name: str, channel: Channel, call: Call) -> Call | None:
        """A call as it has to be made; None where the account's own server can't be found now."""
        platform = self._platforms.get(name)
        if not has(platform, InDirectories):
            return call
        is_at_home = not (call.is_public or name in self._configured)
        if not call.is_public and not is_at_home:
            return call
        known = await self._look_up(name, platform, channel, call)
        if is_at_home and platform.home_of(channel, known) is None:
            return None
        return platform.placed(channel, call, known)

    async def refresh_at_home(self, name: str, channel: Channel, call: RefreshCall) -> RefreshCall | None:
        """A refresh as it has to be made; None where the account's own server can't be found now."""
        platform = self._platforms.get(name)
        if not has(platform, InDirectories) or name in self._configured:
            return call
        home = platform.home_of(channel, await self._look_up(name, platform, channel, None))
        return None if home is None else replace(call, base_url=home)

    async def has_moved(self, name: str, channel: Channel) -> bool:
        """Look again where an account's server is, which refused; returns whether that is another one than before."""
        platform = self._platforms.get(name)
        if not has(platform, InDirectories) or name in self._configured:
            return False
        before = platform.home_of(channel, self._fresh(name))
        self.forget(name, channel)
        found = platform.home_of(channel, await self._look_up(name, platform, channel, None))
        return found is not None and found != before

    def forget(self, name: str, channel: Channel) -> None:
        """An account's server does not answer as it should: look it up again before it is asked next."""
        platform, kept = self._platforms.get(name), self._known.get(name, OrderedDict())
        if has(platform, InDirectories):
            home = platform.home_of(channel, self._fresh(name))
            for found in [found for found in (channel.external_id, self._value(name, channel.external_id)) if found]:
                if home is not None and kept.get(found, ("", 0))[0] == home:
                    del kept[found]

    def is_apart(self, name: str, call: Call) -> bool:
        """Whether a call goes to an account's own server, whose state says nothing of the platform's."""
        is_many = isinstance(self._platforms.get(name), InDirectories)
        return is_many and not call.is_public and name not in self._configured

    async def _look_up(
        self, name: str, platform: InDirectories, channel: Channel, call: Call | None
    ) -> Mapping[str, str]:
        """What is known for a call once all was looked up that could be."""
        for _ in range(_MOST_STEPS):
            known = self._fresh(name)
            wanted = [one for one in platform.names_of(channel, call, known) if not self._was_missed(name, one)]
            if not wanted:
                break
            await asyncio.gather(*(self._find(name, platform, one) for one in wanted))
        return self._fresh(name)

    async def _find(self, name: str, platform: InDirectories, wanted: str) -> str | None:
        """Look one name up, once for all who want it."""
        task = self._under_way.get((name, wanted))
        if task is None:
            task = asyncio.create_task(self._ask(name, platform, wanted))
            self._under_way[name, wanted] = task
            task.add_done_callback(lambda _: self._under_way.pop((name, wanted), None))
        return await asyncio.shield(task)

    async def _ask(self, name: str, platform: InDirectories, wanted: str) -> str | None:
        call, found = platform.lookup_call(wanted), None
        if call is not None:
            try:
                reply = await self._fetcher.fetch(name, call, self._platforms[name].facts.base_url, {})
                found = platform.looked_up(wanted, reply.status, reply.body)
            except PollerError as error:
                _log.info("a directory did not answer", platform=name, name=wanted[:200], error=str(error))
        now = self._time.now()
        if found is None:
            _log.info("a directory does not know a name", platform=name, name=wanted[:200])
            self._missed[name, wanted] = now + AGAIN_AFTER
            while len(self._missed) > MOST_KEPT:
                self._missed.popitem(last=False)
            return None
        kept = self._known.setdefault(name, OrderedDict())
        kept[wanted] = (found, now + KEPT_FOR)
        kept.move_to_end(wanted)
        while len(kept) > MOST_KEPT:
            kept.popitem(last=False)
        return found

    def _was_missed(self, name: str, wanted: str) -> bool:
        return self._missed.get((name, wanted), 0) > self._time.now()

    def _value(self, name: str, wanted: str) -> str | None:
        held = self._known.get(name, OrderedDict()).get(wanted.lower())
        return None if held is None else held[0]

    def _fresh(self, name: str) -> Mapping[str, str]:
        return _Kept(self._known.get(name, OrderedDict()), self._time.now())


class _Kept(Mapping[str, str]):
    """What was found and is not too old, without a copy of it."""

    def __init__(self, held: Mapping[str, tuple[str, int]], now: int) -> None:
        self._held = held
        self._now = now

    def __getitem__(self, wanted: str) -> str:
        found, until = self._held[wanted]
        if until <= self._now:
            raise KeyError(wanted)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter([wanted for wanted, (_, until) in self._held.items() if until > self._now])

    def __len__(self) -> int:
        return sum(1 for _ in self)
