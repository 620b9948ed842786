"""Settings of the aggregator."""

from __future__ import annotations

from pydantic import Field, field_validator

from services.platforms import checked_path
from services.runtime.settings import ClickHouseSettings, KafkaSettings, OperationsSettings, RegistrySettings


class AggregatorSettings(KafkaSettings, RegistrySettings, ClickHouseSettings, OperationsSettings):
    """Settings of the aggregator, from the environment (`TIDEMARK_*`)."""

    # Folders of further platforms' files; read by `services.platforms`.
    platforms_path: str = ""
    aggregator_group: str = Field(default="tidemark-aggregator", min_length=1)
    # Raw events in a batch of one partition, each with up to 50 posts. More would only add latency and memory.
    aggregator_batch_events: int = Field(default=300, ge=1, le=10_000)
    # Bytes in a batch of one partition: a message may have 8 MiB.
    aggregator_batch_bytes: int = Field(default=16 * 1024 * 1024, ge=1024 * 1024)
    # How long a partition gathers events after the first one of a batch; at most four batches a second at low traffic.
    aggregator_linger_seconds: float = Field(default=0.25, ge=0, le=30)
    # The most targets held in memory by each partition, and as many posts; a target or post has about 1 KB.
    aggregator_cache_targets: int = Field(default=100_000, ge=1000)
    # The process ends once a partition has had work for this long without finishing any.
    aggregator_stuck_seconds: float = Field(default=120, ge=10)
    # How often a partition looks for channel windows that expired.
    aggregator_window_check_seconds: float = Field(default=10, gt=0)
    # The worker pauses when the share of dead letters among all events is above this limit, instead of turning the
    # whole topic into dead letters. 1 switches the limit off.
    dead_letter_limit_ratio: float = Field(default=0.5, gt=0, le=1)
    # The share of dead letters is counted over a sliding window of this length.
    dead_letter_limit_window_seconds: float = Field(default=300, ge=1, le=86_400)
    # With fewer events in the window there is no limit.
    dead_letter_limit_minimum_events: int = Field(default=200, ge=1)
    # One workspace's dead letters count for at most this share of all events: with 0.2 and a limit of 0.5, three
    # workspaces have to fail. An installation with one or two workspaces sets 1.
    dead_letter_limit_workspace_share: float = Field(default=0.2, gt=0, le=1)

    _found_platforms = field_validator("platforms_path")(checked_path)
