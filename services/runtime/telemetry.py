"""Traces by OpenTelemetry's SDK: the only importer of its packages, itself imported only where traces are asked for.

The SDK reads its own variables: the sampler, the exporter's address, headers and certificates, limits and queues. Ended
spans wait in a bounded queue for a thread that exports them; while no collector takes them, the SDK drops spans, and
nothing else waits.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace import Span as OpenTelemetrySpan
from opentelemetry.trace import Tracer as OpenTelemetryTracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services.runtime.tracing import NO_SPAN, TRACEPARENT, Headers, Kind, Span, Tracer, Value, traceparent_of

_KINDS = {
    Kind.INTERNAL: SpanKind.INTERNAL,
    Kind.CLIENT: SpanKind.CLIENT,
    Kind.PRODUCER: SpanKind.PRODUCER,
    Kind.CONSUMER: SpanKind.CONSUMER,
}
_SCOPE = "tidemark"
_PROPAGATOR = TraceContextTextMapPropagator()
# Passed in place of None, which would take the context of the running task.
_NO_CONTEXT = Context()


class RecordedSpan(Span):
    """A span of the SDK; one that its sampler left out notes nothing, and still continues its trace."""

    __slots__ = ("_span", "tracer")

    def __init__(self, span: OpenTelemetrySpan, tracer: OpenTelemetryTracer) -> None:
        self._span = span
        # Makes the parts of this span: what is recorded without its sampler's consent is recorded whole.
        self.tracer = tracer

    @property
    def is_recorded(self) -> bool:
        return self._span.get_span_context().trace_flags.sampled

    @property
    def headers(self) -> tuple[tuple[str, bytes], ...]:
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, self.context)
        # A trace that Tidemark begins has no `tracestate`, and a stranger's is not passed on.
        return tuple((name, value.encode()) for name, value in carrier.items() if name == TRACEPARENT)

    @property
    def context(self) -> Context:
        """The SDK's own form of a parent."""
        return set_span_in_context(self._span, _NO_CONTEXT)

    @property
    def link(self) -> Link:
        """A link to this span."""
        return Link(self._span.get_span_context())

    def note(self, attributes: Mapping[str, Value]) -> None:
        self._span.set_attributes(attributes)

    def fail(self, why: str) -> None:
        self._span.set_attribute("error.type", why)
        self._span.set_status(Status(StatusCode.ERROR))

    def end(self) -> None:
        if self._span.is_recording():
            self._span.end()


class TelemetryTracer(Tracer):
    """Traces a process.

    Args:
        service: `poller` or `aggregator`; the SDK's `OTEL_SERVICE_NAME` counts before `tidemark-<service>`.
        version: of Tidemark.
        instance_id: a name that tells processes of one service apart.
        processor: takes ended spans; by default a queue in front of the exporter that the SDK's variables describe.
    """

    is_on = True

    def __init__(
        self, service: str, version: str, instance_id: str | None = None, processor: SpanProcessor | None = None
    ) -> None:
        self._processor = processor or BatchSpanProcessor(OTLPSpanExporter())
        resource = Resource.create()
        named = {SERVICE_VERSION: version, **({SERVICE_INSTANCE_ID: instance_id} if instance_id else {})}
        if not os.environ.get("OTEL_SERVICE_NAME") and "service.name=" not in os.environ.get(
            "OTEL_RESOURCE_ATTRIBUTES", ""
        ):
            named[SERVICE_NAME] = f"tidemark-{service}"
        resource = resource.merge(Resource(named))
        # The process ends its spans itself, in bounded time (`close`).
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        # What joins recorded spans is recorded: a share of joint work would leave links without an end.
        always = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False)
        for each in (provider, always):
            each.add_span_processor(self._processor)
        self._tracer = provider.get_tracer(_SCOPE, version)
        self._always = always.get_tracer(_SCOPE, version)

    def begin(
        self,
        name: str,
        kind: Kind = Kind.INTERNAL,
        within: Span = NO_SPAN,
        attributes: Mapping[str, Value] | None = None,
    ) -> Span:
        tracer, parent = self._tracer, _NO_CONTEXT
        if isinstance(within, RecordedSpan):
            tracer, parent = within.tracer, within.context
        return RecordedSpan(tracer.start_span(name, parent, _KINDS[kind], attributes), tracer)

    def received(self, name: str, headers: Headers) -> Span:
        text = traceparent_of(headers) if headers else None
        parent = _NO_CONTEXT if text is None else _PROPAGATOR.extract({TRACEPARENT: text}, _NO_CONTEXT)
        return RecordedSpan(self._tracer.start_span(name, parent, SpanKind.CONSUMER), self._tracer)

    def joined(self, name: str, linked: Sequence[Span], attributes: Mapping[str, Value] | None = None) -> Span:
        links = [span.link for span in linked if isinstance(span, RecordedSpan)]
        return RecordedSpan(
            self._always.start_span(name, _NO_CONTEXT, SpanKind.INTERNAL, attributes, links), self._always
        )

    def linked(self, name: str, kind: Kind, within: Span, to: Span, attributes: Mapping[str, Value]) -> Span:
        if not isinstance(within, RecordedSpan) or not isinstance(to, RecordedSpan):
            return NO_SPAN
        tracer = within.tracer
        return RecordedSpan(tracer.start_span(name, within.context, _KINDS[kind], attributes, [to.link]), tracer)

    def close(self, seconds: float) -> None:
        # The SDK's own shutdown waits for up to 30 seconds where no collector answers.
        ending = threading.Thread(target=self._processor.shutdown, name="traces-shutdown", daemon=True)
        ending.start()
        ending.join(seconds)
