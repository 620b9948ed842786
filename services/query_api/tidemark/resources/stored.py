"""From a post of the API's own store to the state of which replies are made. Pure."""

from __future__ import annotations

from services.query_api.reads.own import ChannelOf, on_channels
from services.query_api.store.records import StoredPost
from services.query_api.tidemark.resources.states import PostState, TargetState


def stored_post(workspace_id: str, stored: StoredPost, channel_of: ChannelOf) -> PostState:
    """A post of the API's own store, with its targets whose channels are there; its figures are not explained yet."""
    return PostState(
        stored.post_id,
        stored.status,
        stored.created_at,
        stored.published_at,
        stored.updated_at,
        tuple(
            [
                TargetState(
                    target_id=target.target_id,
                    post_id=stored.post_id,
                    channel=channel,
                    post_type=target.post_type,
                    status=target.status,
                    external_id=target.external_id,
                    permalink=target.permalink,
                    published_at=target.published_at,
                    is_story=target.is_story,
                    parent_target_id=target.parent_target_id,
                    updated_at=stored.updated_at,
                    register=target.register,
                    content=target.content,
                    origin=target.origin,
                )
                for channel, target in on_channels(channel_of, workspace_id, stored)
            ]
        ),
    )
