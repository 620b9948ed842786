"""PostBeam's endpoint: which question it asks."""

from __future__ import annotations

from services.query_api.reads.query import LivePostQuestion, PostQuestion
from services.query_api.serving.actions import asks
from services.query_api.serving.endpoint import Api, Endpoint, Request

from .models import SAMPLE, SCHEMA
from .parameters import ReactionsParameters
from .render import reactions


def post_question(request: Request[ReactionsParameters]) -> PostQuestion | LivePostQuestion:
    """The post of the path, as it is stored or as its platforms show it now."""
    kind = LivePostQuestion if request.parameters.fresh else PostQuestion
    return kind(request.workspace_id, request.path["id"])


DIALECT = Api(
    name="postbeam",
    title="PostBeam",
    description="Reactions to posts.",
    endpoints=(
        Endpoint(
            id="getPostbeamReactions",
            path="/beam/v1/posts/{id}/reactions",
            summary="Reactions",
            description="How many people reacted to a post, in all and by channel.",
            action=asks(ReactionsParameters, post_question, reactions),
            sample=SAMPLE,
            schema=SCHEMA,
        ),
    ),
)
