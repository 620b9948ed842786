"""Whether this process is traced: OpenTelemetry's own variables, from the environment or `.env`.

Traces are off until one of the standard addresses of a collector is set. Until then nothing of OpenTelemetry is
imported. All further variables (sampler, headers, certificates, limits) are read by the SDK itself.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.runtime.environment import read_dotenv
from services.runtime.secret_files import SettingsError, refuse_open
from services.runtime.settings import exit_with
from services.runtime.tracing import UNTRACED, Tracer

ENV_PREFIX = "OTEL_"
CLOSE_SECONDS = 1.0
"""How long a process that stops waits for its last spans to be exported."""
_DOTENV = Path(".env")
_PROTOCOL = "http/protobuf"
_SAMPLERS = ("always_on", "always_off", "traceidratio")
# Headers of the exporter are how collectors of vendors take a key.
_SECRET_NAMES = frozenset({"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"})


class TracesSettings(BaseSettings):
    """The standard variables that decide whether, and where to, traces are exported."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_file=str(_DOTENV), env_ignore_empty=True, extra="ignore", frozen=True
    )

    exporter_otlp_endpoint: str | None = None
    exporter_otlp_traces_endpoint: str | None = None
    exporter_otlp_protocol: str = _PROTOCOL
    exporter_otlp_traces_protocol: str | None = None
    traces_exporter: str = "otlp"
    traces_sampler: str = "parentbased_always_on"
    traces_sampler_arg: str = "1"
    sdk_disabled: str = "false"

    @field_validator("exporter_otlp_endpoint", "exporter_otlp_traces_endpoint")
    @classmethod
    def _is_http_url(cls, value: str | None) -> str | None:
        if value is not None and (urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname):
            raise ValueError("must be an http(s) URL of a collector, such as http://collector:4318")
        return value

    @property
    def are_on(self) -> bool:
        """Whether traces are asked for.

        Raises:
            SettingsError: they are, in a way that Tidemark does not serve; the message names the variable.
        """
        is_off = self.sdk_disabled.strip().lower() == "true" or self.traces_exporter.strip().lower() == "none"
        if is_off or not (self.exporter_otlp_endpoint or self.exporter_otlp_traces_endpoint):
            return False
        if self.traces_exporter.strip().lower() != "otlp":
            raise SettingsError(
                f"OTEL_TRACES_EXPORTER is {self.traces_exporter!r}; set it to otlp, or to none for no traces"
            )
        protocol = self.exporter_otlp_traces_protocol or self.exporter_otlp_protocol
        if protocol != _PROTOCOL:
            raise SettingsError(
                f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}, and Tidemark exports traces by {_PROTOCOL} alone: set "
                "it to that, and the endpoint to the collector's port for it, usually 4318; OTEL_TRACES_EXPORTER=none "
                "turns traces off"
            )
        name = self.traces_sampler.strip().lower()
        if name.removeprefix("parentbased_") not in _SAMPLERS:
            known = ", ".join([*_SAMPLERS, *(f"parentbased_{sampler}" for sampler in _SAMPLERS)])
            raise SettingsError(f"OTEL_TRACES_SAMPLER is {self.traces_sampler!r}; it is one of {known}")
        if name.endswith("traceidratio"):
            _check_share(self.traces_sampler_arg)
        return True


def _check_share(text: str) -> None:
    try:
        is_share = 0 <= float(text) <= 1
    except ValueError:
        is_share = False
    if not is_share:
        raise SettingsError(
            f"OTEL_TRACES_SAMPLER_ARG is {text!r}; it is a share of all traces, from 0 to 1, such as 0.01"
        )


def traces_are_on() -> bool:
    """Whether the environment asks for traces.

    Raises:
        SettingsError: a variable is wrong; the message names it, and shows no secret.
    """
    try:
        return TracesSettings().are_on
    except ValidationError as error:
        (problem, *_) = error.errors(include_input=False, include_url=False)
        name = ENV_PREFIX + "_".join(str(part) for part in problem["loc"]).upper()
        raise SettingsError(f"{name}: {str(problem['msg']).removeprefix('Value error, ')}") from None


def tracer_of(service: str, instance_id: str | None = None) -> Tracer:
    """The tracer of a process; one that traces nothing unless the environment asks for traces.

    Raises:
        SettingsError: a variable is wrong, or OpenTelemetry's packages are missing.
    """
    if not traces_are_on():
        return UNTRACED
    for name, value in read_dotenv(_DOTENV).items():
        if name.startswith(ENV_PREFIX) and value and not os.environ.get(name):
            if name in _SECRET_NAMES:
                refuse_open(str(_DOTENV), name)
            # The SDK reads the environment alone.
            os.environ[name] = value
    try:
        from services.runtime.telemetry import TelemetryTracer
    except ImportError as error:
        raise SettingsError(
            f"traces are asked for by OTEL_EXPORTER_OTLP_ENDPOINT, but {error.name or 'a package of them'} is not "
            "installed: pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http, or unset that variable"
        ) from None
    from importlib.metadata import version

    return TelemetryTracer(service, version("tidemark"), instance_id)


def tracer_or_exit(service: str, instance_id: str | None = None) -> Tracer:
    """The tracer of a process, or the end of the process with one line that names the wrong variable."""
    try:
        return tracer_of(service, instance_id)
    except SettingsError as error:
        exit_with(str(error))
