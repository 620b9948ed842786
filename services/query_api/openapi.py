"""The OpenAPI description and its page, from what products and the admin API declare. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import orjson
from pydantic.json_schema import models_json_schema

from services.query_api import tidemark
from services.query_api.admin.models import ChannelLine, ChannelPut, KeyRequest, PostLine, PostPut
from services.query_api.admin.routes import Operation
from services.query_api.endpoint import Dialect, Parameter, Read
from services.query_api.errors import (
    ApiError,
    BodyTooLarge,
    Forbidden,
    Invalid,
    NotFound,
    ReadsUnavailable,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    WritesUnavailable,
)
from services.query_api.replies import JSON
from services.query_api.tidemark.endpoint import Endpoint

TITLE = "Tidemark query API"
_ADMIN_TAG = "admin"
_ADMIN_DESCRIPTION = "The catalog and keys; needs the admin key."
_NAME = re.compile(r"\{(\w+)\}")
_READ_ERRORS: tuple[type[ApiError], ...] = (
    Unauthorized, Forbidden, NotFound, Invalid, TooManyRequests, ReadsUnavailable,
)  # fmt: skip
_ADMIN_ERRORS: tuple[type[ApiError], ...] = (Unauthorized, Invalid, WritesUnavailable)
_REPLY_HEADERS = {
    "ETag": {"description": "Of what the reply says, for If-None-Match.", "schema": {"type": "string"}},
    "Age": {
        "description": "Seconds since the reply was made, where it is a kept one; while changes don't arrive, at least "
        "for how long.",
        "schema": {"type": "integer"},
    },
}
_NOT_MODIFIED = {"description": "The reply is the one whose ETag came in If-None-Match."}
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "message"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "description": "Stable; made for programs."},
        "message": {"type": "string", "description": "Made for people."},
    },
}


def openapi(
    dialects: Sequence[Dialect], endpoints: Iterable[Endpoint], operations: Iterable[Operation]
) -> dict[str, Any]:
    """The OpenAPI 3.1 description."""
    models = (ChannelPut, PostPut, KeyRequest, ChannelLine, PostLine)
    _, schemas = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    paths: dict[str, dict[str, Any]] = {}
    for dialect in dialects:
        for read in dialect.reads:
            paths.setdefault(read.path, {})["get"] = _read(dialect, read)
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _endpoint(endpoint)
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": "1"},
        "tags": [
            *({"name": dialect.title, "description": dialect.description} for dialect in dialects),
            {"name": tidemark.TITLE, "description": tidemark.DESCRIPTION},
            {"name": _ADMIN_TAG, "description": _ADMIN_DESCRIPTION},
        ],
        "paths": paths,
        "components": {
            "schemas": {"Problem": _PROBLEM, **schemas["$defs"]},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "adminKey": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def openapi_json(dialects: Sequence[Dialect], endpoints: Iterable[Endpoint], operations: Iterable[Operation]) -> bytes:
    """`openapi` as bytes."""
    return orjson.dumps(openapi(dialects, endpoints, operations))


def _read(dialect: Dialect, read: Read) -> dict[str, Any]:
    return {
        "tags": [dialect.title],
        "summary": read.summary,
        "description": read.description,
        "security": [{"bearer": []}, {"apiKey": []}],
        "parameters": [*_path_parameters(read.path), *map(_parameter, read.parameters)],
        "responses": {
            "200": {**_json_response("Answer", read.sample, read.schema), "headers": _REPLY_HEADERS},
            "304": _NOT_MODIFIED,
            **_problems(_READ_ERRORS),
        },
    }


def _endpoint(endpoint: Endpoint) -> dict[str, Any]:
    is_post = endpoint.method == "POST"
    media: dict[str, Any] = {kind: {} for kind in endpoint.media_types}
    if JSON in media:
        media[JSON] = {"example": endpoint.sample, "schema": dict(endpoint.schema)}
    for kind, text in endpoint.text_samples.items():
        media[kind] = {"example": text, "schema": {"type": "string"}}
    described: dict[str, Any] = {
        "tags": [tidemark.TITLE],
        "summary": endpoint.summary,
        "description": endpoint.description,
        "security": [{"bearer": []}, {"apiKey": []}],
        "parameters": [
            *_path_parameters(endpoint.path, endpoint.path_values),
            *([] if is_post else map(_parameter, asked_of(endpoint))),
        ],
        "responses": {
            "200": {"description": "Answer", "content": media, "headers": _REPLY_HEADERS},
            "304": _NOT_MODIFIED,
            **_problems((BodyTooLarge, *_READ_ERRORS) if is_post else _READ_ERRORS),
        },
    }
    if is_post:
        described["requestBody"] = {"required": True, "content": {JSON: {"schema": _schema_of(endpoint)}}}
    return described


def _schema_of(endpoint: Endpoint) -> dict[str, Any]:
    """What may be asked, without references: they would point to nothing in the whole description."""
    schema = endpoint.parameters.model_json_schema(by_alias=True)
    definitions = schema.pop("$defs", {})

    def inlined(value: Any) -> Any:
        if isinstance(value, dict):
            named = definitions.get(value.get("$ref", "").rpartition("/")[2])
            rest = {key: inlined(held) for key, held in value.items() if key != "$ref"}
            return rest if named is None else {**inlined(named), **rest}
        return [inlined(held) for held in value] if isinstance(value, list) else value

    found: dict[str, Any] = inlined(schema)
    return found


def asked_of(endpoint: Endpoint) -> tuple[Parameter, ...]:
    """An endpoint's parameters as they are documented; a list is one comma-separated value."""
    schema = _schema_of(endpoint)
    required = schema.get("required", ())
    return tuple(
        Parameter(
            name,
            held.get("description", ""),
            "body" if endpoint.method == "POST" else "query",
            _present(held),
            name in required,
        )
        for name, held in schema.get("properties", {}).items()
    )


def _present(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a parameter that is there: a query has no null, it leaves things out."""
    shown = {key: value for key, value in schema.items() if key not in ("title", "description")}
    kinds = [kind for kind in shown.pop("anyOf", ()) if kind != {"type": "null"}]
    if shown.get("default", ...) is None:
        del shown["default"]
    return {**shown, **kinds[0]} if kinds else shown


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "tags": [_ADMIN_TAG],
        "summary": operation.summary,
        "description": operation.description,
        "security": [{"adminKey": []}],
        "parameters": _path_parameters(operation.path),
        "responses": {
            str(operation.status): {"description": "Done"}
            if operation.status == 204
            else _json_response("Written", operation.sample, operation.schema),
            **_problems((*_ADMIN_ERRORS, *operation.errors)),
        },
    }
    if operation.model is not None:
        schema: dict[str, Any] = {"$ref": f"#/components/schemas/{operation.model.__name__}"}
        media = {JSON: {"schema": schema, "example": operation.body}}
        described["requestBody"] = {"required": True, "content": media}
    elif operation.method == "POST":
        schema = {"oneOf": [{"$ref": f"#/components/schemas/{model.__name__}"} for model in (ChannelLine, PostLine)]}
        media = {"application/x-ndjson": {"schema": schema, "example": operation.body}}
        described["requestBody"] = {"required": True, "content": media}
    return described


def _path_parameters(path: str, values: Mapping[str, Sequence[str]] | None = None) -> list[dict[str, Any]]:
    def schema(name: str) -> dict[str, Any]:
        if values and name in values:
            return {"type": "string", "enum": list(values[name])}
        return {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"}

    return [{"name": name, "in": "path", "required": True, "schema": schema(name)} for name in _NAME.findall(path)]


def _parameter(parameter: Parameter) -> dict[str, Any]:
    style = {"style": "form", "explode": False} if parameter.schema.get("type") == "array" else {}
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.required,
        "description": parameter.description,
        "schema": dict(parameter.schema),
        **style,
    }


def _json_response(description: str, sample: Any, schema: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"description": description, "content": {JSON: {"example": sample, "schema": dict(schema or {})}}}


def _problems(errors: Iterable[type[ApiError]]) -> dict[str, Any]:
    return {str(error.status): _problem(error) for error in sorted(errors, key=lambda error: error.status)}


def _problem(error: type[ApiError]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "description": error.message,
        "content": {
            "application/problem+json": {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "example": orjson.loads(error().body()),
            }
        },
    }
    if error.status in (TooManyRequests.status, Unavailable.status):
        described["headers"] = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
    return described


def documentation_page(
    dialects: Sequence[Dialect], endpoints: Sequence[Endpoint], operations: Sequence[Operation]
) -> str:
    """The description as one page without scripts, so that it reads the same without a network."""
    sections = []
    for dialect in dialects:
        entries = "".join(
            _entry("GET", read.path, read.summary, read.description, read.parameters, read.sample)
            for read in dialect.reads
        )
        sections.append(_section(dialect.title, dialect.description, entries))
    entries = "".join(
        _entry(entry.method, entry.path, entry.summary, entry.description, asked_of(entry), entry.sample)
        for entry in endpoints
    )
    sections.append(_section(tidemark.TITLE, tidemark.DESCRIPTION, entries))
    entries = "".join(
        _entry(entry.method, entry.path, entry.summary, entry.description, (), entry.sample) for entry in operations
    )
    sections.append(_section(_ADMIN_TAG, _ADMIN_DESCRIPTION, entries))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{TITLE}</title><style>'
        "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "pre{background:#f4f4f4;padding:1rem;overflow:auto;font-size:13px}summary{cursor:pointer}code{font-size:15px}"
        f'</style></head><body><h1>{TITLE}</h1><p>Machine-readable: <a href="openapi.json">openapi.json</a>. '
        "Keys go as a Bearer token or in <code>x-api-key</code>.</p>" + "".join(sections) + "</body></html>"
    )


def _section(title: str, description: str, entries: str) -> str:
    return f"<section><h2>{escape(title)}</h2><p>{escape(description)}</p>{entries}</section>"


def _entry(method: str, path: str, summary: str, description: str, parameters: Sequence[Parameter], sample: Any) -> str:
    listed = "".join(
        f"<li><code>{escape(parameter.name)}</code> ({parameter.place}): {escape(parameter.description)}</li>"
        for parameter in parameters
    )
    shown = ""
    if sample is not None:
        text = orjson.dumps(sample, option=orjson.OPT_INDENT_2).decode()
        shown = f"<details><summary>Sample reply</summary><pre>{escape(text)}</pre></details>"
    return (
        f"<article><h3><code>{method} {escape(path)}</code></h3><p><b>{escape(summary)}.</b> {escape(description)}</p>"
        f"{f'<ul>{listed}</ul>' if listed else ''}{shown}</article>"
    )
