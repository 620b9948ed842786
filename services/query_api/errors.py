"""Every error that a caller can see: a status, a stable code and a message, which repeats no id and no input.

ApiError
|- Unauthorized        401 unauthorized
|  `- AdminClosed          admin_api_closed
|- Forbidden           403 insufficient_scope
|- NotFound            404 not_found
|- MethodNotAllowed    405 method_not_allowed
|- CursorExpired       410 cursor_expired
|- BodyTooLarge        413 body_too_large
|- Invalid             422 invalid_parameter, invalid_body
|- NotPublished        422 post_not_published
|- TooManyRequests     429 rate_limited
|- InternalError       500 internal_error
`- Unavailable         503
   |- ReadsUnavailable     analytics_unavailable
   |- ChangesUnavailable   changes_unavailable
   |- KeysUnread           keys_unavailable
   |- WritesUnavailable    catalog_unavailable
   `- NoSecretKeys         secret_keys_missing
"""

from __future__ import annotations

from http import HTTPStatus

import orjson

Header = tuple[bytes, bytes]


class ApiError(Exception):
    """Base of the errors above; turned into a reply only in `app`.

    Args:
        message: a text for people; must hold nothing that the caller sent.
        code: a stable code for programs; by default the class's own.
        headers: further reply headers.
    """

    status: int = 500
    code: str = "internal_error"
    message: str = "Something went wrong on our side."

    def __init__(
        self, message: str | None = None, *, code: str | None = None, headers: tuple[Header, ...] = ()
    ) -> None:
        super().__init__(message or self.message)
        self.message = message or self.message
        self.code = code or self.code
        self.headers = headers

    def body(self) -> bytes:
        """The reply's body, a problem of RFC 9457."""
        return orjson.dumps(
            {
                "type": "about:blank",
                "title": HTTPStatus(self.status).phrase,
                "status": self.status,
                "detail": self.message,
                "code": self.code,
                "message": self.message,
            }
        )


class Unauthorized(ApiError):
    """The request has no key, or an unknown one."""

    status = 401
    code = "unauthorized"
    message = "A valid API key is required, as a Bearer token or in x-api-key."

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message, headers=((b"www-authenticate", b"Bearer"),))


class AdminClosed(Unauthorized):
    """No key opens the admin API, because the server has no admin key."""

    code = "admin_api_closed"
    message = "The admin API is closed: the server was started without TIDEMARK_ADMIN_KEY."


class Forbidden(ApiError):
    """The key is known, but lacks the scope for this endpoint."""

    status = 403
    code = "insufficient_scope"
    message = "This key does not have the scope that is needed."

    def __init__(self, scope: str) -> None:
        super().__init__(f"This key does not have the scope {scope}.")


class NotFound(ApiError):
    """The thing does not exist, is deleted, or belongs to another workspace: always the same reply."""

    status = 404
    code = "not_found"
    message = "Not found."


class MethodNotAllowed(ApiError):
    """The path is known, but not with this method."""

    status = 405
    code = "method_not_allowed"
    message = "This method is not allowed here."


class CursorExpired(ApiError):
    """A cursor of changes is older than deletions are remembered, or of topics that were made anew."""

    status = 410
    code = "cursor_expired"
    message = "The cursor is not good any more; begin again without one, with an empty copy."


class BodyTooLarge(ApiError):
    """The request's body is over the limit."""

    status = 413
    code = "body_too_large"
    message = "The request body is too large."


class Invalid(ApiError):
    """A parameter or a field of the body is wrong; the message names it and says what is allowed."""

    status = 422
    code = "invalid_parameter"
    message = "A parameter is invalid."


class NotPublished(ApiError):
    """No target of the post is published yet, for products that report this as an error."""

    status = 422
    code = "post_not_published"
    message = "The post is not published yet."


class TooManyRequests(ApiError):
    """The key has made more requests than its limit."""

    status = 429
    code = "rate_limited"
    message = "Too many requests with this key; see Retry-After."


class InternalError(ApiError):
    """A bug of the server; the log has the details."""


class Unavailable(ApiError):
    """A neighbour of this service is away; repeating the request later is safe."""

    status = 503
    code = "unavailable"
    message = "The service is temporarily unavailable."

    def __init__(self, message: str | None = None, *, retry_after_seconds: int = 2) -> None:
        super().__init__(message, headers=((b"retry-after", str(retry_after_seconds).encode()),))


class ReadsUnavailable(Unavailable):
    """ClickHouse did not answer in time."""

    code = "analytics_unavailable"
    message = "Analytics can't be read at the moment."


class ChangesUnavailable(Unavailable):
    """The store that holds the order of changes can't be read, or there is none."""

    code = "changes_unavailable"
    message = "Changes can't be read at the moment."


class KeysUnread(Unavailable):
    """The server has just begun and has not read the keys yet, so it can't tell a valid key from another."""

    code = "keys_unavailable"
    message = "API keys are not read yet: the server has just started."


class WritesUnavailable(Unavailable):
    """Kafka or the schema registry did not answer in time.

    The write may have taken effect, or still do so when Kafka is back; repeating it is safe.
    """

    code = "catalog_unavailable"
    message = "The write can't be confirmed at the moment; it may still take effect, and it is safe to repeat it."


class NoSecretKeys(Unavailable):
    """The request brings tokens, but the server has no key to encrypt them."""

    code = "secret_keys_missing"
    message = "Tokens can't be stored: this server has no usable TIDEMARK_SECRET_KEYS."
