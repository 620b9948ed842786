"""Offers Tidemark's reads of one workspace as tools of the Model Context Protocol. Writes nothing.

In: a typed client with a workspace's key. Out: a server that a language model's host runs and asks. Each tool makes one
call of `/tidemark/v1` and returns the API's own reply, so that a null comes with its reason. No reply or error holds
the key.

Source: Model Context Protocol, "Tools" and "Resources"; the package `mcp`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from itertools import islice
from typing import Annotated, Any, Final, Literal, ParamSpec

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import Field

from tidemark_client import Tidemark, TidemarkError
from tidemark_client.client import Mode, Moment, Step
from tidemark_client.models import Answer

MOST_ROWS = 100
"""The most rows of one reply, since a model reads all of them."""
_INSTRUCTIONS = (
    "Figures of one workspace's social media posts and channels, as the platforms reported them. A figure that is null "
    "was never reported, and `reasons` says why; 0 was reported as zero. Never add up `reach` over time: it counts "
    "unique people. Times are UTC unless a zone is named. Ask `get_explanation` where a figure comes from."
)
_READ_ONLY = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)

Id = Annotated[str, Field(description="The id in the publishing product.", min_length=1, max_length=128)]
Metric = Annotated[str, Field(description="A common metric column, such as views, impressions, likes or reach.")]
Start = Annotated[Moment | None, Field(description="First instant or date of the span; ISO 8601.")]
End = Annotated[Moment | None, Field(description="End of the span, exclusive; ISO 8601.")]
Limit = Annotated[int, Field(description="The most rows of the reply.", ge=1, le=MOST_ROWS)]
Platform = Annotated[str | None, Field(description="A platform's name, such as x or instagram.")]
Zone = Annotated[str, Field(description="Time zone of days and hours, such as Europe/Berlin.")]
ChannelId = Annotated[str | None, Field(description="Only rows of this channel.")]
# As many as the API takes.
ChannelIds = Annotated[
    list[Id], Field(description="Only rows of these channels; not together with `channel_id`.", max_length=500)
]
# Only read. A list, since a tuple has no schema that hosts know.
_ALL_CHANNELS: Final[list[str]] = []
Metrics = Annotated[list[str], Field(description="Common metric columns.", min_length=1)]
Compared = Annotated[
    str, Field(description="What posts are compared by: engagements, or a column that grows, such as likes.")
]
_Asked = ParamSpec("_Asked")
_JSON = dict[str, Any]


def build_server(client: Tidemark, version: str) -> MCPServer[Any]:
    """Build the server with its tools and resources.

    Args:
        client: reads the workspace.
        version: the version of Tidemark that hosts are shown.
    """
    server: MCPServer[Any] = MCPServer("tidemark", title="Tidemark", instructions=_INSTRUCTIONS, version=version)

    def tool(read: Callable[_Asked, _JSON]) -> None:
        """Offer a function as a tool of the same name; a refusal of the API becomes an error for the model."""

        @wraps(read)
        def guarded(*args: _Asked.args, **kwargs: _Asked.kwargs) -> _JSON:
            try:
                return read(*args, **kwargs)
            except TidemarkError as error:
                raise ToolError(str(error)) from None

        server.add_tool(guarded, annotations=_READ_ONLY)

    def get_post(post_id: Id) -> _JSON:
        """One post: its totals, each of its targets, the reason for every null, and when the post is polled next."""
        return shown(client.post(post_id))

    def get_channel(channel_id: Id) -> _JSON:
        """One connected account with its latest figures."""
        return shown(client.channel(channel_id))

    def get_channel_window(channel_id: Id, length: Literal["24h", "7d", "28d"] = "28d") -> _JSON:
        """A channel's totals over the window that ends now, each with its source: the platform or the posts."""
        return shown(client.channel_window(channel_id, length))

    def list_channels(platform: Platform = None, limit: Limit = 50) -> _JSON:
        """The workspace's connected accounts."""
        return rows(islice(client.channels(platform=platform), limit))

    def list_posts(
        channel_id: ChannelId = None,
        channel_ids: ChannelIds = _ALL_CHANNELS,
        platform: Platform = None,
        start: Start = None,
        end: End = None,
        limit: Limit = 20,
    ) -> _JSON:
        """Posts published within a span, the newest first."""
        found = client.posts(
            channel_id=channel_id, channel_ids=channel_ids, platform=platform, start=start, end=end, page_size=limit
        )
        return rows(islice(found, limit))

    def list_top_posts(
        metric: Metric,
        channel_id: ChannelId = None,
        channel_ids: ChannelIds = _ALL_CHANNELS,
        platform: Platform = None,
        start: Start = None,
        end: End = None,
        limit: Limit = 10,
    ) -> _JSON:
        """Posts published within a span, ranked by one figure, the greatest first; posts without it are left out."""
        found = client.top_posts(
            metric,
            channel_id=channel_id,
            channel_ids=channel_ids,
            platform=platform,
            start=start,
            end=end,
            page_size=limit,
        )
        return rows(islice(found, limit))

    def get_series(
        subject: Literal["post", "target", "channel"],
        subject_id: Id,
        metrics: Metrics,
        start: Start = None,
        end: End = None,
        step: Step = "day",
        tz: Zone = "UTC",
        mode: Mode = "cumulative",
    ) -> _JSON:
        """Figures over time by hour or day: the figure at each end (`cumulative`) or the growth (`increments`)."""
        ask = {"post": client.post_series, "target": client.target_series, "channel": client.channel_series}[subject]
        return shown(ask(subject_id, metrics, start=start, end=end, step=step, tz=tz, mode=mode))

    def get_workspace_series(
        metrics: Metrics,
        channel_ids: ChannelIds = _ALL_CHANNELS,
        start: Start = None,
        end: End = None,
        step: Step = "day",
        tz: Zone = "UTC",
        mode: Mode = "cumulative",
    ) -> _JSON:
        """Like `get_series`, summed over all channels of the workspace or over those named."""
        return shown(
            client.workspace_series(metrics, channel_ids=channel_ids, start=start, end=end, step=step, tz=tz, mode=mode)
        )

    def get_totals(
        start: Start = None,
        end: End = None,
        channel_id: ChannelId = None,
        channel_ids: ChannelIds = _ALL_CHANNELS,
        tz: Zone = "UTC",
        attribution: Literal["published", "received"] = "published",
        compare: bool = False,
    ) -> _JSON:
        """Totals of a span, of the workspace or of some channels; `compare` adds the totals of the span before."""
        return shown(
            client.totals(
                channel_id=channel_id,
                channel_ids=channel_ids,
                start=start,
                end=end,
                tz=tz,
                attribution=attribution,
                is_compared=compare,
            )
        )

    def get_best_times(
        metric: Compared = "engagements",
        channel_id: ChannelId = None,
        channel_ids: ChannelIds = _ALL_CHANNELS,
        start: Start = None,
        end: End = None,
        tz: Zone = "UTC",
    ) -> _JSON:
        """For each hour of the week: what its posts had after a day, against their channel's usual."""
        return shown(
            client.best_times(metric, channel_id=channel_id, channel_ids=channel_ids, start=start, end=end, tz=tz)
        )

    def get_decay(
        metric: Compared = "engagements",
        channel_id: ChannelId = None,
        channel_ids: ChannelIds = _ALL_CHANNELS,
        start: Start = None,
        end: End = None,
    ) -> _JSON:
        """For each age of posts: the share that they had reached by then of the figure that they have after 28 days."""
        return shown(client.decay(metric, channel_id=channel_id, channel_ids=channel_ids, start=start, end=end))

    def get_unusual(
        metric: Compared = "engagements",
        channel_id: ChannelId = None,
        channel_ids: ChannelIds = _ALL_CHANNELS,
        start: Start = None,
        end: End = None,
    ) -> _JSON:
        """Posts far from their channel's usual at the same age, counters that fell, and polls that are late."""
        return shown(client.unusual(metric, channel_id=channel_id, channel_ids=channel_ids, start=start, end=end))

    def get_explanation(subject: Literal["post", "target"], subject_id: Id, metric: Metric) -> _JSON:
        """Where a figure comes from: the platform's raw answers, the figures read from them, and the rule."""
        explain = client.explain_post if subject == "post" else client.explain_target
        return shown(explain(subject_id, metric))

    def list_capabilities() -> _JSON:
        """The figures that each platform can report, how late, and why it can't report the others."""
        return rows(client.capabilities())

    for read in (
        get_post, get_channel, get_channel_window, list_channels, list_posts, list_top_posts, get_series,
        get_workspace_series, get_totals, get_best_times, get_decay, get_unusual, get_explanation, list_capabilities,
    ):  # fmt: skip
        tool(read)

    @server.resource("tidemark://posts/{post_id}", mime_type="application/json")
    def post(post_id: str) -> _JSON:
        """One post, like the tool `get_post`."""
        return get_post(post_id)

    @server.resource("tidemark://channels/{channel_id}", mime_type="application/json")
    def channel(channel_id: str) -> _JSON:
        """One connected account, like the tool `get_channel`."""
        return get_channel(channel_id)

    return server


def shown(answer: Answer) -> _JSON:
    """An answer as a JSON value with the API's names."""
    return answer.model_dump(mode="json", by_alias=True)


def rows(answers: Any) -> _JSON:
    """Several answers as one JSON value, under `data`."""
    return {"data": [shown(answer) for answer in answers]}
