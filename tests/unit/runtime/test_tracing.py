"""Traces are off until OpenTelemetry's own variables ask for them; wrong variables are named at the start."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.configuration import check_services
from services.runtime.settings import SettingsError
from services.runtime.telemetry import TelemetryTracer
from services.runtime.traces import tracer_of, traces_are_on
from services.runtime.tracing import NO_SPAN, UNTRACED, Kind, Tracer
from tests.support.collector import collecting

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
COLLECTOR = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """No variable of OpenTelemetry, and a folder for `.env`; what a test leaves in the environment is taken back."""
    before = dict(os.environ)
    for name in [name for name in before if name.startswith("OTEL_")]:
        del os.environ[name]
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    os.environ.clear()
    os.environ.update(before)


def test_they_are_off_by_default() -> None:
    assert tracer_of("poller") is UNTRACED
    for name, value in (("OTEL_SERVICE_NAME", "x"), ("OTEL_TRACES_SAMPLER", "always_on"), (ENDPOINT, "")):
        os.environ[name] = value
        assert tracer_of("poller") is UNTRACED, name


@pytest.mark.parametrize(
    "variables", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}], ids=lambda told: next(iter(told))
)
def test_the_standard_ways_to_turn_them_off_count(variables: dict[str, str]) -> None:
    os.environ[ENDPOINT] = COLLECTOR
    assert traces_are_on()
    os.environ.update(variables)
    assert tracer_of("poller") is UNTRACED


WRONG = {
    "OTEL_EXPORTER_OTLP_ENDPOINT: must be an http(s) URL": {ENDPOINT: "collector:4317"},
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: must be an http(s) URL": {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://"},
    "OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'": {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    "OTEL_TRACES_EXPORTER is 'zipkin'": {"OTEL_TRACES_EXPORTER": "zipkin"},
    "OTEL_TRACES_SAMPLER is 'ratio'": {"OTEL_TRACES_SAMPLER": "ratio"},
    "OTEL_TRACES_SAMPLER_ARG is '1%'": {
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "1%",
    },
}  # fmt: skip


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_variable_is_named(message: str) -> None:
    os.environ.update({ENDPOINT: COLLECTOR} | WRONG[message])
    with pytest.raises(SettingsError) as found:
        tracer_of("poller")
    assert str(found.value).startswith(message)
    with pytest.raises(SettingsError) as found:
        check_services(dict(os.environ), ("poller",))
    assert str(found.value).startswith(message)
    check_services(dict(os.environ), ())


def test_missing_packages_are_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    os.environ[ENDPOINT] = COLLECTOR
    monkeypatch.delitem(sys.modules, "services.runtime.telemetry")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(SettingsError, match="pip install opentelemetry-sdk"):
        tracer_of("poller")


def test_variables_of_a_dotenv_reach_the_sdk(clean: Path) -> None:
    dotenv = clean / ".env"
    dotenv.write_text(f"{ENDPOINT}={COLLECTOR}\nOTEL_EXPORTER_OTLP_HEADERS=api-key=x\nOTEL_SERVICE_NAME=mine\n")
    dotenv.chmod(0o600)
    os.environ["OTEL_SERVICE_NAME"] = "the environment's"
    made = tracer_of("poller")
    made.close(1)
    assert os.environ["OTEL_EXPORTER_OTLP_HEADERS"] == "api-key=x"
    assert os.environ["OTEL_SERVICE_NAME"] == "the environment's"


def test_closing_exports_what_has_ended() -> None:
    with collecting() as collector:
        os.environ |= {ENDPOINT: collector.url, "OTEL_RESOURCE_ATTRIBUTES": "env=test"}
        made = tracer_of("aggregator", "aggregator-0")
        with made.begin("x", Kind.CLIENT, attributes={"n": 1}):
            pass
        made.close(10)
    assert collector.paths == ["/v1/traces"]
    (span,) = collector.spans
    assert (span.name, span.attributes["n"]) == ("x", 1)
    assert span.resource["service.name"] == "tidemark-aggregator"
    assert (span.resource["service.instance.id"], span.resource["env"]) == ("aggregator-0", "test")


class _Stuck(SpanProcessor):
    """As the SDK's where a collector does not answer."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def on_start(self, span: Span, parent_context: object = None) -> None: ...

    def on_end(self, span: ReadableSpan) -> None: ...

    def shutdown(self) -> None:
        self.released.wait(60)


def test_closing_does_not_wait_for_a_collector_that_hangs() -> None:
    stuck = _Stuck()
    started = time.monotonic()
    TelemetryTracer("poller", "1", processor=stuck).close(0.05)
    stuck.released.set()
    assert time.monotonic() - started < 30


def test_the_name_of_the_environment_counts_before_our_own() -> None:
    names = []
    for variables in ({}, {"OTEL_RESOURCE_ATTRIBUTES": "service.name=theirs"}, {"OTEL_SERVICE_NAME": "ours"}):
        os.environ.update(variables)
        exporter = InMemorySpanExporter()
        TelemetryTracer("poller", "1", processor=SimpleSpanProcessor(exporter)).begin("x").end()
        names.append(exporter.get_finished_spans()[0].resource.attributes["service.name"])
    assert names == ["tidemark-poller", "theirs", "ours"]


def test_nothing_is_a_span_too() -> None:
    tracer = Tracer()
    with tracer.begin("x") as first:
        first.note({"a": 1})
        first.fail("y")
    others = (tracer.received("x", ()), tracer.joined("x", ()), tracer.linked("x", Kind.CLIENT, first, first, {}))
    for span in (first, *others):
        assert span is NO_SPAN
        assert (span.headers, span.is_recorded) == ((), False)
    tracer.close(1)
