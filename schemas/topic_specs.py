"""What each topic is for, and how brokers keep it: the files in `topics/`. Pure."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from schemas.topic_names import ACCOUNT_EVENTS, DEAD_LETTERS

TOPICS_DIR = Path(__file__).parent / "topics"
# Topics with a retention that nothing makes again.
_UNREPEATABLE = frozenset({ACCOUNT_EVENTS, DEAD_LETTERS})


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as its file in `schemas/topics` describes it.

    Attributes:
        name: topic name without prefix.
        key: the parts of a message's key, joined by slashes.
        producers: who writes it; `any` stands for whoever may publish.
        consumers: who reads it; `subscribers` stands for whoever may subscribe.
        is_public: whether it is one of the contract's topics; else it is between our services.
        versions: schema versions that may be found in the topic, ascending.
        config: broker configuration by name.
    """

    name: str
    purpose: str
    key: str
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    versions: tuple[int, ...]
    compatibility: str
    config: dict[str, str]
    is_public: bool = True
    dead_letters: str | None = None
    dead_letters_of: str | None = None

    @property
    def is_compacted(self) -> bool:
        """Whether the topic keeps the last value of each key."""
        return self.config["cleanup.policy"] == "compact"

    @property
    def is_backed_up(self) -> bool:
        """Whether `tidemark backup` holds its messages: what a rebuild can't make again.

        The aggregator makes its compacted topics again from raw events, which the backup takes from ClickHouse. Its
        snapshots of past answers are for subscribers, who have received them.
        """
        if self.is_compacted:
            return self.producers != ("aggregator",)
        return self.name in _UNREPEATABLE


@cache
def topic_specs() -> tuple[TopicSpec, ...]:
    """Every topic of the project, by name."""
    found = []
    for path in sorted(TOPICS_DIR.glob("*.toml")):
        raw: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        for name in ("producers", "consumers", "versions"):
            raw[name] = tuple(raw[name])
        found.append(TopicSpec(**raw))
    return tuple(found)
