"""A collector of OpenTelemetry on loopback: takes spans by OTLP over HTTP, and keeps them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue


class Exported(NamedTuple):
    """A span as it arrived; ids as bytes, instants in nanoseconds.

    Attributes:
        resource: of the process that made it.
        links: span ids.
    """

    name: str
    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    start: int
    end: int
    attributes: dict[str, Any]
    resource: dict[str, Any]
    links: list[bytes]


class Collector(ThreadingHTTPServer):
    """Listens on a free port.

    Attributes:
        bodies: what was received, to be searched for what may not be in it.
        paths: what was asked for.
    """

    daemon_threads = True

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.paths: list[str] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        """The address for `OTEL_EXPORTER_OTLP_ENDPOINT`."""
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def spans(self) -> list[Exported]:
        """Every span so far, in the order of arrival."""
        return [span for body in list(self.bodies) for span in _spans(ExportTraceServiceRequest.FromString(body))]


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Collector)
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.paths.append(self.path)
        self.server.bodies.append(body)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing."""


def _spans(request: ExportTraceServiceRequest) -> Iterator[Exported]:
    for of_process in request.resource_spans:
        resource = _named(of_process.resource.attributes)
        for scope in of_process.scope_spans:
            for span in scope.spans:
                yield Exported(
                    span.name, span.trace_id, span.span_id, span.parent_span_id, span.start_time_unix_nano,
                    span.end_time_unix_nano, _named(span.attributes), resource, [link.span_id for link in span.links],
                )  # fmt: skip


def _named(attributes: Any) -> dict[str, Any]:
    return {entry.key: _value(entry.value) for entry in attributes if isinstance(entry, KeyValue)}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return None if kind is None else getattr(value, kind)


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that answers until the block ends."""
    with Collector() as collector:
        serving = threading.Thread(target=collector.serve_forever, args=(0.01,), daemon=True)
        serving.start()
        try:
            yield collector
        finally:
            collector.shutdown()
            serving.join()
