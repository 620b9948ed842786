"""Every error that a caller can see: a status, a stable code and a message; none of them echoes an id or an input.

ApiError
|- Unauthorized        401 unauthorized
|  `- AdminClosed          admin_api_closed
|- Forbidden           403 insufficient_scope
|- NotFound            404 not_found
|- MethodNotAllowed    405 method_not_allowed
|- BodyTooLarge        413 body_too_large
|- Invalid             422 invalid_parameter, invalid_body
|- NotPublished        422 post_not_published
|- TooManyRequests     429 rate_limited
|- InternalError       500 internal_error
`- Unavailable         503
   |- ReadsUnavailable     analytics_unavailable
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
        message: for a person; must hold nothing that the caller sent.
        code: stable; the class's own unless told.
        headers: more reply headers.
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
        """The reply's body, RFC 9457."""
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
    """No key, or one that nobody made."""

    status = 401
    code = "unauthorized"
    message = "A valid API key is required, as a Bearer token or in x-api-key."

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message, headers=((b"www-authenticate", b"Bearer"),))


class AdminClosed(Unauthorized):
    """No key opens the admin API, because the server knows none."""

    code = "admin_api_closed"
    message = "The admin API is closed: the server was started without TIDEMARK_ADMIN_KEY."


class Forbidden(ApiError):
    """A known key that may not do this, for lack of a scope."""

    status = 403
    code = "insufficient_scope"
    message = "This key does not have the scope that is needed."

    def __init__(self, scope: str) -> None:
        super().__init__(f"This key does not have the scope {scope}.")


class NotFound(ApiError):
    """Not there, deleted, or another workspace's: always the same reply."""

    status = 404
    code = "not_found"
    message = "Not found."


class MethodNotAllowed(ApiError):
    """The path is known, the method is not."""

    status = 405
    code = "method_not_allowed"
    message = "This method is not allowed here."


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
    """A post that has nothing published yet, where a product says so instead of answering."""

    status = 422
    code = "post_not_published"
    message = "The post is not published yet."


class TooManyRequests(ApiError):
    """The key is over its limit."""

    status = 429
    code = "rate_limited"
    message = "Too many requests with this key; see Retry-After."


class InternalError(ApiError):
    """A bug; the log has the rest."""


class Unavailable(ApiError):
    """Something behind this service is away; asking again later is safe."""

    status = 503
    code = "unavailable"
    message = "The service is temporarily unavailable."

    def __init__(self, message: str | None = None, *, retry_after_seconds: int = 2) -> None:
        super().__init__(message, headers=((b"retry-after", str(retry_after_seconds).encode()),))


class ReadsUnavailable(Unavailable):
    """ClickHouse did not answer in time."""

    code = "analytics_unavailable"
    message = "Analytics can't be read at the moment."


class WritesUnavailable(Unavailable):
    """Kafka or the schema registry did not answer in time.

    The write may have taken effect, or still do so when Kafka is back; repeating it is safe.
    """

    code = "catalog_unavailable"
    message = "The write can't be confirmed at the moment; it may still take effect, and it is safe to repeat it."


class NoSecretKeys(Unavailable):
    """Tokens came, but there is no key to encrypt them with."""

    code = "secret_keys_missing"
    message = "Tokens can't be stored: this server has no usable TIDEMARK_SECRET_KEYS."
