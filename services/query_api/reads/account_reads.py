"""Reads a channel's own present figures from ClickHouse, and tells whether its connection works."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from schemas.events import CatalogChannel, PlatformRaw
from schemas.registers import Register, load_groups
from schemas.windows import ChannelPeriod
from services.query_api.directory import Directory
from services.query_api.fairness import Desk
from services.query_api.reads import sql
from services.query_api.reads.account_answers import AccountAnswers
from services.query_api.reads.account_history import AccountHistories
from services.query_api.reads.accounts import account_figures, account_sources, stored_health
from services.query_api.reads.clickhouse import ClickHouse
from services.query_api.reads.merging import merge_channel
from services.query_api.reads.polls import AccountAnswer, order, polls, raw_of
from services.query_api.reads.query import (
    Account,
    AccountHistory,
    AccountHistoryQuestion,
    AccountQuestion,
    AccountSnapshot,
    Health,
    HealthQuestion,
)

# How many days and windows are searched for the latest one that has a figure.
_PERIODS = 100
# How many answers are searched for those of the newest poll.
_POLLED = 30


class AccountReads:
    """Answers the questions about accounts."""

    def __init__(self, clickhouse: ClickHouse, directory: Directory, desk: Desk) -> None:
        self._clickhouse = clickhouse
        self._directory = directory
        self._answers = AccountAnswers(clickhouse, desk)
        self._histories = AccountHistories(clickhouse, desk, self._answers)

    async def account(self, question: AccountQuestion, events: Sequence[PlatformRaw] = ()) -> Account | None:
        """The latest figures, stored ones merged with fresh answers.

        Args:
            events: the platform's answers that may not be stored yet.
        """
        channel = self._channel(question)
        if channel is None:
            return None
        workspace_id = question.workspace_id
        where = {"workspace": workspace_id, "channel": question.channel_id}
        rows, newest = await asyncio.gather(
            self._clickhouse.rows("channel_figures", sql.CHANNEL_FIGURES, {**where, "limit": _PERIODS}),
            self._clickhouse.rows("newest_channel_events", sql.NEWEST_CHANNEL_EVENTS, {**where, "limit": _POLLED}),
        )
        registers = {
            (period, start, end): Register(load_groups(groups), tuple(values), captured_at)
            for period, start, end, captured_at, groups, *values in rows
        }
        said = merge_channel(registers, events)
        periods = [ChannelPeriod(*key, register.values) for key, register in registers.items()]
        groups_of = {period[:3]: register.groups for period, register in zip(periods, registers.values(), strict=True)}
        sources = {
            stamp.event_id.decode()
            for period, metric in account_sources(periods)
            for stamp, mask in groups_of[period[:3]]
            if mask >> metric & 1
        }
        fresh = {event.event_id: _answer_of(event) for event in said}
        known = {name: at for name, at in newest if name not in fresh}
        answers = {**await self._answers.answers(workspace_id, {*known, *sources} - set(fresh), known), **fresh}
        recent = sorted((answers[name] for name in (*known, *fresh)), key=order)
        if not recent:
            return Account(channel.channel_id, channel.platform, False, None)
        poll = polls(recent)[-1]
        shown = sorted({*(one.event_id for one in poll), *sources}, key=lambda name: order(answers[name]), reverse=True)
        payloads = await self._answers.payloads(workspace_id, [name for name in shown if name not in fresh])
        for event in said:
            payloads[event.event_id] = await self._answers.payload_of(event)
        raw = raw_of([answers[name] for name in shown], payloads)
        snapshot = AccountSnapshot(poll[-1].captured_at, account_figures(periods), raw)
        return Account(channel.channel_id, channel.platform, bool(said), snapshot)

    async def history(self, question: AccountHistoryQuestion) -> AccountHistory | None:
        """The account's state after each poll of a span; in parts for a long span."""
        channel = self._channel(question)
        return None if channel is None else await self._histories.history(question, channel)

    async def health(self, question: HealthQuestion) -> Health | None:
        """Whether the connection works, by what is stored, without asking the platform."""
        channel = self._channel(question)
        return None if channel is None else stored_health(channel, channel.token_expires_at, question.now)

    def _channel(self, question: AccountQuestion | AccountHistoryQuestion | HealthQuestion) -> CatalogChannel | None:
        return self._directory.get(question.workspace_id, question.channel_id)


def _answer_of(event: PlatformRaw) -> AccountAnswer:
    return AccountAnswer(event.event_id, event.captured_at, event.origin, event.endpoint, event.request)
