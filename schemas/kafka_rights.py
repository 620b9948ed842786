"""The least rights in Kafka of each service and command, derived from `topics/*.toml`. Pure.

A service reads and writes the topics whose files name the service. Commands that read topics for an operator are listed
here. Brokers imply Describe for whoever may read or write.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from schemas.topic_names import (
    BACKFILLS,
    CHANNEL_ROLLUPS,
    CHANNELS,
    DEAD_LETTERS,
    POST_ROLLUPS,
    POSTS,
    RAW,
    REPLIES,
    REQUESTS,
    TOKENS,
    WEBHOOKS,
)
from schemas.topic_specs import topic_specs

Resource = Literal["topic", "group", "transactional-id"]


@dataclass(frozen=True, slots=True)
class Right:
    """Operations on one resource.

    Attributes:
        name: the resource's full name, with the topic prefix.
        operations: in Kafka's words: Read, Write, Describe, Create, DescribeConfigs, AlterConfigs.
        is_prefix: whether `name` stands for every resource whose name begins so.
    """

    resource: Resource
    name: str
    operations: tuple[str, ...]
    is_prefix: bool = False

    def __str__(self) -> str:
        shown = f"{self.name}*" if self.is_prefix else self.name
        return f"{' and '.join(self.operations)} on {self.resource} {shown}"


@dataclass(frozen=True, slots=True)
class Names:
    """The names of an installation: its topic prefix, and its consumer groups without the prefix."""

    prefix: str = ""
    aggregator_group: str = "tidemark-aggregator"
    poller_group: str = "tidemark-poller"
    notifier_group: str = "tidemark-notifier"


SERVICES: Final = ("poller", "aggregator", "query-api", "notifier")

_AUDITED = (CHANNELS, POSTS, RAW, POST_ROLLUPS, CHANNEL_ROLLUPS)
# What a command reads and writes; `topics`, `backup` and `restore` follow from the topics' files.
_COMMANDS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    # It asks which aggregators live.
    "migrate": ((), ()),
    "audit": (_AUDITED, ()),
    "rebuild": (_AUDITED, ()),
    "status": ((CHANNELS, POSTS, RAW), ()),
    "dead-letters": ((DEAD_LETTERS, RAW), ()),
    # It notes in the topic of dead letters what it sent.
    "redrive": ((DEAD_LETTERS, RAW), (RAW, DEAD_LETTERS)),
    "catalog-export": ((CHANNELS, POSTS), ()),
    "workspace-export": ((CHANNELS, POSTS), ()),
    "backfill": ((CHANNELS, POSTS, POST_ROLLUPS, RAW, REPLIES, BACKFILLS), (REQUESTS, BACKFILLS)),
    "secrets-reencrypt": ((TOKENS, WEBHOOKS), (TOKENS, WEBHOOKS)),
    "platforms-check": ((CHANNELS, POSTS, TOKENS), ()),
}
# Its admin API and its page for operators show what the command `status` prints.
_SHOWS_STATUS: Final = "query-api"
COMMANDS: Final = ("topics", *_COMMANDS, "backup", "restore", "workspace-delete")
ROLES: Final = (*SERVICES, *COMMANDS)
# The group under which commands ask for offsets; they never join it.
READER_GROUP: Final = "tidemark-reader"


def kafka_rights(role: str, names: Names) -> tuple[Right, ...]:
    """What a service or command may do, and no more.

    Args:
        role: one of `ROLES`.

    Raises:
        KeyError: there is no such role.
    """
    if role == "topics":
        operations = ("Create", "Describe", "DescribeConfigs", "AlterConfigs")
        return tuple(Right("topic", names.prefix + spec.name, operations) for spec in topic_specs())
    if role == "workspace-delete":
        return (*_to_erase(names.prefix), *_on_groups(role, names))
    if role in ("backup", "restore"):
        kept = tuple(spec.name for spec in topic_specs() if spec.is_backed_up)
        reads, writes = ((*kept, RAW), ()) if role == "backup" else (kept, kept)
    elif role in SERVICES:
        reads, writes = topics_of(role)
        if role == _SHOWS_STATUS:
            reads = (*reads, *_COMMANDS["status"][0])
    else:
        reads, writes = _COMMANDS[role]
    return (*_on_topics(reads, writes, names.prefix), *_on_groups(role, names))


def _to_erase(prefix: str) -> Iterator[Right]:
    """Tombstones in every compacted topic of workspaces; the others are asked for how long they keep messages."""
    for spec in topic_specs():
        if not spec.is_compacted:
            operations: tuple[str, ...] = ("Read", "DescribeConfigs") if spec.name == RAW else ("DescribeConfigs",)
            yield Right("topic", prefix + spec.name, operations)
        elif spec.key.startswith("workspace_id"):
            yield Right("topic", prefix + spec.name, ("Read", "Write"))


def topics_of(service: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The topics that a service reads and those that it writes, without prefix, as the topics' files say."""
    written = service.replace("-", "_")
    specs = topic_specs()
    reads = tuple(spec.name for spec in specs if written in spec.consumers)
    return reads, tuple(spec.name for spec in specs if written in spec.producers)


def _on_topics(reads: Sequence[str], writes: Sequence[str], prefix: str) -> Iterator[Right]:
    for name in sorted({*reads, *writes}):
        operations = tuple(verb for verb, topics in (("Read", reads), ("Write", writes)) if name in topics)
        yield Right("topic", prefix + name, operations)


def _on_groups(role: str, names: Names) -> Iterable[Right]:
    aggregator = names.prefix + names.aggregator_group
    poller = names.prefix + names.poller_group
    reader = Right("group", names.prefix + READER_GROUP, ("Describe",))
    match role:
        case "aggregator":
            return (
                Right("group", aggregator, ("Read",)),
                Right("group", f"{aggregator}-catalog", ("Read",)),
                # One for each partition: a newer owner fences the older owner by it.
                Right("transactional-id", f"{aggregator}-", ("Describe", "Write"), is_prefix=True),
                reader,
            )
        case "migrate":
            return (Right("group", aggregator, ("Describe",)),)
        case "poller":
            return (Right("group", poller, ("Read",)),)
        case "notifier":
            own = names.prefix + names.notifier_group
            return tuple(
                Right("group", group, ("Read",)) for group in (own, f"{own}-positions", f"{own}-positions-log")
            )
        case "audit" | "rebuild" | "workspace-delete":
            return (*(Right("group", name, ("Describe",)) for name in (aggregator, f"{aggregator}-catalog")), reader)
        case "backup":
            positions = f"{names.prefix}{names.notifier_group}-positions"
            asked = (aggregator, f"{aggregator}-catalog", positions)
            return (*(Right("group", name, ("Describe",)) for name in asked), reader)
        case "restore":
            # Webhooks are told from where the backup says.
            return (Right("group", f"{names.prefix}{names.notifier_group}-positions", ("Read",)), reader)
        case "status" | "query-api":
            return tuple(Right("group", name, ("Describe",)) for name in (aggregator, f"{aggregator}-catalog", poller))
        case "dead-letters" | "redrive" | "catalog-export" | "workspace-export" | "secrets-reencrypt":
            return (reader,)
        case _:
            return ()


def kafka_acls_line(right: Right, principal: str) -> str:
    """The right as options of the `kafka-acls` tool.

    Args:
        principal: such as `User:tidemark-poller`.
    """
    operations = " ".join(f"--operation {verb}" for verb in right.operations)
    pattern = " --resource-pattern-type prefixed" if right.is_prefix else ""
    return f"--add --allow-principal {principal} {operations} --{right.resource} {right.name}{pattern}"
