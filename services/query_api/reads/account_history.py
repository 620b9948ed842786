"""An account's state after each poll of a span, read in parts, since a year of payloads does not fit into memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple

from schemas.events import CatalogChannel
from schemas.metrics import CHANNEL_METRICS, NO_CHANNEL_VALUES
from schemas.windows import ChannelPeriod
from services.query_api.fairness import Desk
from services.query_api.reads import sql
from services.query_api.reads.account_answers import AccountAnswers
from services.query_api.reads.accounts import account_figures, account_sources
from services.query_api.reads.clickhouse import ClickHouse
from services.query_api.reads.merging import PeriodKey
from services.query_api.reads.payloads import BATCH_BYTES, grouped
from services.query_api.reads.polls import LONGEST_GAP, LONGEST_POLL, AccountAnswer, order, polls, raw_of
from services.query_api.reads.query import AccountFigures, AccountHistory, AccountHistoryQuestion, AccountSnapshot

_METRICS = len(CHANNEL_METRICS)
# How many days and windows are searched for the latest one that has a figure.
_PERIODS = 100
# How many rows of snapshots are read at a time; one answer's figures take several rows.
_PAGE_ROWS = 10_000
# How many rows may wait for a pause between polls; after more rows without a pause, the last poll is cut in two.
_MOST_WAITING_ROWS = 3 * _PAGE_ROWS
# An answer with more polls or payload bytes than this is sent in parts.
_WHOLE_POLLS = 2_000
# How many polls' payload sizes are asked for at once.
_POLLS_AT_ONCE = 50


class Part(NamedTuple):
    """Some of a span's snapshots, oldest first.

    Attributes:
        size_bytes: the size of the snapshots' payloads.
    """

    snapshots: list[AccountSnapshot]
    size_bytes: int
    is_last: bool


class Poll(NamedTuple):
    """The account right after a poll, with the answers whose payloads are shown."""

    captured_at: int
    figures: AccountFigures
    event_ids: tuple[str, ...]


class AccountHistories:
    """Answers the question about an account's span."""

    def __init__(self, clickhouse: ClickHouse, desk: Desk, answers: AccountAnswers) -> None:
        self._clickhouse = clickhouse
        self._desk = desk
        self._answers = answers

    async def history(self, question: AccountHistoryQuestion, channel: CatalogChannel) -> AccountHistory:
        """The account's state after each poll of the span; in parts for a long span."""
        parts = self._parts(question)
        whole: list[AccountSnapshot] = []
        size = 0
        async for part in parts:
            whole += part.snapshots
            size += part.size_bytes
            if not part.is_last and (size > BATCH_BYTES or len(whole) > _WHOLE_POLLS):
                return AccountHistory(channel.channel_id, channel.platform, whole, _rest(parts))
        return AccountHistory(channel.channel_id, channel.platform, whole)

    async def _parts(self, question: AccountHistoryQuestion) -> AsyncGenerator[Part, None]:
        async with aclosing(self._polls(question)) as pages:
            async for page, is_last_page in pages:
                for first in range(0, len(page), _POLLS_AT_ONCE):
                    some = page[first : first + _POLLS_AT_ONCE]
                    is_last = is_last_page and first + _POLLS_AT_ONCE >= len(page)
                    async for part in self._with_payloads(question.workspace_id, some, is_last=is_last):
                        yield part

    async def _with_payloads(
        self, workspace_id: str, some: Sequence[Poll], *, is_last: bool
    ) -> AsyncGenerator[Part, None]:
        names = sorted({name for poll in some for name in poll.event_ids})
        answers = await self._answers.answers(workspace_id, names, {})
        sizes = await self._answers.sizes(workspace_id, names)
        by_number = {str(number): poll for number, poll in enumerate(some)}
        of_polls = {number: sum(sizes.get(name, 0) for name in poll.event_ids) for number, poll in by_number.items()}
        left = len(some)
        for numbers, size in grouped(by_number, of_polls):
            group = [by_number[number] for number in numbers]
            shown = list(dict.fromkeys(name for poll in group for name in poll.event_ids))
            payloads = await self._answers.payloads(workspace_id, shown)
            snapshots = [
                AccountSnapshot(
                    poll.captured_at,
                    poll.figures,
                    raw_of(sorted((answers[name] for name in poll.event_ids), key=order, reverse=True), payloads),
                )
                for poll in group
            ]
            left -= len(group)
            yield Part(snapshots, size, is_last and not left)

    async def _polls(self, question: AccountHistoryQuestion) -> AsyncGenerator[tuple[list[Poll], bool], None]:
        """The span's polls, some at a time, each time with whether they are the last ones."""
        workspace_id = question.workspace_id
        # A poll belongs to the span if its last answer does, so rows before the span and past its end are read too.
        where = {
            "workspace": workspace_id,
            "channel": question.channel_id,
            "since": question.since - LONGEST_POLL,
        }
        standing = Standing(
            await self._clickhouse.rows("channel_before", sql.CHANNEL_BEFORE, {**where, "limit": _PERIODS})
        )
        waiting: list[list[Any]] = []
        async for page, is_last in self._pages({**where, "until": question.until + LONGEST_POLL}):
            waiting += page
            cut = len(waiting) if is_last else _between_polls(waiting)
            if not cut and len(waiting) >= _MOST_WAITING_ROWS:
                cut = len(waiting)
            rows, waiting = waiting[:cut], waiting[cut:]
            times = {row[0]: row[1] for row in rows}
            answers = await self._answers.answers(workspace_id, times, times)
            stood = await self._desk.run(workspace_id, standing.after, rows, answers)
            yield [poll for poll in stood if question.since <= poll.captured_at < question.until], is_last

    async def _pages(self, where: Mapping[str, Any]) -> AsyncGenerator[tuple[list[list[Any]], bool], None]:
        """Rows of snapshots in order, in pages of whole answers, each with whether it is the last page."""
        after: tuple[int, str] = (-(2**63), "")
        is_last = False
        while not is_last:
            wanted = {**where, "after_at": after[0], "after_event": after[1], "limit": _PAGE_ROWS}
            rows = await self._clickhouse.rows("channel_snapshots", sql.CHANNEL_SNAPSHOTS, wanted)
            is_last = len(rows) < _PAGE_ROWS
            if not is_last:
                # The last answer may go on after the page, so it is read again; one that fills a page alone is cut.
                rows = [row for row in rows if (row[0], row[1]) != (rows[-1][0], rows[-1][1])] or rows
            if rows:
                after = (rows[-1][1], rows[-1][0])
            yield rows, is_last


class Standing:
    """An account's state after each of its answers, which come oldest first; the latest value of a figure counts.

    Args:
        before: the state before the first answer.
    """

    def __init__(self, before: Iterable[list[Any]]) -> None:
        self._held: dict[PeriodKey, list[int | None]] = {}
        self._said: dict[PeriodKey, list[str]] = {}
        for period, start, end, names, *values in before:
            self._held[period, start, end], self._said[period, start, end] = values, names

    def after(self, rows: Sequence[list[Any]], answers: Mapping[str, AccountAnswer]) -> list[Poll]:
        """The account's state right after each poll.

        Args:
            rows: the snapshot rows of whole polls.
            answers: the rows' answers, by event id.
        """
        in_order = (answers[name] for name in dict.fromkeys(row[0] for row in rows))
        ends = {poll[-1].event_id: poll for poll in polls(in_order)}
        found: list[Poll] = []
        last: str | None = None
        for event_id, _, period, start, end, spoken, *values in rows:
            if last is not None and event_id != last and last in ends:
                found.append(self._poll(ends[last]))
            last = event_id
            current = self._held.setdefault((period, start, end), list(NO_CHANNEL_VALUES))
            names = self._said.setdefault((period, start, end), [""] * _METRICS)
            for index in range(_METRICS):
                if spoken >> index & 1:
                    current[index], names[index] = values[index], event_id
        if last is not None and last in ends:
            found.append(self._poll(ends[last]))
        return found

    def _poll(self, answered: Sequence[AccountAnswer]) -> Poll:
        periods = [ChannelPeriod(*key, tuple(values)) for key, values in self._held.items()]
        sources = (self._said[period[:3]][metric] for period, metric in account_sources(periods))
        shown = dict.fromkeys((*(answer.event_id for answer in answered), *sources))
        return Poll(answered[-1].captured_at, account_figures(periods), tuple(shown))


def _between_polls(rows: Sequence[list[Any]]) -> int:
    """The last row before which one poll has certainly ended and the next begins; 0 when there is no such row."""
    for place in range(len(rows) - 1, 0, -1):
        if rows[place][1] - rows[place - 1][1] > LONGEST_GAP:
            return place
    return 0


async def _rest(parts: AsyncGenerator[Part, None]) -> AsyncGenerator[Sequence[AccountSnapshot], None]:
    async with aclosing(parts):
        async for part in parts:
            yield part.snapshots
