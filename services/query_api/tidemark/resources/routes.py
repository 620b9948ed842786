"""The endpoints of posts, targets and channels."""

from __future__ import annotations

from services.query_api.tidemark.endpoint import PREFIX, Endpoint
from services.query_api.tidemark.resources import lookups, models, windows
from services.query_api.tidemark.resources.explain import explain_post, explain_target
from services.query_api.tidemark.resources.parameters import (
    ByIds,
    ChannelsAsked,
    ExplainAsked,
    PostsAsked,
    TargetsAsked,
    TopAsked,
)
from services.query_api.tidemark.resources.render import without_age
from services.query_api.tidemark.resources.windows import WindowAsked, get_window

_IDS_IN_BODY = "For more ids than an address can hold: as `ids` of the GET, up to 500 of them in the body."

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "getPost",
        f"{PREFIX}/posts/{{id}}",
        "A post",
        "Totals over its targets and the figures of each, when they were captured and are polled next, and of every "
        "null the reason.",
        lookups.get_post,
        models.POST,
        schema=models.POST_SCHEMA,
        is_kept=True,
        tag_of=without_age,
    ),
    Endpoint(
        "getTarget",
        f"{PREFIX}/targets/{{id}}",
        "A target",
        "One post on one channel.",
        lookups.get_target,
        models.TARGET,
        schema=models.TARGET_SCHEMA,
        is_kept=True,
        tag_of=without_age,
    ),
    Endpoint(
        "getChannel",
        f"{PREFIX}/channels/{{id}}",
        "A channel",
        "An account's own figures: each of its lifetime where the platform says that, else of the latest period that "
        "has it; and the latest period of each kind and length.",
        lookups.get_channel,
        models.CHANNEL,
        schema=models.CHANNEL_SCHEMA,
        tag_of=without_age,
    ),
    Endpoint(
        "listPosts",
        f"{PREFIX}/posts",
        "Posts",
        "By their ids, or in pages, the newest first.",
        lookups.list_posts,
        models.listed(models.POST),
        parameters=PostsAsked,
        schema=models.listed_schema(models.POST_SCHEMA),
        is_kept=True,
        tag_of=without_age,
    ),
    Endpoint(
        "listTargets",
        f"{PREFIX}/targets",
        "Targets",
        "By their ids, by the platform's own id, or in pages, the newest first.",
        lookups.list_targets,
        models.listed(models.TARGET),
        parameters=TargetsAsked,
        schema=models.listed_schema(models.TARGET_SCHEMA),
        is_kept=True,
        tag_of=without_age,
    ),
    Endpoint(
        "listChannels",
        f"{PREFIX}/channels",
        "Channels",
        "By their ids, by the platform's own id, or in pages, by id.",
        lookups.list_channels,
        models.listed(models.CHANNEL),
        parameters=ChannelsAsked,
        schema=models.listed_schema(models.CHANNEL_SCHEMA),
        tag_of=without_age,
    ),
    Endpoint(
        "queryPosts",
        f"{PREFIX}/posts/query",
        "Posts by many ids",
        _IDS_IN_BODY,
        lookups.query_posts,
        models.listed(models.POST),
        method="POST",
        parameters=ByIds,
        schema=models.listed_schema(models.POST_SCHEMA),
        tag_of=without_age,
    ),
    Endpoint(
        "queryTargets",
        f"{PREFIX}/targets/query",
        "Targets by many ids",
        _IDS_IN_BODY,
        lookups.query_targets,
        models.listed(models.TARGET),
        method="POST",
        parameters=ByIds,
        schema=models.listed_schema(models.TARGET_SCHEMA),
        tag_of=without_age,
    ),
    Endpoint(
        "queryChannels",
        f"{PREFIX}/channels/query",
        "Channels by many ids",
        _IDS_IN_BODY,
        lookups.query_channels,
        models.listed(models.CHANNEL),
        method="POST",
        parameters=ByIds,
        schema=models.listed_schema(models.CHANNEL_SCHEMA),
        tag_of=without_age,
    ),
    Endpoint(
        "listTopPosts",
        f"{PREFIX}/top/posts",
        "Top posts",
        "Posts with the greatest figures, of the workspace or of one channel; ties by id. Posts without the figure are "
        "never listed.",
        lookups.list_top_posts,
        models.listed(models.POST),
        parameters=TopAsked,
        schema=models.listed_schema(models.POST_SCHEMA),
        is_kept=True,
        tag_of=without_age,
    ),
    Endpoint(
        "explainPost",
        f"{PREFIX}/posts/{{id}}/explain",
        "Where a post's figure comes from",
        "The answers that a total was read from: their raw events by topic, partition and offset, and what read them. "
        "Of the answers themselves 16 MiB are shown; `answer` is null in further ones.",
        explain_post,
        models.EXPLANATION,
        parameters=ExplainAsked,
        schema=models.EXPLANATION_SCHEMA,
    ),
    Endpoint(
        "explainTarget",
        f"{PREFIX}/targets/{{id}}/explain",
        "Where a target's figure comes from",
        "The answer that a figure was read from: its raw event by topic, partition and offset, and what read it.",
        explain_target,
        models.EXPLANATION,
        parameters=ExplainAsked,
        schema=models.EXPLANATION_SCHEMA,
    ),
    Endpoint(
        "getChannelWindow",
        f"{PREFIX}/channels/{{id}}/windows",
        "Totals of a channel over its trailing window",
        "The totals that postme shows, by the common columns. `sources` says of each whether the platform told it "
        "(channel) or it is the sum of the posts published within the same bounds (posts); engagements may be of both.",
        get_window,
        windows.SAMPLE,
        parameters=WindowAsked,
        schema=windows.SCHEMA,
    ),
    Endpoint(
        "listCapabilities",
        f"{PREFIX}/capabilities",
        "What each platform can report",
        "Of each platform, for posts and channels, every common column: whether it is reported, as a figure of the "
        "lifetime, of a range of dates, a day or a longer window, and how late by the platform's documentation.",
        lookups.list_capabilities,
        {"data": [models.CAPABILITY]},
        schema={
            "title": "Capabilities",
            "type": "object",
            "required": ["data"],
            "properties": {"data": {"type": "array", "items": models.CAPABILITY_SCHEMA}},
        },
    ),
)
