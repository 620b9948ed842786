"""The endpoints of the pages: two documents, and the files that they load."""

from __future__ import annotations

from functools import cached_property

from services.query_api.errors import Header, NotFound
from services.query_api.pages.files import document, files, media_type, version
from services.query_api.serving.actions import page
from services.query_api.serving.endpoint import Api, Request
from services.query_api.serving.parameters import AnyParameters
from services.query_api.serving.replies import Reply

# A page loads and calls its own origin only. Nothing within a document runs or has a style of its own, so that a text
# of a post can never become a script, and no other page can frame this one.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
SAFETY: tuple[Header, ...] = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
"""The headers of every page and file."""
_ASKED_AGAIN: tuple[Header, ...] = ((b"cache-control", b"no-cache"), (b"vary", b"accept-encoding"))
_KEPT: tuple[Header, ...] = (
    (b"cache-control", b"public, max-age=31536000, immutable"),
    (b"vary", b"accept-encoding"),
)


class Pages:
    """Replies for the pages and their files, each made once."""

    @cached_property
    def documents(self) -> dict[str, Reply]:
        """The documents, by name: a browser asks each time whether they changed."""
        return {
            name: Reply(document(f"{name}.html"), None, media_type(f"{name}.html"), (*SAFETY, *_ASKED_AGAIN))
            for name in ("app", "ops")
        }

    @cached_property
    def assets(self) -> dict[str, Reply]:
        """The files, by path: their address holds the version, so a browser keeps them."""
        return {
            name: Reply(content, None, media_type(name), (*SAFETY, *_KEPT))
            for name, content in files().items()
            if not name.endswith(".html")
        }

    def asset(self, asked_version: str, name: str) -> Reply:
        """A file of this version.

        Raises:
            NotFound: there is no such file, or the version is another one: its files must not be kept under this name.
        """
        found = self.assets.get(name) if asked_version == version() else None
        if found is None:
            raise NotFound
        return found


async def _app(pages: Pages, _: Request[AnyParameters]) -> Reply:
    return pages.documents["app"]


async def _ops(pages: Pages, _: Request[AnyParameters]) -> Reply:
    return pages.documents["ops"]


async def _asset(pages: Pages, request: Request[AnyParameters]) -> Reply:
    return pages.asset(request.path["version"], request.path["name"])


async def _folder_asset(pages: Pages, request: Request[AnyParameters]) -> Reply:
    return pages.asset(request.path["version"], f"{request.path['folder']}/{request.path['name']}")


PAGES = Api(
    name="pages",
    title="pages",
    description="Pages for browsers; not described.",
    endpoints=(
        page("app", "/app", "The workspace's dashboard", _app),
        page("ops", "/ops", "The operator's page", _ops),
        page("asset", "/static/{version}/{name}", "A file of the pages", _asset),
        page("folderAsset", "/static/{version}/{folder}/{name}", "A file of the pages", _folder_asset),
    ),
)
