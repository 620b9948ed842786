"""From a post of the API's own store to the state of which replies are made. Pure."""

from __future__ import annotations

from schemas.events import CatalogChannel
from services.query_api.reads.own import ChannelOf
from services.query_api.store.records import StoredPost, StoredTarget, register_of
from services.query_api.tidemark.resources.states import PostState, TargetState, new_post, new_target


def stored_post(workspace_id: str, stored: StoredPost, channel_of: ChannelOf) -> PostState:
    """A post of the API's own store, with its targets whose channels are there; its figures are not explained yet."""
    post_id, status, created_at, published_at, updated_at, held = stored
    targets = [
        _target(target, post_id, channel, updated_at)
        for target in held
        if (channel := channel_of(workspace_id, target.channel_id)) is not None
    ]
    return new_post((post_id, status, created_at, published_at, updated_at, tuple(targets)))


def _target(target: StoredTarget, post_id: str, channel: CatalogChannel, updated_at: int) -> TargetState:
    (
        target_id, _, post_type, status, external_id, permalink, published_at, content, is_story, parent_target_id, _,
        captured_at, values, sources, origin,
    ) = target  # fmt: skip
    register = register_of(captured_at, values, sources)
    return new_target(
        (
            target_id, post_id, channel, post_type, status, external_id, permalink, published_at, is_story,
            parent_target_id, updated_at, register, content, origin, True, (),
        )
    )  # fmt: skip
