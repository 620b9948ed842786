"""The sources of answers: the store, the channels in memory, the read model, and turns at scarce resources."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from services.query_api.connections import Connections
from services.query_api.directory import Directory
from services.query_api.errors import NotFound
from services.query_api.fairness import Desk, Turns, answer_turns
from services.query_api.reads.at_once import AtOnce
from services.query_api.reads.facts import Facts
from services.query_api.reads.own import OwnReads
from services.query_api.reads.patience import Patience
from services.query_api.reads.query import ReadModel
from services.query_api.reads.subscribing import Subscriptions
from services.query_api.spending import Spending
from services.query_api.store.handle import Store as OwnStore
from services.query_api.webhooks import Webhooks, no_webhooks
from services.runtime.clock import Clock, SystemClock


class Store(Protocol):
    """Runs queries: `clickhouse.ClickHouse`, or a fake."""

    async def rows(self, name: str, sql: str, parameters: dict[str, Any], seconds: float = 5.0) -> list[list[Any]]:
        """See `clickhouse.ClickHouse.rows`."""

    def stream(
        self, name: str, sql: str, parameters: dict[str, Any], fmt: str, settings: Mapping[str, Any] | None = None
    ) -> AsyncGenerator[bytes, None]:
        """See `clickhouse.ClickHouse.stream`."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The sources of answers.

    Attributes:
        own_store: the query API's own store; None where it has none.
        own_reads: look-ups in the own store, with ClickHouse behind them; None where there is no store.
        at_once: answers that the own store gives without waiting; None likewise.
        poll_speed: the divisor of poll intervals.
        spending: what polls cost.
        connections: what happened to channels' connections.
        webhooks: webhooks of all workspaces, and changes to them.
        answers: turns at making large answers, each held until the answer is sent.
        desk: threads in which payloads are read and large replies are written.
        subscriptions: what readers of changes have in common.
        clock: for what is made long after its request came.
        calls: what was asked with answers.
        meanings: what answers mean.
        explanations: what answers lately said of why figures are unknown, by workspace and target.
    """

    store: Store
    directory: Directory
    read_model: ReadModel
    poll_speed: float = 1.0
    spending: Spending = field(default_factory=Spending)
    answers: Turns = field(default_factory=answer_turns)
    desk: Desk = field(default_factory=Desk)
    own_store: OwnStore | None = None
    own_reads: OwnReads | None = None
    at_once: AtOnce | None = None
    webhooks: Webhooks = field(default_factory=no_webhooks)
    connections: Connections = field(default_factory=Connections)
    subscriptions: Subscriptions = field(default_factory=Subscriptions)
    clock: Clock = field(default_factory=SystemClock)
    calls: Facts[Any] = field(default_factory=lambda: Facts(0))
    meanings: Facts[Any] = field(default_factory=lambda: Facts(0))
    explanations: Patience[Any] = field(default_factory=lambda: Patience(0))

    def check_channels(self, workspace_id: str, channel_ids: Iterable[str]) -> None:
        """Refuse channels that the workspace does not have.

        Raises:
            NotFound: one of the channels is not there.
        """
        if any(self.directory.get(workspace_id, channel_id) is None for channel_id in channel_ids):
            raise NotFound
