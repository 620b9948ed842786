"""What the Graph API's platforms answer alike: fields, errors, and refusals in the bodies that were recorded of them.

Each refusal is a function that makes the reply, and its docstring names the source of the body.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from infra.sandbox.exchange import Ask, Reply


class RefusedError(Exception):
    """One thing about the request fails all of it."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def refusable(answer: Callable[[Ask], Reply]) -> Callable[[Ask], Reply]:
    """An answer that may be refused half way."""

    def answered(ask: Ask) -> Reply:
        try:
            return answer(ask)
        except RefusedError as refused:
            return refused.reply

    return answered


def error(
    status: int, code: int, message: str, subcode: int | None = None, kind: str = "OAuthException", **more: Any
) -> Reply:
    """Meta's envelope of an error."""
    body: dict[str, Any] = {"message": message, "type": kind, "code": code}
    if subcode is not None:
        body["error_subcode"] = subcode
    return Reply(status, {"error": {**body, **more, "fbtrace_id": "Asandboxsandboxsandbox"}})


def usage_headers(account_id: str, kind: str, used: int) -> dict[str, str]:
    """Percentages of the app's and the account's limit that are used."""
    return {
        "x-app-usage": orjson.dumps({"call_count": used, "total_cputime": 0, "total_time": 0}).decode(),
        "x-business-use-case-usage": usage(account_id, kind, used, 0),
    }


def usage(account_id: str, kind: str, used: int, minutes: int) -> str:
    """`X-Business-Use-Case-Usage` of one account; `minutes` until calls are taken again."""
    told = {
        "type": kind,
        "call_count": used,
        "total_cputime": 0,
        "total_time": 0,
        "estimated_time_to_regain_access": minutes,
    }
    return orjson.dumps({account_id: [told]}).decode()


def insight(external_id: str, name: str, period: str, value: Any) -> dict[str, Any]:
    """One insight of a node, as its list holds it."""
    return {
        "name": name,
        "period": period,
        "values": [{"value": value}],
        "title": name.replace("_", " ").capitalize(),
        "description": "",
        "id": f"{external_id}/insights/{name}/{period}",
    }


def ids_retired() -> Reply:
    """Source: restfb/restfb issue 1692; Meta's posts on Graph API v26.0 and v27.0."""
    return error(500, 100, "The ids query parameter is deprecated in v26.0+")


def no_such_object(external_id: str, kind: str = "GraphMethodException") -> Reply:
    """Source: restfb/restfb `threads/exception.json`, `batch/batch-first-error.json`."""
    message = (
        f"Unsupported get request. Object with ID '{external_id}' does not exist, cannot be loaded due to missing "
        "permissions, or does not support this operation."
    )
    return error(400, 100, message, 33, kind)


def object_missing() -> Reply:
    """What a deleted post of a page often reads. Source: a public probe of v25.0, September 2026."""
    message = (
        "(#10) Object does not exist, cannot be loaded due to missing permission or reviewable feature, or does not "
        "support this operation"
    )
    return error(400, 10, message)


def scope_missing(scope: str) -> Reply:
    """Source: a public probe of v25.0, September 2026."""
    return error(400, 10, f"(#10) This endpoint requires the '{scope}' permission")


def no_such_field(field: str, node: str) -> Reply:
    """Source: gitroomhq/postiz-app pull 1669."""
    return error(400, 100, f"(#100) Tried accessing nonexisting field ({field}) on node type ({node})")


def metric_by_place(place: int, valid: Sequence[str]) -> Reply:
    """Source: janu-software/facebook-php-sdk issue 17."""
    return error(400, 100, f"(#100) metric[{place}] must be one of the following values: {', '.join(valid)}")


def metric_of_another_kind(metric: str) -> Reply:
    """Source: airbytehq/airbyte pull 62902."""
    message = f"(#100) The Media Insights API does not support the {metric} metric for this media product type."
    return error(400, 100, message)


def metric_of_another_type(metric: str) -> Reply:
    """Source: exileum/meta-mcp issue 120."""
    return error(400, 100, f"(#100) The metric {metric} is not supported for this media type")


def metric_unnamed() -> Reply:
    """Source: airbytehq/airbyte pull 84408."""
    return error(400, 100, "(#100) The value must be a valid insights metric")


def too_much() -> Reply:
    """Source: singer-io/tap-facebook issue 65."""
    message = "Please reduce the amount of data you're asking for, then retry your request"
    return Reply(500, {"error": {"code": 1, "message": message}})


def user_token() -> Reply:
    """Source: Meta "New Pages experience", a page's edge asked for with a user's token."""
    return error(
        400, 190, "Invalid OAuth 2.0 Access Token", 2069032, is_transient=False,
        error_user_title="User Access Token Is Not Supported",
        error_user_msg="A Page access token is required for this call for the new Pages experience.",
    )  # fmt: skip


def expired() -> Reply:
    """Source: Meta "Handling errors"."""
    return error(400, 190, "Error validating access token: Session has expired.", 463)


def revoked() -> Reply:
    """Source: Meta "Handling errors"."""
    return error(400, 190, "Error validating access token: The user has not authorized application 1.", 458)


def checkpointed() -> Reply:
    """Source: Meta "Handling errors"."""
    return error(400, 190, "Error validating access token: The user is checkpointed.", 459)


def token_missing() -> Reply:
    """Source: Meta "Handling errors"."""
    return error(400, 104, "An access token is required to request this resource.")


def server_error() -> Reply:
    """Source: Meta "Handling errors"."""
    return error(500, 2, "An unexpected error has occurred. Please retry your request later.")
