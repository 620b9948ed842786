"""Makes the pages for browsers: the front page and the description, without scripts or links to other servers. Pure."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha256
from html import escape
from typing import Any

import orjson

from services.query_api.errors import Header
from services.query_api.serving.endpoint import Api, Endpoint
from services.query_api.serving.openapi import TITLE, asked_of

_STYLE = (
    ":root{color-scheme:light dark;--quiet:light-dark(#5a6270,#9aa4b2);--line:light-dark(#d9dde3,#333a44);"
    "--panel:light-dark(#f4f5f7,#1b2027);--link:light-dark(#0b57b5,#7db4ff)}"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:1.5rem auto;padding:0 1rem;"
    "background:light-dark(#fff,#12161b);color:light-dark(#1b1f24,#e4e8ee);overflow-wrap:anywhere}"
    "h1{font-size:1.6rem;margin:0 0 .5rem}h2{font-size:1.2rem;margin:1.5rem 0 .25rem}"
    "h3{font-size:1rem;margin:1.5rem 0 0}p{margin:.5rem 0}a{color:var(--link)}"
    "code,pre{font:.875rem/1.45 ui-monospace,monospace}"
    "pre{background:var(--panel);border-radius:6px;padding:.75rem;overflow:auto;overflow-wrap:normal;margin:.5rem 0}"
    "summary{cursor:pointer}table{border-collapse:collapse;width:100%}"
    "td,th{padding:.3rem .75rem .3rem 0;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}"
    "th{font-weight:600;white-space:nowrap}nav ul{list-style:none;padding:0;margin:.25rem 0 1rem}"
    "nav li{margin:.1rem 0}nav span,.quiet{color:var(--quiet)}section{border-top:1px solid var(--line);margin-top:2rem}"
    ":target{scroll-margin-top:1rem}@media(max-width:30rem){th,td{display:block;border:0;padding:0}"
    "td{border-bottom:1px solid var(--line);padding-bottom:.4rem;margin-bottom:.4rem}}"
)
_STYLE_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()
PAGE_HEADERS: tuple[Header, ...] = (
    (
        b"content-security-policy",
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'".encode(),
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
"""The headers of every page: a browser loads and runs nothing, and applies only the page's own style."""
_ABOUT = (
    "Tidemark collects the figures of social media posts and channels, keeps their history, and answers five "
    "products' insight endpoints and an API of its own."
)
_KEY_LINES = (
    "tidemark keys create demo    # on the server's machine; prints the key once",
    'curl -H "Authorization: Bearer $KEY" {origin}/tidemark/v1/posts',
)
_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]{1,255}")
_NOT_A_WORD = re.compile(r"[^a-z0-9]+")


def origin_of(scheme: str, host: str) -> str:
    """The origin that a caller used; empty if the Host header is no host, so that a page never shows other text."""
    return f"{scheme}://{host}" if _HOST.fullmatch(host) else ""


def front(products: Iterable[Api[Any]], origin: str) -> dict[str, Any]:
    """The front page as JSON.

    Args:
        origin: the scheme, host and port that the caller used.
    """
    return {
        "name": TITLE,
        "description": _ABOUT,
        "origin": origin,
        "openapi": "/openapi.json",
        "asyncapi": "/asyncapi.json",
        "documentation": "/docs",
        "dashboard": "/app",
        "operators": "/ops",
        "tidemark": "/tidemark/v1",
        "admin": "/admin/v1",
        "products": [
            {"name": product.title, "paths": [endpoint.path for endpoint in product.endpoints]} for product in products
        ],
        "keys": {"command": _KEY_LINES[0].partition("  ")[0], "operation": "createKey"},
    }


def front_page(products: Sequence[Api[Any]], origin: str) -> str:
    """The front page as HTML, at most one screen long; arguments as for `front`."""
    told = front(products, origin)
    rows = [
        ("API", f"<code>{escape(origin)}</code>"),
        ("Dashboard", '<a href="/app">/app</a>, for the key of a workspace'),
        ("Operators", '<a href="/ops">/ops</a>, for the admin key'),
        ("Documentation", '<a href="/docs">/docs</a>'),
        ("OpenAPI", '<a href="/openapi.json">/openapi.json</a>'),
        ("AsyncAPI", '<a href="/asyncapi.json">/asyncapi.json</a>, the topics of Kafka'),
        *((product["name"], _codes(product["paths"])) for product in told["products"]),
        ("Tidemark", f'<a href="/docs#tidemark">{told["tidemark"]}</a>'),
        ("Admin", f'<a href="/docs#admin">{told["admin"]}</a>'),
    ]
    table = "".join(f'<tr><th scope="row">{escape(name)}</th><td>{shown}</td></tr>' for name, shown in rows)
    lines = escape("\n".join(_KEY_LINES).replace("{origin}", origin))
    return _page(
        "Tidemark",
        f"<h1>Tidemark</h1><p>{escape(_ABOUT)}</p><table>{table}</table>"
        "<h2>A key</h2><p>Every read needs one, as a Bearer token or in <code>x-api-key</code>.</p>"
        f"<pre>{lines}</pre>",
    )


def documentation_page(apis: Sequence[Api[Any]]) -> str:
    """The description of some APIs as one HTML page with a table of contents."""
    return _page(
        TITLE,
        f'<h1>{TITLE}</h1><p>Machine-readable: <a href="/openapi.json">openapi.json</a>. '
        'Keys go as a Bearer token or in <code>x-api-key</code>. <a href="/">What this is</a>.</p>'
        f'<nav aria-label="Contents"><h2>Contents</h2>{"".join(map(_contents, apis))}</nav>'
        + "".join(map(_section, apis)),
    )


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{body}</body></html>"
    )


def _codes(texts: Iterable[str]) -> str:
    return "<br>".join(f"<code>{escape(text)}</code>" for text in texts)


def _anchor(api: Api[Any]) -> str:
    return _NOT_A_WORD.sub("-", api.title.lower()).strip("-")


def _contents(api: Api[Any]) -> str:
    listed = "".join(
        f'<li><a href="#{endpoint.id}"><code>{endpoint.method} {escape(endpoint.path)}</code></a> '
        f"<span>{escape(endpoint.summary)}</span></li>"
        for endpoint in api.endpoints
    )
    return f'<a href="#{_anchor(api)}"><b>{escape(api.title)}</b></a><ul>{listed}</ul>'


def _section(api: Api[Any]) -> str:
    entries = "".join(map(_entry, api.endpoints))
    title, description = escape(api.title), escape(api.description)
    return f'<section id="{_anchor(api)}"><h2>{title}</h2><p>{description}</p>{entries}</section>'


def _entry(endpoint: Endpoint[Any, Any, Any]) -> str:
    listed = "".join(
        f"<li><code>{escape(parameter.name)}</code> ({parameter.place}): {escape(parameter.description)}</li>"
        for parameter in asked_of(endpoint)
        if parameter.description
    )
    shown = ""
    if endpoint.sample is not None:
        text = orjson.dumps(endpoint.sample, option=orjson.OPT_INDENT_2).decode()
        shown = f"<details><summary>Sample reply</summary><pre>{escape(text)}</pre></details>"
    return (
        f'<article id="{endpoint.id}"><h3><code>{endpoint.method} {escape(endpoint.path)}</code></h3>'
        f"<p><b>{escape(endpoint.summary)}.</b> {escape(endpoint.description)}</p>"
        f"{f'<ul>{listed}</ul>' if listed else ''}{shown}</article>"
    )
