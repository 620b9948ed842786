"""The endpoints beside the APIs: the front page, the descriptions, health and metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from typing import Any

import orjson
from prometheus_client import CONTENT_TYPE_LATEST

from services.query_api.errors import Header
from services.query_api.observability import exposition, tell_tallies
from services.query_api.serving.accept import accept_of, prefers_page
from services.query_api.serving.actions import page
from services.query_api.serving.endpoint import Api, Key, Request
from services.query_api.serving.openapi import openapi_json
from services.query_api.serving.parameters import AnyParameters
from services.query_api.serving.replies import JSON, NOT_STORED, Plain
from services.query_api.site.asyncapi import asyncapi_json
from services.query_api.site.pages import PAGE_HEADERS, documentation_page, front, front_page, origin_of

Readiness = Callable[[], Awaitable[str | None]]
"""Returns None when the service is ready, else one line that says what is missing."""

_TEXT = "text/plain; charset=utf-8"
_HTML = "text/html; charset=utf-8"
# The front page holds the origin that the caller used, so it must not be stored.
_FRONT_HEADERS: tuple[Header, ...] = ((b"vary", b"accept"), NOT_STORED)


class Site:
    """The data that the pages are made of.

    Args:
        readiness: tells whether the service is ready.
        apis: the described APIs, in the description's order.
        products: the APIs that the front page lists with their paths.
        topic_prefix: the text before the topics' names.
        partitions: the number of partitions of each topic.
        note: what `/readyz` adds for a service that is ready; None where there is nothing to add.
    """

    def __init__(
        self,
        readiness: Readiness,
        apis: Sequence[Api[Any]],
        products: Sequence[Api[Any]],
        topic_prefix: str,
        partitions: int,
        note: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.note = note
        self.readiness = readiness
        self.apis = apis
        self.products = products
        self._topic_prefix = topic_prefix
        self._partitions = partitions

    @cached_property
    def description(self) -> bytes:
        """The OpenAPI description as JSON text."""
        return openapi_json(self.apis)

    @cached_property
    def topics(self) -> bytes:
        """The AsyncAPI description as JSON text."""
        return asyncapi_json(self._topic_prefix, self._partitions, self.apis)

    @cached_property
    def documentation(self) -> bytes:
        """The OpenAPI description as an HTML page."""
        return documentation_page(self.apis).encode()


async def _front(site: Site, request: Request[AnyParameters]) -> Plain:
    host = next((value for name, value in request.headers if name == b"host"), b"")
    origin = origin_of(request.scheme, host.decode("latin-1"))
    if prefers_page(accept_of(request.headers)):
        return Plain.of(front_page(site.products, origin).encode(), _HTML, (*PAGE_HEADERS, *_FRONT_HEADERS))
    return Plain.of(orjson.dumps(front(site.products, origin)), JSON, _FRONT_HEADERS)


async def _healthz(_: Site, __: Request[AnyParameters]) -> Plain:
    return Plain.of(b"ok\n", _TEXT)


async def _readyz(site: Site, _: Request[AnyParameters]) -> Plain:
    missing = await site.readiness()
    if missing is not None:
        return Plain.of(f"{missing}\n".encode(), _TEXT, status=503)
    note = site.note()
    return Plain.of(f"ready{'' if note is None else f'; {note}'}\n".encode(), _TEXT)


async def _metrics(_: Site, __: Request[AnyParameters]) -> Plain:
    tell_tallies()
    return Plain.of(exposition(), CONTENT_TYPE_LATEST, (NOT_STORED,))


async def _openapi(site: Site, _: Request[AnyParameters]) -> Plain:
    return Plain.of(site.description, JSON)


async def _asyncapi(site: Site, _: Request[AnyParameters]) -> Plain:
    return Plain.of(site.topics, JSON)


async def _docs(site: Site, _: Request[AnyParameters]) -> Plain:
    return Plain.of(site.documentation, _HTML, PAGE_HEADERS)


SITE = Api(
    name="site",
    title="site",
    description="Addresses beside the APIs; not described.",
    endpoints=(
        page("front", "/", "What this is", _front),
        page("healthz", "/healthz", "Whether the process answers", _healthz),
        page("readyz", "/readyz", "Whether the service is ready, or what is missing", _readyz),
        # Metrics tell of all tenants, so they need the admin key; operators also have a port of their own.
        page("metrics", "/metrics", "Prometheus metrics", _metrics, Key.ADMIN),
        page("openapi", "/openapi.json", "The description for machines", _openapi),
        page("asyncapi", "/asyncapi.json", "The description of topics and streams, for machines", _asyncapi),
        page("docs", "/docs", "The description as a page", _docs),
    ),
)
