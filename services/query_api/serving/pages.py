"""The pages that a person sees in a browser: what this is, and the description; without scripts or a network. Pure."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from typing import Any

import orjson

from services.query_api import tidemark
from services.query_api.admin.routes import Operation
from services.query_api.endpoint import Dialect, Parameter
from services.query_api.serving.openapi import ADMIN_DESCRIPTION, ADMIN_TAG, TITLE, asked_of
from services.query_api.tidemark.endpoint import Endpoint

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
PAGE_HEADERS = {
    "content-security-policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
"""Of every page: nothing is loaded or run, only its own style is applied."""
_ABOUT = (
    "Tidemark collects the figures of social media posts and channels, keeps their history, and answers five "
    "products' insight endpoints and an API of its own."
)
_KEY_LINES = (
    "tidemark keys create demo    # on the server's machine; prints the key once",
    'curl -H "Authorization: Bearer $KEY" {origin}/tidemark/v1/posts',
)
_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]{1,255}")
_NUMBER = re.compile(r"[01](\.\d{0,3})?")
_NOT_A_WORD = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class _Section:
    title: str
    description: str
    entries: tuple[tuple[str, str, str, str, str, Sequence[Parameter], Any], ...]

    @property
    def anchor(self) -> str:
        return _NOT_A_WORD.sub("-", self.title.lower()).strip("-")


def _sections(
    dialects: Iterable[Dialect], endpoints: Iterable[Endpoint], operations: Iterable[Operation]
) -> list[_Section]:
    found = [
        _Section(
            dialect.title,
            dialect.description,
            tuple(
                (read.id, "GET", read.path, read.summary, read.description, read.parameters, read.sample)
                for read in dialect.reads
            ),
        )
        for dialect in dialects
    ]
    own = tuple(
        (entry.id, entry.method, entry.path, entry.summary, entry.description, asked_of(entry), entry.sample)
        for entry in endpoints
    )
    admin = tuple(
        (entry.id, entry.method, entry.path, entry.summary, entry.description, (), entry.sample) for entry in operations
    )
    return [
        *found,
        _Section(tidemark.TITLE, tidemark.DESCRIPTION, own),
        _Section(ADMIN_TAG, ADMIN_DESCRIPTION, admin),
    ]


def origin_of(scheme: str, host: str) -> str:
    """The address that a caller used; empty where its Host header is none, so that nothing else is ever shown."""
    return f"{scheme}://{host}" if _HOST.fullmatch(host) else ""


def wants_page(accept: str) -> bool:
    """Whether an Accept likes HTML better than JSON, as browsers' do; who takes anything gets JSON."""
    html, json = (_weight(accept, kind) for kind in ("text/html", "application/json"))
    return html > json


def _weight(accept: str, kind: str) -> float:
    """How much an Accept names a kind itself, without the wildcards."""
    for part in accept.lower().split(","):
        name, *options = (text.strip() for text in part.split(";"))
        if name == kind:
            weights = [option[2:] for option in options if option.startswith("q=")]
            return float(weights[0]) if weights and _NUMBER.fullmatch(weights[0]) else 1.0
    return 0.0


def front(dialects: Iterable[Dialect], origin: str) -> dict[str, Any]:
    """What a client that asks for JSON is told at `/`.

    Args:
        origin: scheme, host and port that the caller used.
    """
    return {
        "name": TITLE,
        "description": _ABOUT,
        "origin": origin,
        "openapi": "/openapi.json",
        "documentation": "/docs",
        "tidemark": "/tidemark/v1",
        "admin": "/admin/v1",
        "products": [{"name": dialect.title, "paths": [read.path for read in dialect.reads]} for dialect in dialects],
        "keys": {"command": _KEY_LINES[0].partition("  ")[0], "operation": "createKey"},
    }


def front_page(dialects: Sequence[Dialect], origin: str) -> str:
    """The same as a page, at most a screen long."""
    told = front(dialects, origin)
    rows = [
        ("API", f"<code>{escape(origin)}</code>"),
        ("Documentation", '<a href="/docs">/docs</a>'),
        ("OpenAPI", '<a href="/openapi.json">/openapi.json</a>'),
        *((product["name"], _codes(product["paths"])) for product in told["products"]),
        (tidemark.TITLE, f'<a href="/docs#tidemark">{told["tidemark"]}</a>'),
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


def documentation_page(
    dialects: Sequence[Dialect], endpoints: Sequence[Endpoint], operations: Sequence[Operation]
) -> str:
    """The description as one page, with a table of contents."""
    sections = _sections(dialects, endpoints, operations)
    return _page(
        TITLE,
        f'<h1>{TITLE}</h1><p>Machine-readable: <a href="/openapi.json">openapi.json</a>. '
        'Keys go as a Bearer token or in <code>x-api-key</code>. <a href="/">What this is</a>.</p>'
        f'<nav aria-label="Contents"><h2>Contents</h2>{"".join(map(_contents, sections))}</nav>'
        + "".join(map(_section, sections)),
    )


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{body}</body></html>"
    )


def _codes(texts: Iterable[str]) -> str:
    return "<br>".join(f"<code>{escape(text)}</code>" for text in texts)


def _contents(section: _Section) -> str:
    listed = "".join(
        f'<li><a href="#{name}"><code>{method} {escape(path)}</code></a> <span>{escape(summary)}</span></li>'
        for name, method, path, summary, *_ in section.entries
    )
    return f'<a href="#{section.anchor}"><b>{escape(section.title)}</b></a><ul>{listed}</ul>'


def _section(section: _Section) -> str:
    entries = "".join(_entry(*entry) for entry in section.entries)
    title, description = escape(section.title), escape(section.description)
    return f'<section id="{section.anchor}"><h2>{title}</h2><p>{description}</p>{entries}</section>'


def _entry(
    name: str, method: str, path: str, summary: str, description: str, parameters: Sequence[Parameter], sample: Any
) -> str:
    listed = "".join(
        f"<li><code>{escape(parameter.name)}</code> ({parameter.place}): {escape(parameter.description)}</li>"
        for parameter in parameters
    )
    shown = ""
    if sample is not None:
        text = orjson.dumps(sample, option=orjson.OPT_INDENT_2).decode()
        shown = f"<details><summary>Sample reply</summary><pre>{escape(text)}</pre></details>"
    return (
        f'<article id="{name}"><h3><code>{method} {escape(path)}</code></h3>'
        f"<p><b>{escape(summary)}.</b> {escape(description)}</p>"
        f"{f'<ul>{listed}</ul>' if listed else ''}{shown}</article>"
    )
