"""Asks each API and compares every figure of its answer with what the sandbox served."""

from __future__ import annotations

import math
import ssl
from datetime import datetime
from typing import Any

import httpx

from infra.demo.expected import (
    FOLLOWERS,
    METRICS,
    Figures,
    divided,
    figures,
    location_views,
    scores,
    shown,
    summed,
    video_views,
)
from infra.demo.report import Report
from infra.demo.scene import LOCATION, WORKSPACE, DemoTarget, Scene
from tidemark_client import Tidemark, TidemarkAdmin


class Checker:
    """The demo's view of a running Tidemark.

    Args:
        ready: the ready-file's document.
    """

    def __init__(self, ready: dict[str, Any], scene: Scene, report: Report) -> None:
        self._scene = scene
        self._report = report
        self._api = httpx.Client(base_url=ready["query_api"], timeout=30, trust_env=False)
        self._sandbox = httpx.Client(base_url=ready["sandbox"], timeout=30, trust_env=False)
        self._clickhouse_url: str = ready["clickhouse_analyst"]
        # Only where engines speak TLS there is an authority to trust.
        ca_file = ready.get("ca_file")
        self._trusted = ssl.create_default_context(cafile=ca_file) if ca_file else True
        self._origin: str = ready["query_api"]
        self._admin_key: str = ready["admin_key"]
        self._tidemark: Tidemark | None = None
        self._key: dict[str, str] = {}

    def register(self) -> None:
        """Write the scene's catalog and make an API key for its workspace."""
        with TidemarkAdmin(self._origin, self._admin_key) as admin:
            written = admin.write_catalog(self._scene.catalog())
            if written.rejected:
                raise RuntimeError(f"the catalog was rejected: {written.rejected[0]}")
            key = admin.make_key(WORKSPACE, style="postme").key
        self._tidemark = Tidemark(self._origin, key)
        self._key = {"Authorization": f"Bearer {key.get_secret_value()}"}

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Rows of a query that user analyst sends to ClickHouse."""
        url = httpx.URL(self._clickhouse_url)
        reply = httpx.post(
            url.copy_with(path="/", userinfo=b""),
            params={"database": url.path.strip("/"), "default_format": "JSONEachRow",
                    "output_format_json_quote_64bit_integers": "0"},
            content=sql,
            auth=(url.username, url.password),
            timeout=30,
            trust_env=False,
            verify=self._trusted,
        )  # fmt: skip
        reply.raise_for_status()
        import orjson

        return [orjson.loads(line) for line in reply.text.splitlines()]

    def measured(self) -> int:
        """How many targets have figures in ClickHouse by now."""
        return len(self._captured())

    def followed(self) -> int:
        """How many channels have account figures by now."""
        seen = 0
        for channel_id, platform in self._scene.platforms.items():
            reply = self._api.get(f"/api/v1/channels/{channel_id}/insights", headers=self._key)
            answer = reply.json() if reply.is_success else {}
            # A Google Business location has no followers, only figures of single days.
            seen += answer.get("followers") is not None if platform in FOLLOWERS else answer.get("source") == "channel"
        return seen

    def _captured(self) -> dict[str, int]:
        rows = self.query(
            "SELECT target_id, toUnixTimestamp64Milli(captured_at) AS at FROM latest_post_metrics "
            f"WHERE workspace_id = '{WORKSPACE}'"
        )
        return {row["target_id"]: int(row["at"]) for row in rows}

    def served(self) -> dict[str, Figures]:
        """Each target's common metrics, as the sandbox served them in the answer that Tidemark captured last."""
        captured = self._captured()
        return {
            target.target_id: figures(
                target.platform, self._fields(target.platform, target.external_id, captured[target.target_id])
            )
            for target in self._scene.targets
        }

    def _fields(self, platform: str, external_id: str, until: int, metric: str | None = None) -> dict[str, Any]:
        query: dict[str, str | int] = {"platform": platform, "external_id": external_id, "until": until + 1}
        if metric is not None:
            query["metric"] = metric
        records = self._sandbox.get("/_sandbox/served", params=query).raise_for_status().json()["served"]
        if not records:
            raise RuntimeError(f"the sandbox has no record of {external_id} on {platform} until {until}")
        # Several answers may hold the same field; the last one counts.
        return {name: value for record in records for name, value in record["fields"].items()}

    def _get(self, title: str, path: str, *, show: bool = True) -> Any:
        reply = self._api.get(path, headers={**self._key, "X-Workspace-Id": WORKSPACE})
        reply.raise_for_status()
        answer = reply.json()
        if show:
            self._report.show(title, f"GET {path}", answer)
        return answer

    def check_all(self, followers: dict[str, dict[str, Any]]) -> None:
        """Ask everything once and compare.

        Args:
            followers: by channel, the account figures that the sandbox served.
        """
        served = self.served()
        post_id = self._scene.post_ids[0]
        targets = self._scene.of_post(post_id)
        self._check_postme_post(post_id, targets, served)
        self._check_postme_channel("ch-bluesky", served, followers)
        self._check_every_follower(followers)
        self._check_location()
        self._check_openpost(post_id, targets, served)
        for target in targets:
            self._check_powerpost(target, served, show=target is targets[0])
        self._check_postflow(post_id, targets, served)
        self._check_tidemark(post_id, targets, served)
        self._check_clickhouse(served)
        # Last, since this call makes Tidemark ask the platforms anew.
        self._check_postfuze_post(post_id, targets)
        self._check_postfuze_account(targets[0])

    def _check_postme_post(self, post_id: str, targets: list[DemoTarget], served: dict[str, Figures]) -> None:
        answer = self._get("postme", f"/api/v1/posts/{post_id}/insights")
        parts = [shown(served[target.target_id]) for target in targets]
        for name, value in summed(parts).items():
            self._report.equal(f"postme totals.{name}", answer["totals"][name], value)
        for target, block in zip(targets, answer["channels"], strict=True):
            of_channel = summed([shown(served[target.target_id])])
            for name in ("views", "engagements", "reach", "likes", "comments", "shares", "saves"):
                self._report.equal(f"postme {target.channel_id} {name}", block[name], of_channel[name])

    def _check_postme_channel(
        self, channel_id: str, served: dict[str, Figures], followers: dict[str, dict[str, Any]]
    ) -> None:
        answer = self._get("postme", f"/api/v1/channels/{channel_id}/insights?range=7d")
        week = [t for t in self._scene.of_channel(channel_id) if t.post_id != "roadmap"]
        expected = summed(shown(served[target.target_id]) for target in week)
        self._report.equal("postme channel source", answer["source"], "posts")
        for name in ("views", "engagements", "reach", "likes", "comments", "shares", "saves"):
            self._report.equal(f"postme 7d {name}", answer["totals"][name], expected[name])
        platform = week[0].platform
        self._report.equal("postme followers", answer["followers"], followers[channel_id][FOLLOWERS[platform]])

    def _check_every_follower(self, followers: dict[str, dict[str, Any]]) -> None:
        for channel_id, platform in self._scene.platforms.items():
            if platform in FOLLOWERS:
                answer = self._get("postme", f"/api/v1/channels/{channel_id}/insights", show=False)
                self._report.equal(
                    f"followers of {channel_id}", answer["followers"], followers[channel_id][FOLLOWERS[platform]]
                )

    def _check_location(self) -> None:
        """Check a location's own figures, on the days that the platform has reported."""
        answer = self._get("postme", f"/api/v1/channels/{LOCATION}/insights?range=28d")
        self._report.equal("postme location source", answer["source"], "channel")
        served = self._fields("google_business", self._scene.account_of(LOCATION), 1 << 60)
        first, last = (answer["window"][edge][:10] for edge in ("start", "end"))
        self._report.equal("postme location views", answer["totals"]["views"], location_views(served, first, last))

    def _check_openpost(self, post_id: str, targets: list[DemoTarget], served: dict[str, Figures]) -> None:
        answer = self._get("OpenPost", f"/v1/analytics/post/{post_id}?days=30")["data"]
        expected = summed(shown(served[target.target_id]) for target in targets)
        for name in ("impressions", "likes", "comments", "shares"):
            self._report.equal(f"OpenPost totals.{name}", answer["totals"][name], expected[name])
        for target, block in zip(targets, answer["targets"], strict=True):
            of_target = summed([shown(served[target.target_id])])
            for name in ("impressions", "likes", "comments", "shares"):
                self._report.equal(f"OpenPost {target.target_id} {name}", block[name], of_target[name])

    def _check_powerpost(self, target: DemoTarget, served: dict[str, Figures], *, show: bool) -> None:
        answer = self._get("PowerPost", f"/api/v1/post-items/{target.target_id}/analytics", show=show)
        what = f"PowerPost {target.target_id}"
        self._report.equal(f"{what} status", (answer["platform"], answer["status"]), (target.platform, "posted"))
        expected = summed([shown(served[target.target_id])])
        for name in ("views", "likes", "comments"):
            self._report.equal(f"{what} {name}", answer["metrics"][name], expected[name])

    def _check_postflow(self, post_id: str, targets: list[DemoTarget], served: dict[str, Figures]) -> None:
        answer = self._get("PostFlow", f"/v1/posts/{post_id}/metrics")
        for target, element in zip(targets, answer, strict=True):
            what = f"PostFlow {target.target_id}"
            of_target = shown(served[target.target_id])
            sums = summed([of_target])
            for name in ("views", "reach", "likes", "quotes", "saves"):
                self._report.equal(f"{what} {name}", element[name], of_target[name])
            shares, quotes = of_target["shares"], of_target["quotes"] or 0
            self._report.equal(f"{what} shares", element["shares"], None if shares is None else shares - quotes)
            self._report.equal(f"{what} replies", element["replies"], of_target["comments"])
            self._report.equal(f"{what} engagements", element["engagements"], sums["engagements"])
            for base in ("impressions", "reach"):
                expected = divided(sums["engagements"], of_target[base])
                self._report.equal(f"{what} rate by {base}", element[f"engagement_rate_{base}"], expected)
            self._report.equal(f"{what} video views", element["video_views"], video_views(target.platform, of_target))
            of_channel = scores({t.target_id: served[t.target_id] for t in self._scene.of_channel(target.channel_id)})
            self._report.equal(f"{what} score", element["score"], of_channel[target.target_id])
            for grade in range(1, 11):
                count = sum(math.ceil(score) == grade for score in of_channel.values())
                self._report.equal(f"{what} score_{grade}", element[f"score_{grade}"], count)

    def _check_tidemark(self, post_id: str, targets: list[DemoTarget], served: dict[str, Figures]) -> None:
        """Check Tidemark's own API by its client: figures as the platforms report them, null where they report none."""
        assert self._tidemark is not None
        post = self._tidemark.post(post_id)
        self._report.show("Tidemark", f"GET /tidemark/v1/posts/{post_id}", post.model_dump(mode="json"))
        for target, shown_target in zip(targets, post.targets, strict=True):
            for name in METRICS:
                what = f"Tidemark {target.target_id} {name}"
                self._report.equal(what, shown_target.metrics[name], served[target.target_id][name])
        for name, value in summed(served[target.target_id] for target in targets).items():
            self._report.equal(f"Tidemark total {name}", post.metrics[name] or 0, value)

    def _check_postfuze_post(self, post_id: str, targets: list[DemoTarget]) -> None:
        answer = self._get("PostFuze", f"/api/v1/posts/{post_id}/analytics")
        parts: list[Figures] = []
        for target, row in zip(targets, answer["metrics_by_account"], strict=True):
            what = f"PostFuze {target.target_id}"
            captured_at = round(datetime.fromisoformat(row["captured_at"]).timestamp() * 1000)
            of_target = shown(figures(target.platform, self._fields(target.platform, target.external_id, captured_at)))
            parts.append({**of_target, "video_views": video_views(target.platform, of_target)})
            for name in ("impressions", "reach", "likes", "comments", "shares", "saves"):
                self._report.equal(f"{what} {name}", row[name], of_target[name])
            self._report.equal(f"{what} video views", row["video_views"], parts[-1]["video_views"])
            engagements = summed([of_target])["engagements"]
            rate = divided(engagements, of_target["impressions"] or of_target["reach"])
            expected = None if rate is None else math.floor(rate * 1000 + 0.5) / 1000
            self._report.equal(f"{what} engagement rate", row["engagement_rate"], expected)
        for name in ("impressions", "reach", "likes", "comments", "shares", "saves", "video_views"):
            total = sum(part[name] or 0 for part in parts)
            self._report.equal(f"PostFuze total_{name}", answer["aggregated_metrics"][f"total_{name}"], total)

    def _check_postfuze_account(self, target: DemoTarget) -> None:
        answer = self._get("PostFuze", f"/api/v1/social-accounts/{target.channel_id}/metrics")
        self._report.equal("PostFuze network", answer["network"], target.platform)
        external_id = self._scene.account_of(target.channel_id)
        captured_at = round(datetime.fromisoformat(answer["captured_at"]).timestamp() * 1000)
        fields = self._fields(target.platform, external_id, captured_at, FOLLOWERS[target.platform])
        self._report.equal("PostFuze followers", answer["followers"], fields[FOLLOWERS[target.platform]])
        health = self._get("PostFuze", f"/api/v1/social-accounts/{target.channel_id}/health")
        self._report.equal("PostFuze health", (health["healthy"], health["status"]), (True, "active"))

    def _check_clickhouse(self, served: dict[str, Figures]) -> None:
        sql = (
            "SELECT post_id, views, impressions, reach, likes, comments, shares, saves, engagements "
            f"FROM post_totals WHERE workspace_id = '{WORKSPACE}' ORDER BY post_id"
        )
        rows = self.query(sql)
        self._report.show("ClickHouse", sql, rows)
        self._report.equal("ClickHouse rows", [row["post_id"] for row in rows], sorted(self._scene.post_ids))
        for row in rows:
            expected = summed(served[target.target_id] for target in self._scene.of_post(row["post_id"]))
            for name, value in expected.items():
                self._report.equal(f"ClickHouse {row['post_id']} {name}", row[name] or 0, value)

    def followers(self) -> dict[str, dict[str, Any]]:
        """By channel, the account's level figures (such as followers) that the sandbox served last."""
        found: dict[str, dict[str, Any]] = {}
        for line in self._scene.catalog():
            if line["type"] == "channel" and line["platform"] in FOLLOWERS:
                name = FOLLOWERS[line["platform"]]
                query = {"platform": line["platform"], "external_id": line["external_id"], "metric": name}
                records = self._sandbox.get("/_sandbox/served", params=query).raise_for_status().json()["served"]
                if records:
                    found[line["id"]] = records[-1]["fields"]
        return found

    def close(self) -> None:
        """Close the connections to Tidemark and the sandbox."""
        self._api.close()
        self._sandbox.close()
        if self._tidemark is not None:
            self._tidemark.close()
