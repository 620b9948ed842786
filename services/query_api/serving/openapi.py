"""The OpenAPI description, from what products, Tidemark's own API and the admin API declare. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from services.query_api import tidemark
from services.query_api.admin.parameters import ChannelLine, PostLine
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
from services.query_api.serving.components import Components
from services.query_api.serving.replies import JSON
from services.query_api.serving.shapes import COUNT, TEXT, shape
from services.query_api.tidemark.endpoint import Endpoint

TITLE = "Tidemark query API"
ADMIN_TAG = "admin"
ADMIN_DESCRIPTION = "The catalog and keys; needs the admin key."
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
_PROBLEM = shape(
    "Problem",
    {
        "type": TEXT,
        "title": TEXT,
        "status": COUNT,
        "detail": TEXT,
        "code": {**TEXT, "description": "Stable; made for programs."},
        "message": {**TEXT, "description": "Made for people."},
    },
)
_INFO = {
    "title": TITLE,
    "version": "1",
    "summary": "Social media analytics: five products' insight endpoints, Tidemark's own API, and the admin API.",
    "description": "Replies are JSON, errors are RFC 9457 problems with a stable `code`. API keys go as a Bearer token "
    "or in `x-api-key`; `tidemark keys create`, or `createKey` with the admin key, makes one.",
    "contact": {"name": "Whoever runs this server"},
    "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
}
_SERVERS = [
    {"url": "/", "description": "Where this description came from."},
    {
        "url": "{origin}",
        "description": "Any other.",
        "variables": {
            "origin": {"default": "http://127.0.0.1:8080", "description": "Scheme, host and port of the query API."}
        },
    },
]
_BYTES = {"type": "string", "format": "binary"}
_KEYS: list[dict[str, list[str]]] = [{"bearer": []}, {"apiKey": []}]


def openapi(
    dialects: Sequence[Dialect], endpoints: Iterable[Endpoint], operations: Iterable[Operation]
) -> dict[str, Any]:
    """The OpenAPI 3.1 description."""
    components = Components()
    components.schema(_PROBLEM)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(components, operation)
    admin, paths = paths, {}
    for dialect in dialects:
        for read in dialect.reads:
            paths.setdefault(read.path, {})["get"] = _read(components, dialect, read)
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _endpoint(components, endpoint)
    return {
        "openapi": "3.1.0",
        "info": _INFO,
        "servers": _SERVERS,
        "tags": [
            *({"name": dialect.title, "description": dialect.description} for dialect in dialects),
            {"name": tidemark.TITLE, "description": tidemark.DESCRIPTION},
            {"name": ADMIN_TAG, "description": ADMIN_DESCRIPTION},
        ],
        "paths": paths | admin,
        "components": {
            "schemas": dict(sorted(components.schemas.items())),
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


def _read(components: Components, dialect: Dialect, read: Read) -> dict[str, Any]:
    return {
        "operationId": read.id,
        "tags": [dialect.title],
        "summary": read.summary,
        "description": read.description,
        "security": _KEYS,
        "parameters": [*_path_parameters(read.path), *map(_parameter, read.parameters)],
        "responses": {
            "200": {**_json_response("Answer", read.sample, components.schema(read.schema)), "headers": _REPLY_HEADERS},
            "304": _NOT_MODIFIED,
            **_problems(_READ_ERRORS),
        },
    }


def _endpoint(components: Components, endpoint: Endpoint) -> dict[str, Any]:
    is_post = endpoint.method == "POST"
    media: dict[str, Any] = {kind: {"schema": _BYTES} for kind in endpoint.media_types}
    if JSON in media:
        media[JSON] = {"example": endpoint.sample, "schema": components.schema(endpoint.schema)}
    for kind, text in endpoint.text_samples.items():
        media[kind] = {"example": text, "schema": _BYTES}
    described: dict[str, Any] = {
        "operationId": endpoint.id,
        "tags": [tidemark.TITLE],
        "summary": endpoint.summary,
        "description": endpoint.description,
        "security": _KEYS,
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
        (schema,) = components.model(endpoint.parameters)
        (example,) = _schema_of(endpoint)["examples"]
        described["requestBody"] = {"required": True, "content": {JSON: {"schema": schema, "example": example}}}
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


def _operation(components: Components, operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [ADMIN_TAG],
        "summary": operation.summary,
        "description": operation.description,
        "security": [{"adminKey": []}],
        "parameters": _path_parameters(operation.path),
        "responses": {
            str(operation.status): {"description": "Done"}
            if operation.status == 204
            else _json_response("Written", operation.sample, components.schema(operation.schema or {})),
            **_problems((*_ADMIN_ERRORS, *operation.errors)),
        },
    }
    if operation.model is not None:
        (schema,) = components.model(operation.model)
        media = {JSON: {"schema": schema, "example": operation.body}}
        described["requestBody"] = {"required": True, "content": media}
    elif operation.method == "POST":
        line = {"title": "CatalogLine", "oneOf": components.model(ChannelLine, PostLine)}
        # A line at a time: nothing in OpenAPI 3.1 describes lines, and one alone is NDJSON, too.
        example = orjson.loads(operation.body.partition("\n")[0])
        media = {"application/x-ndjson": {"schema": components.schema(line), "example": example}}
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


def _json_response(description: str, sample: Any, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {JSON: {"example": sample, "schema": dict(schema)}}}


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
