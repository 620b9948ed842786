"""From a post of the API's own store to the state of which replies are made. Pure."""

from __future__ import annotations

from services.query_api.reads.own import ChannelOf, on_channels
from services.query_api.store.records import StoredPost
from services.query_api.tidemark.resources.states import PostState, TargetState


def stored_post(workspace_id: str, stored: StoredPost, channel_of: ChannelOf) -> PostState:
    """A post of the API's own store, with its targets whose channels are there; its figures are not explained yet."""
    post_id, status, created_at, published_at, updated_at, _, _ = stored
    return PostState(
        post_id,
        status,
        created_at,
        published_at,
        updated_at,
        tuple(
            [
                # By position, which takes half the time.
                TargetState(
                    target.target_id, post_id, channel, target.post_type, target.status, target.external_id,
                    target.permalink, target.published_at, target.is_story, target.parent_target_id, updated_at,
                    target.register, target.content, target.origin,
                )
                for channel, target in on_channels(channel_of, workspace_id, stored)
            ]
        ),
    )  # fmt: skip
