"""Golden cases of the products: a request, the question it asks with its answer, and the reply, as JSON files.

`<case>.request.json` has `path`, `query` and, where it matters, `headers`; `<case>.query.json` has `question` (with its
`type`) and `answer`, figures by name with durations in milliseconds; `<case>.reply.json` is the reply, its keys in
order. Time stands at `NOW`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.query_api.reads import query
from services.query_api.reads.query import (
    Account,
    AccountFigures,
    AccountHistory,
    AccountSnapshot,
    ChannelScores,
    ChannelWindow,
    Health,
    Post,
    PostHistory,
    PostScores,
    Question,
    Snapshot,
    Target,
)
from tests.support.query_api import target, values

GOLDEN = Path(__file__).parent.parent / "golden" / "dialects"


@dataclass(frozen=True)
class GoldenCase:
    """One case of one product."""

    product: str
    name: str
    folder: Path = GOLDEN

    def read(self, kind: str) -> Any:
        """One of the files: `request`, `query` or `reply`."""
        return json.loads((self.folder / self.product / f"{self.name}.{kind}.json").read_text(encoding="utf-8"))

    @property
    def question(self) -> Question[Any]:
        """The question that the request asks."""
        fields = dict(self.read("query")["question"])
        asked: Question[Any] = getattr(query, fields.pop("type"))(**fields)
        return asked

    @property
    def answer(self) -> Any:
        """The answer to it."""
        held = self.read("query")["answer"]
        kind = self.read("query")["question"]["type"]
        if kind == "ChannelWindowQuestion":
            return ChannelWindow(**{**held, "values": values(**held["values"])})
        if kind in ("PostQuestion", "LivePostQuestion"):
            return _post(held)
        if kind == "TargetQuestion":
            return _target(held)
        if kind == "PostScoresQuestion":
            return PostScores(_post(held["post"]), {name: ChannelScores(**s) for name, s in held["scores"].items()})
        if kind == "AccountQuestion":
            return Account(**{**held, "snapshot": held["snapshot"] and _account(held["snapshot"])})
        if kind == "AccountHistoryQuestion":
            return AccountHistory(**{**held, "snapshots": [_account(row) for row in held["snapshots"]]})
        if kind == "HealthQuestion":
            return Health(**held)
        if kind == "SnapshotsQuestion":
            return tuple(map(_snapshot, held))
        assert kind == "PostHistoryQuestion"
        shots = {name: [_snapshot(row) for row in rows] for name, rows in held["snapshots"].items()}
        return PostHistory(_post(held["post"]), shots)


def golden_cases(folder: Path = GOLDEN) -> list[GoldenCase]:
    """Every case, by product and name."""
    return [
        GoldenCase(path.parent.name, path.name.removesuffix(".request.json"), folder)
        for path in sorted(folder.glob("*/*.request.json"))
    ]


def _post(held: dict[str, Any]) -> Post:
    return Post(**{**held, "targets": tuple(map(_target, held["targets"]))})


def _target(held: dict[str, Any]) -> Target:
    return target(**{**held, "values": values(**held.get("values", {}))})


def _account(held: dict[str, Any]) -> AccountSnapshot:
    return AccountSnapshot(**{**held, "figures": AccountFigures(**held["figures"])})


def _snapshot(held: dict[str, Any]) -> Snapshot:
    return Snapshot(**{**held, "values": values(**held["values"])})
