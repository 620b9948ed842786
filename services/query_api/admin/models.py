"""The admin API's sample replies and their schemas. Pure."""

from __future__ import annotations

from typing import Any

from schemas.events import ChannelStatus, PostStatus
from schemas.topic_names import DEAD_LETTERS as LETTERS
from schemas.topic_names import RAW
from services.query_api.serving.shapes import COUNT, FLAG, TEXT, TIME, TIME_OR_NULL, listed, named, one_of, shape

_CHANNEL_STATUS = named("ChannelStatus", one_of(ChannelStatus))
_POST_STATUS = named("PostStatus", one_of(PostStatus))

WORKSPACE: dict[str, Any] = {
    "workspace_id": "w1",
    "channels": [{"channel_id": "c1", "platform": "x", "status": "active"}],
    "keys": [
        {"id": "key_5f3a", "scopes": ["analytics:read"], "style": "tidemark", "created_at": "2026-06-28T09:14:22Z"}
    ],
}
WORKSPACE_SCHEMA = shape(
    "Workspace",
    {
        "workspace_id": TEXT,
        "channels": listed(
            shape("WorkspaceChannel", {"channel_id": TEXT, "platform": TEXT, "status": _CHANNEL_STATUS})
        ),
        "keys": listed(shape("WorkspaceKey", {"id": TEXT, "scopes": listed(TEXT), "style": TEXT, "created_at": TEXT})),
    },
)
CHANNEL = {"workspace_id": "w1", "channel_id": "c1", "status": "active"}
CHANNEL_SCHEMA = shape("ChannelWritten", {"workspace_id": TEXT, "channel_id": TEXT, "status": _CHANNEL_STATUS})
POST = {"workspace_id": "w1", "post_id": "p1", "status": "published"}
POST_SCHEMA = shape("PostWritten", {"workspace_id": TEXT, "post_id": TEXT, "status": _POST_STATUS})
CATALOG: dict[str, Any] = {"accepted": 2, "rejected": [{"line": 3, "error": "platform: Field required"}]}
CATALOG_SCHEMA = shape(
    "CatalogWritten", {"accepted": COUNT, "rejected": listed(shape("RejectedLine", {"line": COUNT, "error": TEXT}))}
)
KEY: dict[str, Any] = {"id": "key_5f3a", "key": "tm_live_...", "scopes": ["analytics:read"]}
KEY_SCHEMA = shape("CreatedKey", {"id": TEXT, "key": TEXT, "scopes": listed(TEXT)})

_GROUPS: dict[str, Any] = {"type": "object", "additionalProperties": {"type": "object"}}
STATUS: dict[str, Any] = {
    "is_healthy": True,
    "services": {
        "aggregator": {
            "readiness": "ready",
            "memory_bytes": 182_000_000,
            "events_per_second": 41.0,
            "event_latency_seconds": {"p50": 0.25, "p99": 1.0},
        }
    },
    "kafka": {
        "problem": None,
        "owners": {"tidemark-aggregator": {"aggregator-0": [0, 1, 2]}},
        "lag": [{"topic": RAW, "partition": 0, "committed": 8121, "end": 8121, "lag": 0, "waits_seconds": None}],
    },
    "clickhouse": {
        "problem": None,
        "memory_bytes": 410_000_000,
        "free_bytes": 91_000_000_000,
        "tables": [{"name": "post_snapshots_store", "rows": 120_000, "parts": 4, "disk_bytes": 2_100_000}],
    },
    "memory_bytes": {},
}
STATUS_SCHEMA = shape(
    "InstallationStatus",
    {
        "is_healthy": {"type": "boolean"},
        "services": _GROUPS,
        "kafka": {"type": "object"},
        "clickhouse": {"type": "object"},
        "memory_bytes": {"type": "object", "additionalProperties": {"type": "integer"}},
    },
)
ACCOUNTS: dict[str, Any] = {
    "by_status": {"active": 41, "token_expired": 1},
    "workspaces": 7,
    "waiting": 1,
    "data": [
        {
            "workspace_id": "w1",
            "channel_id": "c1",
            "platform": "x",
            "username": "acme",
            "status": "token_expired",
            "updated_at": "2026-06-28T09:14:22Z",
        }
    ],
}
ACCOUNTS_SCHEMA = shape(
    "WaitingAccounts",
    {
        "by_status": {"type": "object", "additionalProperties": COUNT},
        "workspaces": COUNT,
        "waiting": COUNT,
        "data": listed(
            shape(
                "WaitingAccount",
                {
                    "workspace_id": TEXT,
                    "channel_id": TEXT,
                    "platform": TEXT,
                    "username": TEXT,
                    "status": _CHANNEL_STATUS,
                    "updated_at": TEXT,
                },
            )
        ),
    },
)
DEAD_LETTERS: dict[str, Any] = {
    "looked_at": 12,
    "most": 500,
    "data": [
        {
            "reason": "unmappable_body",
            "letters": 12,
            "redriven": 0,
            "workspaces": 2,
            "newest_at": "2026-06-28T09:14:22.000Z",
            "examples": [
                {
                    "origin": f"{RAW}/0/8121",
                    "workspace_id": "w1",
                    "detail": "data is no list",
                    "failed_at": "2026-06-28T09:14:22.000Z",
                    "redriven_at": None,
                    "payload": '{"platform": "x"}',
                    "is_shortened": False,
                }
            ],
        }
    ],
}
DEAD_LETTERS_SCHEMA = shape(
    "DeadLetters",
    {
        "looked_at": {**COUNT, "description": f"The number of newest letters of {LETTERS} that were looked at."},
        "most": {**COUNT, "description": "The most letters that are looked at."},
        "data": listed(
            shape(
                "DeadLettersOfReason",
                {
                    "reason": TEXT,
                    "letters": COUNT,
                    "redriven": {**COUNT, "description": "Of the letters, those whose message was sent again since."},
                    "workspaces": COUNT,
                    "newest_at": TIME,
                    "examples": listed(
                        shape(
                            "DeadLetterExample",
                            {
                                "origin": {**TEXT, "description": "topic/partition/offset of the message."},
                                "workspace_id": TEXT,
                                "detail": TEXT,
                                "failed_at": TIME,
                                "redriven_at": TIME_OR_NULL,
                                "payload": TEXT,
                                "is_shortened": FLAG,
                            },
                        )
                    ),
                },
            )
        ),
    },
)
REDRIVEN: dict[str, Any] = {
    "is_dry": False,
    "messages": 12,
    "by_reason": {"unmappable_body": 12},
    "sent_as_received": 11,
    "sent_as_kept": 1,
    "failed": 0,
    "failures": [],
}
REDRIVEN_SCHEMA = shape(
    "Redriven",
    {
        "is_dry": FLAG,
        "messages": {**COUNT, "description": "Messages with dead letters of these reasons, each once."},
        "by_reason": {"type": "object", "additionalProperties": COUNT},
        "sent_as_received": COUNT,
        "sent_as_kept": {**COUNT, "description": "Sent as their letters hold them, since the original is gone."},
        "failed": COUNT,
        "failures": {**listed(TEXT), "description": "Why messages were not sent; the first of them."},
    },
)
