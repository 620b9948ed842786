"""PostFuze's endpoints; documented, not answered yet."""

from __future__ import annotations

from services.query_api.endpoint import Dialect, Parameter, Read, no_reply, not_yet

DIALECT = Dialect(
    name="postfuze",
    title="PostFuze",
    description="Figures of posts, and figures and health of social accounts.",
    reads=(
        Read(
            path="/api/v1/posts/{id}/analytics",
            summary="Post analytics",
            description="The latest figures of each published target, and their sums. Not available yet.",
            compile=not_yet,
            render=no_reply,
            sample={"post_id": "...", "metrics_by_account": [], "aggregated_metrics": {}},
        ),
        Read(
            path="/api/v1/social-accounts/{id}/metrics",
            summary="Account metrics",
            description="Audience size of one account, now or over a range. Not available yet.",
            compile=not_yet,
            render=no_reply,
            sample={"social_account_id": "...", "metrics": None, "message": "..."},
            parameters=(
                Parameter("since", "Start of the range: unix seconds or ISO 8601."),
                Parameter("until", "End of the range, exclusive: unix seconds or ISO 8601."),
            ),
        ),
        Read(
            path="/api/v1/social-accounts/{id}/health",
            summary="Account health",
            description="Whether an account's connection works. Not available yet.",
            compile=not_yet,
            render=no_reply,
            sample={"id": "...", "network": "instagram", "healthy": True, "status": "active"},
        ),
    ),
)
