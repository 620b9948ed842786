"""The endpoints of posts, targets and channels."""

from __future__ import annotations

from typing import Any

from services.query_api.connections import KEPT, MOST_EVENTS
from services.query_api.reads.sources import Sources
from services.query_api.serving.actions import reads
from services.query_api.serving.endpoint import Body, Endpoint
from services.query_api.serving.parameters import NoParameters
from services.query_api.tidemark import PREFIX
from services.query_api.tidemark.resources import lookups, models
from services.query_api.tidemark.resources.events import list_events
from services.query_api.tidemark.resources.explain import explain_post, explain_target
from services.query_api.tidemark.resources.parameters import (
    ByIds,
    ChannelsParameters,
    ExplainParameters,
    PostsParameters,
    TargetsParameters,
    TopParameters,
    WindowParameters,
)
from services.query_api.tidemark.resources.render import without_age
from services.query_api.tidemark.resources.windows import get_window

_IDS_IN_BODY = "Like GET with `ids`, with up to 500 ids in the body: more than an address can hold."

_BODY = Body(example={"ids": ["post-1", "post-2"]})

ENDPOINTS: tuple[Endpoint[Sources, Any, Any], ...] = (
    Endpoint(
        id="getPost",
        path=f"{PREFIX}/posts/{{id}}",
        summary="A post",
        description="Totals over the post's targets and each target's figures, when they were captured and are polled "
        "next, and the reason for every null.",
        action=reads(NoParameters, lookups.get_post, is_kept=True, tag_of=without_age),
        sample=models.POST,
        schema=models.POST_SCHEMA,
    ),
    Endpoint(
        id="getTarget",
        path=f"{PREFIX}/targets/{{id}}",
        summary="A target",
        description="One post on one channel.",
        action=reads(NoParameters, lookups.get_target, is_kept=True, tag_of=without_age),
        sample=models.TARGET,
        schema=models.TARGET_SCHEMA,
    ),
    Endpoint(
        id="getChannel",
        path=f"{PREFIX}/channels/{{id}}",
        summary="A channel",
        description="An account's own figures: a lifetime figure if the platform reports one, else the figure of the "
        "latest period that has it; and the latest period of each kind and length.",
        action=reads(NoParameters, lookups.get_channel, tag_of=without_age),
        sample=models.CHANNEL,
        schema=models.CHANNEL_SCHEMA,
    ),
    Endpoint(
        id="listPosts",
        path=f"{PREFIX}/posts",
        summary="Posts",
        description="Posts by their ids, or in pages, the newest or the oldest first.",
        action=reads(PostsParameters, lookups.list_posts, is_kept=True, tag_of=without_age),
        sample=models.listed(models.POST),
        schema=models.listed_schema(models.POST_SCHEMA),
    ),
    Endpoint(
        id="listTargets",
        path=f"{PREFIX}/targets",
        summary="Targets",
        description="Targets by their ids, by the platform's own id, or in pages, the newest or the oldest first.",
        action=reads(TargetsParameters, lookups.list_targets, is_kept=True, tag_of=without_age),
        sample=models.listed(models.TARGET),
        schema=models.listed_schema(models.TARGET_SCHEMA),
    ),
    Endpoint(
        id="listChannels",
        path=f"{PREFIX}/channels",
        summary="Channels",
        description="Channels by their ids, by the platform's own id, or in pages ordered by id.",
        action=reads(ChannelsParameters, lookups.list_channels, tag_of=without_age),
        sample=models.listed(models.CHANNEL),
        schema=models.listed_schema(models.CHANNEL_SCHEMA),
    ),
    Endpoint(
        id="queryPosts",
        method="POST",
        path=f"{PREFIX}/posts/query",
        summary="Posts by many ids",
        description=_IDS_IN_BODY,
        action=reads(ByIds, lookups.query_posts, tag_of=without_age),
        body=_BODY,
        sample=models.listed(models.POST),
        schema=models.listed_schema(models.POST_SCHEMA),
    ),
    Endpoint(
        id="queryTargets",
        method="POST",
        path=f"{PREFIX}/targets/query",
        summary="Targets by many ids",
        description=_IDS_IN_BODY,
        action=reads(ByIds, lookups.query_targets, tag_of=without_age),
        body=_BODY,
        sample=models.listed(models.TARGET),
        schema=models.listed_schema(models.TARGET_SCHEMA),
    ),
    Endpoint(
        id="queryChannels",
        method="POST",
        path=f"{PREFIX}/channels/query",
        summary="Channels by many ids",
        description=_IDS_IN_BODY,
        action=reads(ByIds, lookups.query_channels, tag_of=without_age),
        body=_BODY,
        sample=models.listed(models.CHANNEL),
        schema=models.listed_schema(models.CHANNEL_SCHEMA),
    ),
    Endpoint(
        id="listTopPosts",
        path=f"{PREFIX}/top/posts",
        summary="Top posts",
        description="Posts with the greatest values of a figure, of the workspace or of some channels; ties are "
        "ordered by id. Posts without the figure are never listed.",
        action=reads(TopParameters, lookups.list_top_posts, is_kept=True, tag_of=without_age),
        sample=models.listed(models.POST),
        schema=models.listed_schema(models.POST_SCHEMA),
    ),
    Endpoint(
        id="explainPost",
        path=f"{PREFIX}/posts/{{id}}/explain",
        summary="Where a post's figure comes from",
        description="The answers that a total was read from: their raw events by topic, partition and offset, and "
        "the module that read them. At most 16 MiB of the answers are shown; in further parts `answer` is null.",
        action=reads(ExplainParameters, explain_post),
        sample=models.EXPLANATION,
        schema=models.EXPLANATION_SCHEMA,
    ),
    Endpoint(
        id="explainTarget",
        path=f"{PREFIX}/targets/{{id}}/explain",
        summary="Where a target's figure comes from",
        description="The answer that a figure was read from: its raw event by topic, partition and offset, and the "
        "module that read it.",
        action=reads(ExplainParameters, explain_target),
        sample=models.EXPLANATION,
        schema=models.EXPLANATION_SCHEMA,
    ),
    Endpoint(
        id="getChannelWindow",
        path=f"{PREFIX}/channels/{{id}}/windows",
        summary="Totals of a channel over its trailing window",
        description="The totals that postme shows, by the common columns. `sources` tells where each total comes from: "
        "the platform's own window (channel), the sum of the posts published within the same bounds (posts), or both "
        "(mixed, for engagements).",
        action=reads(WindowParameters, get_window),
        sample=models.WINDOW,
        schema=models.WINDOW_SCHEMA,
    ),
    Endpoint(
        id="listChannelEvents",
        path=f"{PREFIX}/channels/{{id}}/events",
        summary="What happened to a channel's connection",
        description=f"The latest {MOST_EVENTS} events of the last {KEPT.days} days, the latest first: the connection"
        " broke, the platform closed the account, all of its posts were hidden, or it works again.",
        action=reads(NoParameters, list_events),
        sample=models.EVENTS,
        schema=models.EVENTS_SCHEMA,
    ),
    Endpoint(
        id="listCapabilities",
        path=f"{PREFIX}/capabilities",
        summary="What each platform can report",
        description="Every common column of posts and channels for each platform: whether the platform reports the "
        "figure; of the lifetime, a range of dates, a day or a longer window; and how late by its documentation. Under "
        "`discovery`: of which accounts posts that were published elsewhere can be looked for (`discover`).",
        action=reads(NoParameters, lookups.list_capabilities),
        sample={"data": [models.CAPABILITY], "discovery": [models.DISCOVERY]},
        schema={
            "title": "Capabilities",
            "type": "object",
            "required": ["data", "discovery"],
            "properties": {
                "data": {"type": "array", "items": models.CAPABILITY_SCHEMA},
                "discovery": {"type": "array", "items": models.DISCOVERY_SCHEMA},
            },
        },
    ),
)
