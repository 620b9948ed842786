-- Every platform answer as received; what `tidemark rebuild` reads past the topic's retention.
CREATE TABLE IF NOT EXISTS raw_events_store ${on_cluster} (
    workspace_id String COMMENT 'The tenant; every id is unique within its workspace only.',
    event_id String COMMENT 'Unique per answer in its workspace.',
    channel_id String COMMENT 'The connected account.',
    platform LowCardinality(String) COMMENT 'Platform name.',
    kind LowCardinality(String) COMMENT 'POST_METRICS, CHANNEL_METRICS or IDENTITY.',
    endpoint String COMMENT 'The path as sent.' CODEC(ZSTD(1)),
    request Map(String, String) COMMENT 'The query sent, without secrets.' CODEC(ZSTD(1)),
    `targets.target_id` Array(String) COMMENT 'Targets asked for, in request order.' CODEC(ZSTD(1)),
    `targets.post_id` Array(String) COMMENT 'Their posts, as the asker knew them.' CODEC(ZSTD(1)),
    `targets.external_id` Array(String) COMMENT 'Their ids on the platform.' CODEC(ZSTD(1)),
    http_status Int32 COMMENT 'HTTP status of the answer.',
    body String COMMENT 'The answer as received, anything like a token blanked.' CODEC(ZSTD(3)),
    captured_at DateTime64(3, 'UTC') COMMENT 'When the platform answered (the poller''s clock).',
    origin LowCardinality(String) COMMENT 'Why the platform was asked: SCHEDULE, LIVE or BACKFILL.',
    topic LowCardinality(String) COMMENT 'Kafka topic.',
    partition UInt32 COMMENT 'Kafka partition.',
    offset UInt64 COMMENT 'Kafka offset.' CODEC(Delta, ZSTD(1)),
    ingested_at DateTime64(3, 'UTC') COMMENT 'When the broker took the event.' CODEC(Delta, ZSTD(1))
) ENGINE = ${replicated}ReplacingMergeTree(captured_at)
PARTITION BY toYYYYMM(captured_at) ORDER BY (workspace_id, event_id)
SETTINGS index_granularity = 512, non_replicated_deduplication_window = 1000 COMMENT 'Storage of raw_events.';

CREATE VIEW IF NOT EXISTS raw_events ${on_cluster} (
    `workspace_id` String COMMENT 'The tenant; every id is unique within its workspace only.',
    `event_id` String COMMENT 'Unique per answer in its workspace.',
    `channel_id` String COMMENT 'The connected account.',
    `platform` LowCardinality(String) COMMENT 'Platform name.',
    `kind` LowCardinality(String) COMMENT 'POST_METRICS, CHANNEL_METRICS or IDENTITY.',
    `endpoint` String COMMENT 'The path as sent.',
    `request` Map(String, String) COMMENT 'The query sent, without secrets.',
    `targets.target_id` Array(String) COMMENT 'Targets asked for, in request order.',
    `targets.post_id` Array(String) COMMENT 'Their posts, as the asker knew them.',
    `targets.external_id` Array(String) COMMENT 'Their ids on the platform.',
    `http_status` Int32 COMMENT 'HTTP status of the answer.',
    `body` String COMMENT 'The answer as received, anything like a token blanked.',
    `captured_at` DateTime64(3, 'UTC') COMMENT 'When the platform answered (the poller''s clock).',
    `origin` LowCardinality(String) COMMENT 'Why the platform was asked: SCHEDULE, LIVE or BACKFILL.',
    `topic` LowCardinality(String) COMMENT 'Kafka topic.',
    `partition` UInt32 COMMENT 'Kafka partition.',
    `offset` UInt64 COMMENT 'Kafka offset.',
    `ingested_at` DateTime64(3, 'UTC') COMMENT 'When the broker took the event.'
) AS SELECT workspace_id, event_id, channel_id, platform, kind, endpoint, request, `targets.target_id`, `targets.post_id`,
    `targets.external_id`, http_status, body, captured_at, origin, topic, partition, offset, ingested_at
FROM raw_events_store FINAL
COMMENT 'Platform answers, one row an event.';
