"""Makes the OpenAPI description from the endpoints' declarations alone. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from pydantic import BaseModel

from schemas.ids import WHOLE_ID_PATTERN
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
from services.query_api.serving.endpoint import Api, Endpoint, Key, Lines, Parameter
from services.query_api.serving.replies import JSON
from services.query_api.serving.shapes import COUNT, TEXT, shape

TITLE = "Tidemark query API"
_NAME = re.compile(r"\{(\w+)\}")
_READ_ERRORS: tuple[type[ApiError], ...] = (
    Unauthorized, Forbidden, NotFound, Invalid, TooManyRequests, ReadsUnavailable,
)  # fmt: skip
_ADMIN_ERRORS: tuple[type[ApiError], ...] = (Unauthorized, Invalid, WritesUnavailable)
_REPLY_HEADERS = {
    "ETag": {"description": "Tag of the reply's content, for If-None-Match.", "schema": {"type": "string"}},
    "Age": {
        "description": "Seconds since a kept reply was made; while changes don't arrive, at least the seconds since "
        "they stopped.",
        "schema": {"type": "integer"},
    },
}
_NOT_MODIFIED = {"description": "The reply still has the ETag that the request sent in If-None-Match."}
_PROBLEM = shape(
    "Problem",
    {
        "type": TEXT,
        "title": TEXT,
        "status": COUNT,
        "detail": TEXT,
        "code": {**TEXT, "description": "A stable code for programs."},
        "message": {**TEXT, "description": "An explanation for people."},
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
    {"url": "/", "description": "The server that sent this description."},
    {
        "url": "{origin}",
        "description": "Any other server.",
        "variables": {
            "origin": {"default": "http://127.0.0.1:8080", "description": "Scheme, host and port of the query API."}
        },
    },
]
_BYTES = {"type": "string", "format": "binary"}
_KEYS: list[dict[str, list[str]]] = [{"bearer": []}, {"apiKey": []}]


def openapi(apis: Sequence[Api[Any]]) -> dict[str, Any]:
    """The OpenAPI 3.1 description of some APIs, in the given order.

    Raises:
        TypeError: a schema has no name, or two different schemas have the same name.
    """
    components = Components()
    components.schema(_PROBLEM)
    paths: dict[str, dict[str, Any]] = {}
    for api in apis:
        for endpoint in api.endpoints:
            paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(components, api.title, endpoint)
    return {
        "openapi": "3.1.0",
        "info": _INFO,
        "servers": _SERVERS,
        "tags": [{"name": api.title, "description": api.description} for api in apis],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(components.schemas.items())),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "adminKey": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def openapi_json(apis: Sequence[Api[Any]]) -> bytes:
    """The description of `openapi` as JSON text."""
    return orjson.dumps(openapi(apis))


def _operation(components: Components, tag: str, endpoint: Endpoint[Any, Any, Any]) -> dict[str, Any]:
    is_admin = endpoint.key is Key.ADMIN
    refusals = [*(_ADMIN_ERRORS if is_admin else _READ_ERRORS), *endpoint.errors]
    described: dict[str, Any] = {
        "operationId": endpoint.id,
        "tags": [tag],
        "summary": endpoint.summary,
        "description": endpoint.description,
        "security": [{"adminKey": []}] if is_admin else _KEYS,
        "parameters": [
            *_path_parameters(endpoint.path, endpoint.path_values),
            *(_parameter(parameter) for parameter in asked_of(endpoint) if parameter.place != "body"),
        ],
        "responses": _responses(components, endpoint),
    }
    if endpoint.body is not None:
        refusals.append(BodyTooLarge)
        described["requestBody"] = {"required": True, "content": _body(components, endpoint)}
    described["responses"] |= _problems(refusals, endpoint.scope)
    return described


def _responses(components: Components, endpoint: Endpoint[Any, Any, Any]) -> dict[str, Any]:
    """The responses of an endpoint except refusals, by status."""
    status = str(endpoint.action.status)
    if status == "204":
        return {status: {"description": "Done"}}
    media: dict[str, Any] = {kind: {"schema": _BYTES} for kind in endpoint.media_types}
    if JSON in media:
        media[JSON] = {"example": endpoint.sample, "schema": components.schema(endpoint.schema)}
    for kind, text in endpoint.text_samples.items():
        media[kind] = {"example": text, "schema": _BYTES}
    if not endpoint.action.is_read:
        return {status: {"description": "Written", "content": media}}
    return {status: {"description": "Answer", "content": media, "headers": _REPLY_HEADERS}, "304": _NOT_MODIFIED}


def _body(components: Components, endpoint: Endpoint[Any, Any, Any]) -> dict[str, Any]:
    """The content of the request's body, by media type."""
    if isinstance(endpoint.body, Lines):
        # OpenAPI 3.1 can't describe lines, so one line is described: a single line is NDJSON, too.
        line = {"title": endpoint.body.name, "oneOf": components.model(*endpoint.body.models)}
        return {"application/x-ndjson": {"schema": components.schema(line), "example": endpoint.body.example}}
    assert endpoint.body is not None
    (schema,) = components.model(endpoint.action.parameters)
    return {JSON: {"schema": schema, "example": endpoint.body.example}}


def _schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The schema of a model with its references resolved: the whole description lacks their definitions."""
    schema = model.model_json_schema(by_alias=True)
    definitions = schema.pop("$defs", {})

    def inlined(value: Any) -> Any:
        if isinstance(value, dict):
            named = definitions.get(value.get("$ref", "").rpartition("/")[2])
            rest = {key: inlined(held) for key, held in value.items() if key != "$ref"}
            return rest if named is None else {**inlined(named), **rest}
        return [inlined(held) for held in value] if isinstance(value, list) else value

    found: dict[str, Any] = inlined(schema)
    return found


def asked_of(endpoint: Endpoint[Any, Any, Any]) -> tuple[Parameter, ...]:
    """An endpoint's documented parameters; a list parameter is one comma-separated value."""
    schema = _schema_of(endpoint.action.parameters)
    required = schema.get("required", ())
    return endpoint.headers + tuple(
        Parameter(
            name,
            held.get("description", ""),
            "query" if endpoint.body is None else "body",
            _present(held),
            name in required,
        )
        for name, held in schema.get("properties", {}).items()
    )


def _present(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a parameter's value, without null: a query leaves a parameter out instead."""
    shown = {key: value for key, value in schema.items() if key not in ("title", "description")}
    kinds = [kind for kind in shown.pop("anyOf", ()) if kind != {"type": "null"}]
    if shown.get("default", ...) is None:
        del shown["default"]
    return {**shown, **kinds[0]} if kinds else shown


def _path_parameters(path: str, values: Mapping[str, Sequence[str]] | None = None) -> list[dict[str, Any]]:
    def schema(name: str) -> dict[str, Any]:
        if values and name in values:
            return {"type": "string", "enum": list(values[name])}
        return {"type": "string", "pattern": WHOLE_ID_PATTERN}

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


def _problems(errors: Iterable[type[ApiError]], scope: str) -> dict[str, Any]:
    shown = (Forbidden(scope) if error is Forbidden else error() for error in errors)
    return {str(error.status): _problem(error) for error in sorted(shown, key=lambda error: error.status)}


def _problem(error: ApiError) -> dict[str, Any]:
    described: dict[str, Any] = {
        "description": error.message,
        "content": {
            "application/problem+json": {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "example": orjson.loads(error.body()),
            }
        },
    }
    if error.status in (TooManyRequests.status, Unavailable.status):
        described["headers"] = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
    return described
