"""Tidemark's reads as tools of the Model Context Protocol, over the typed client: one workspace, nothing is written.

In: a client with a workspace's key. Out: a server that a language model's host runs and asks. Each tool is one call of
`/tidemark/v1`; its reply is the API's own, so a null comes with its reason. The key is in no reply and in no error.

Source: Model Context Protocol, "Tools" and "Resources"; the package `mcp`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from itertools import islice
from typing import Annotated, Any, Literal, ParamSpec

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import Field

from tidemark_client import Tidemark, TidemarkError
from tidemark_client.client import Mode, Moment, Step
from tidemark_client.models import Answer

MOST_ROWS = 100
"""Rows of one reply at most: a model reads all of them."""
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
Limit = Annotated[int, Field(description="Rows at most.", ge=1, le=MOST_ROWS)]
Platform = Annotated[str | None, Field(description="A platform's name, such as x or instagram.")]
Zone = Annotated[str, Field(description="Time zone of days and hours, such as Europe/Berlin.")]
ChannelId = Annotated[str | None, Field(description="Only of this channel.")]
_Asked = ParamSpec("_Asked")
_JSON = dict[str, Any]


def build_server(client: Tidemark, version: str) -> MCPServer[Any]:
    """The server.

    Args:
        client: of the workspace that is read.
        version: of Tidemark, told to hosts.
    """
    server: MCPServer[Any] = MCPServer("tidemark", title="Tidemark", instructions=_INSTRUCTIONS, version=version)

    def tool(read: Callable[_Asked, _JSON]) -> None:
        """Offer a function as a tool of its name; what the API refuses becomes an error that the model can read."""

        @wraps(read)
        def guarded(*args: _Asked.args, **kwargs: _Asked.kwargs) -> _JSON:
            try:
                return read(*args, **kwargs)
            except TidemarkError as error:
                raise ToolError(str(error)) from None

        server.add_tool(guarded, annotations=_READ_ONLY)

    def get_post(post_id: Id) -> _JSON:
        """One post: its totals, each of its targets, the reason of every null, and when it is polled next."""
        return shown(client.post(post_id))

    def get_channel(channel_id: Id) -> _JSON:
        """One connected account with its latest figures."""
        return shown(client.channel(channel_id))

    def get_channel_window(channel_id: Id, length: Literal["24h", "7d", "28d"] = "28d") -> _JSON:
        """A channel's totals over the window that ends now; says of each total whether it is the platform's own."""
        return shown(client.channel_window(channel_id, length))

    def list_channels(platform: Platform = None, limit: Limit = 50) -> _JSON:
        """The workspace's connected accounts."""
        return rows(islice(client.channels(platform=platform), limit))

    def list_posts(
        channel_id: ChannelId = None, platform: Platform = None, start: Start = None, end: End = None, limit: Limit = 20
    ) -> _JSON:
        """Posts published within a span, the newest first."""
        found = client.posts(channel_id=channel_id, platform=platform, start=start, end=end, page_size=limit)
        return rows(islice(found, limit))

    def list_top_posts(
        metric: Metric,
        channel_id: ChannelId = None,
        platform: Platform = None,
        start: Start = None,
        end: End = None,
        limit: Limit = 10,
    ) -> _JSON:
        """Posts published within a span by one figure, the greatest first; posts without the figure are left out."""
        found = client.top_posts(
            metric, channel_id=channel_id, platform=platform, start=start, end=end, page_size=limit
        )
        return rows(islice(found, limit))

    def get_series(
        subject: Literal["post", "target", "channel"],
        subject_id: Id,
        metrics: Annotated[list[str], Field(description="Common metric columns.", min_length=1)],
        start: Start = None,
        end: End = None,
        step: Step = "day",
        tz: Zone = "UTC",
        mode: Mode = "cumulative",
    ) -> _JSON:
        """Figures over time by hour or day: as they stood (`cumulative`) or what was added (`increments`)."""
        ask = {"post": client.post_series, "target": client.target_series, "channel": client.channel_series}[subject]
        return shown(ask(subject_id, metrics, start=start, end=end, step=step, tz=tz, mode=mode))

    def get_totals(
        start: Start = None,
        end: End = None,
        channel_id: ChannelId = None,
        tz: Zone = "UTC",
        attribution: Literal["published", "received"] = "published",
        compare: bool = False,
    ) -> _JSON:
        """Totals of a span, of the workspace or one channel; `compare` adds the span before it."""
        return shown(
            client.totals(
                channel_id=channel_id, start=start, end=end, tz=tz, attribution=attribution, is_compared=compare
            )
        )

    def get_explanation(subject: Literal["post", "target"], subject_id: Id, metric: Metric) -> _JSON:
        """Where a figure comes from: the platform's raw answers, what was read from them, and by which rule."""
        explain = client.explain_post if subject == "post" else client.explain_target
        return shown(explain(subject_id, metric))

    def list_capabilities() -> _JSON:
        """What each platform can report, how late, and why it can't report the rest."""
        return rows(client.capabilities())

    for read in (
        get_post, get_channel, get_channel_window, list_channels, list_posts, list_top_posts, get_series, get_totals,
        get_explanation, list_capabilities,
    ):  # fmt: skip
        tool(read)

    @server.resource("tidemark://posts/{post_id}", mime_type="application/json")
    def post(post_id: str) -> _JSON:
        """One post, as `get_post`."""
        return get_post(post_id)

    @server.resource("tidemark://channels/{channel_id}", mime_type="application/json")
    def channel(channel_id: str) -> _JSON:
        """One connected account, as `get_channel`."""
        return get_channel(channel_id)

    return server


def shown(answer: Answer) -> _JSON:
    """An answer as the API sent it."""
    return answer.model_dump(mode="json", by_alias=True)


def rows(answers: Any) -> _JSON:
    """Several answers."""
    return {"data": [shown(answer) for answer in answers]}
