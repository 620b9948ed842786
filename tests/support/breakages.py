"""Ways in which stored data can be wrong, each made by hand as no part of Tidemark would, with who must notice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import orjson

from schemas.events import CatalogTarget
from services.runtime.kafka import key
from tests.support.backend import Backend, bluesky_event, now_ms
from tests.support.waiting import wait_until

HOUR = 3_600_000
# Greater than every version that an owner of a partition can give.
_GREATEST = 2**64 - 2
_ACTIVE = "generation = (SELECT argMax(generation, version) FROM active_generations)"
Break = Callable[[Backend, str], None]


@dataclass(frozen=True, slots=True)
class Breakage:
    """One way.

    Attributes:
        check: the audit's name of the link that must tell of it.
        apply: breaks a filled workspace.
    """

    name: str
    check: str
    apply: Break


def fill(backend: Backend, workspaces: list[str]) -> None:
    """Two channels, two posts, a deleted post and figures of posts and channels in each workspace."""
    at = now_ms() - HOUR
    for name in workspaces:
        for channel in ("c1", "c2"):
            backend.put_channel(name, channel, "bluesky")
        backend.put_post(name, "p1", [CatalogTarget("t1", "c1"), CatalogTarget("t2", "c2")], published_at=at)
        backend.put_post(name, "p2", [CatalogTarget("t3", "c1", detail='{"a": 1}')], published_at=at)
        backend.put_post(name, "p3", [CatalogTarget("t4", "c1")], published_at=at)
        backend.delete("catalog.posts", name, "p3")
    # A snapshot keeps the post that the catalog gave its target by then, or else the one that the event names.
    backend.settle(60)
    for name in workspaces:
        backend.publish_raw(bluesky_event(name, "c1", "e1", {"t1": {"likeCount": 5}, "t3": {"likeCount": 2}}))
        backend.publish_raw(bluesky_event(name, "c2", "e2", {"t2": {"likeCount": 7, "replyCount": 1}}))
        profile = bluesky_event(name, "c1", "e3", {})
        body = orjson.dumps({"did": "did:plc:c1", "handle": "c1", "followersCount": 41, "postsCount": 3})
        endpoint = "/xrpc/app.bsky.actor.getProfile"
        backend.publish_raw(replace(profile, kind="CHANNEL_METRICS", endpoint=endpoint, body=body))
    backend.settle(60)
    query = "SELECT sum(likes) AS likes FROM post_totals WHERE workspace_id IN {w:Array(String)}"
    wait_until(lambda: backend.rows(query, {"w": workspaces})[0]["likes"] == 14 * len(workspaces), 30, backend.log_tail)


def figures(backend: Backend, workspaces: list[str]) -> dict[str, set[str]]:
    """Everything that those who ask can see of some workspaces, but for when it was told."""
    parameters = {"w": workspaces}
    windows = "workspace_id, channel_id, `range`, source, likes, comments, followers, posts_count, engagements"
    tables = {
        "channels": "*",
        "posts": "*",
        "raw_events": "* EXCEPT (offset)",
        "post_snapshots": "*",
        "channel_snapshots": "*",
        "latest_post_metrics": "*",
        f"(SELECT * EXCEPT (generation, version) FROM latest_channel_metrics_store FINAL WHERE {_ACTIVE})": "*",
        "post_totals": "*",
        "channel_totals": windows,
    }
    found = {
        table: {
            str(row)
            for row in backend.rows(
                f"SELECT {columns} FROM {table} WHERE workspace_id IN {{w:Array(String)}}", parameters
            )
        }
        for table, columns in tables.items()
    }
    telling = {"version", "window_start", "window_end", "valid_from", "valid_until"}
    for topic in ("rollups.posts", "rollups.channels"):
        found[topic] = {
            f"{name} { ({field: value for field, value in record.items() if field not in telling}) }"
            for name, record in backend.latest(topic).items()
            if name.partition("/")[0] in workspaces
        }
    return found


def _delete(table: str, where: str = "1") -> Break:
    def apply(backend: Backend, workspace: str) -> None:
        backend.clickhouse.command(
            f"ALTER TABLE {table} DELETE WHERE workspace_id = {{w:String}} AND {where}",
            parameters={"w": workspace},
            settings={"mutations_sync": 2},
        )

    return apply


def _plant(table: str, change: str, where: str = "1", version: str = "version + 1") -> Break:
    """A newer row of a thing, or one of another thing where the id is what is changed."""

    def apply(backend: Backend, workspace: str) -> None:
        # The condition speaks of what is stored, not of what is put in its place.
        backend.clickhouse.command(
            f"INSERT INTO {table} SELECT * REPLACE ({change}, {version} AS version) "
            f"FROM (SELECT * FROM {table} FINAL WHERE workspace_id = {{w:String}} AND {where})",
            parameters={"w": workspace},
        )

    return apply


def _told(topic: str, thing: str, change: dict[str, object] | None, other: str | None = None) -> Break:
    """Another value of a key on a topic, or a value under a key of another thing."""

    def apply(backend: Backend, workspace: str) -> None:
        value = None
        if change is not None:
            record = backend.latest(topic)[f"{workspace}/{thing}"]
            value = backend.registry.record_codec(topic).encode({**record, **change})
        backend.publish(topic, key(workspace, *(other or thing).split("/")), workspace, value)
        backend.flush()

    return apply


def _rubbish(topic: str, ending: bytes) -> Break:
    """What is no message of the topic, under any key."""

    def apply(backend: Backend, workspace: str) -> None:
        backend.publish(topic, workspace.encode() + b"/" + ending, workspace, b"\x00rubbish")
        backend.flush()

    return apply


def _both(*some: Break) -> Break:
    def apply(backend: Backend, workspace: str) -> None:
        for each in some:
            each(backend, workspace)

    return apply


_TARGETS, _CHANNELS = "latest_post_metrics", "latest_channel_metrics"
_NEWEST = str(_GREATEST)
BREAKAGES = (
    Breakage("raw event lost", "raw_events", _delete("raw_events_store", "event_id = 'e1'")),
    Breakage("all raw events lost", "raw_events", _delete("raw_events_store")),
    Breakage(
        "raw event and what it said lost",
        "raw_events",
        _both(
            _delete("raw_events_store", "event_id = 'e2'"),
            _delete("post_snapshots_store", "event_id = 'e2'"),
            _plant(
                "latest_post_metrics_store", "NULL AS likes, NULL AS comments, NULL AS captured_at", "target_id = 't2'"
            ),
        ),
    ),
    Breakage("channel lost in the mirror", "catalog.channels", _delete("channels_store", "channel_id = 'c2'")),
    Breakage("post lost in the mirror", "catalog.posts", _delete("posts_store", "post_id = 'p1'")),
    Breakage("the whole mirror lost", "catalog.posts", _both(_delete("channels_store"), _delete("posts_store"))),
    Breakage(
        "channel older in the mirror",
        "catalog.channels",
        _plant(
            "channels_store", "'old' AS username, updated_at - toIntervalHour(1) AS updated_at", "channel_id = 'c1'"
        ),
    ),
    Breakage(
        "post older in the mirror",
        "catalog.posts",
        _plant(
            "posts_store",
            "replaceAll(targets, 't3', 't9') AS targets, updated_at - toIntervalHour(1) AS updated_at",
            "post_id = 'p2'",
        ),
    ),
    Breakage(
        "post that can't be read in the mirror",
        "catalog.posts",
        _plant("posts_store", "replaceAll(targets, '{\"a\":1}', '{\"a\": ') AS targets", "post_id = 'p2'", _NEWEST),
    ),
    Breakage(
        "target that nobody wrote in the mirror",
        "catalog.posts",
        _plant(
            "posts_store",
            'replaceAll(targets, \'{"a":1}\', \'{}},{"target_id":"x"\') AS targets',
            "post_id = 'p2'",
            _NEWEST,
        ),
    ),
    Breakage(
        "post newer in the mirror",
        "catalog.posts",
        _plant(
            "posts_store",
            "replaceAll(targets, 't3', 't9') AS targets, updated_at + toIntervalHour(9) AS updated_at",
            "post_id = 'p2'",
            _NEWEST,
        ),
    ),
    Breakage(
        "channel of another platform in the mirror",
        "catalog.channels",
        _plant("channels_store", "'x' AS platform", "channel_id = 'c2'", _NEWEST),
    ),
    Breakage(
        "channel deleted in the mirror alone",
        "catalog.channels",
        _plant("channels_store", "toUInt8(1) AS is_deleted", "channel_id = 'c2'"),
    ),
    Breakage(
        "post deleted in the mirror alone",
        "catalog.posts",
        _plant("posts_store", "toUInt8(1) AS is_deleted, '' AS status", "post_id = 'p1'"),
    ),
    Breakage(
        "channel too many in the mirror",
        "catalog.channels",
        _plant("channels_store", "'c9' AS channel_id", "channel_id = 'c1'", _NEWEST),
    ),
    Breakage(
        "post too many in the mirror",
        "catalog.posts",
        _plant("posts_store", "'p9' AS post_id, replaceAll(targets, 't3', 't9') AS targets", "post_id = 'p2'"),
    ),
    Breakage(
        "post too many that takes a target",
        "catalog.posts",
        _plant("posts_store", "'p9' AS post_id, updated_at + toIntervalHour(1) AS updated_at", "post_id = 'p2'"),
    ),
    Breakage(
        "deleted post back in the mirror",
        "catalog.posts",
        _plant("posts_store", "'p3' AS post_id, replaceAll(targets, 't3', 't4') AS targets", "post_id = 'p2'", _NEWEST),
    ),
    Breakage("snapshots lost", _TARGETS, _delete("post_snapshots_store")),
    Breakage(
        "snapshot wrong", _TARGETS, _plant("post_snapshots_store", "likes + 3 AS likes", "target_id = 't1'", _NEWEST)
    ),
    Breakage(
        "snapshot too many",
        _TARGETS,
        _plant(
            "post_snapshots_store",
            "'zz' AS event_id, likes + 3 AS likes, captured_at + toIntervalSecond(1) AS captured_at",
            "target_id = 't1'",
        ),
    ),
    Breakage("channel snapshots lost", _CHANNELS, _delete("channel_snapshots_store")),
    Breakage(
        "channel snapshot wrong",
        _CHANNELS,
        _plant("channel_snapshots_store", "followers + 1 AS followers", "1", _NEWEST),
    ),
    Breakage("target lost", _TARGETS, _delete("latest_post_metrics_store", "target_id = 't1'")),
    Breakage(
        "target wrong", _TARGETS, _plant("latest_post_metrics_store", "likes + 1 AS likes", "target_id = 't1'", _NEWEST)
    ),
    Breakage(
        "target too many",
        _TARGETS,
        _plant("latest_post_metrics_store", "'t9' AS target_id, 'p1' AS post_id", "target_id = 't3'"),
    ),
    Breakage("channel's figures lost", _CHANNELS, _delete("latest_channel_metrics_store")),
    Breakage(
        "channel's figures wrong", _CHANNELS, _plant("latest_channel_metrics_store", "followers + 1 AS followers")
    ),
    Breakage("channel's figures too many", _CHANNELS, _plant("latest_channel_metrics_store", "'c2' AS channel_id")),
    Breakage("total lost", "post_totals", _delete("post_totals_store", "post_id = 'p1'")),
    Breakage(
        "total wrong", "post_totals", _plant("post_totals_store", "likes - 1 AS likes", "post_id = 'p1'", _NEWEST)
    ),
    Breakage("total too many", "post_totals", _plant("post_totals_store", "'p9' AS post_id", "post_id = 'p2'")),
    Breakage("window lost", "channel_totals", _delete("channel_totals_store", "channel_id = 'c1' AND `range` = '7d'")),
    Breakage(
        "window wrong", "channel_totals", _plant("channel_totals_store", "0 AS likes", "channel_id = 'c1'", _NEWEST)
    ),
    Breakage(
        "window too many", "channel_totals", _plant("channel_totals_store", "'c9' AS channel_id", "channel_id = 'c1'")
    ),
    Breakage("post's rollup lost", "rollups.posts", _told("rollups.posts", "p1", None)),
    Breakage("post's rollup wrong", "rollups.posts", _told("rollups.posts", "p1", {"likes": 999})),
    Breakage("post's tombstone lost", "rollups.posts", _told("rollups.posts", "p1", {"post_id": "p9"}, "p9")),
    Breakage("window's rollup lost", "rollups.channels", _told("rollups.channels", "c1/7d", None)),
    Breakage("window's rollup wrong", "rollups.channels", _told("rollups.channels", "c2/28d", {"likes": 999})),
    Breakage(
        "window's tombstone lost",
        "rollups.channels",
        _told("rollups.channels", "c1/7d", {"channel_id": "c9"}, "c9/7d"),
    ),
    Breakage("post's rollup unreadable", "rollups.posts", _rubbish("rollups.posts", b"p2")),
    Breakage("window's rollup unreadable", "rollups.channels", _rubbish("rollups.channels", b"c2/24h")),
    Breakage("rubbish under the key of no post", "rollups.posts", _rubbish("rollups.posts", b"p8")),
    Breakage("rubbish under a key that is no text", "rollups.channels", _rubbish("rollups.channels", b"\xff\xfe/7d")),
)
