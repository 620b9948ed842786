-- The log of webhooks: the newest state of each delivery, for its owner to read. The notifier writes it from its topic.
CREATE TABLE IF NOT EXISTS webhook_deliveries ${on_cluster} (
    workspace_id String COMMENT 'The tenant; every id is unique within its workspace only.',
    webhook_id String COMMENT 'The webhook.',
    delivery_id String COMMENT 'The delivery; the webhook-id of each try.',
    type LowCardinality(String) COMMENT 'Type of the event.',
    occurred_at DateTime64(3, 'UTC') COMMENT 'When the event happened.',
    content String COMMENT 'The event''s data as JSON.',
    status LowCardinality(String) COMMENT 'pending, delivered or failed.',
    tries UInt32 COMMENT 'Tries made since it was made or last asked for again.',
    created_at DateTime64(3, 'UTC') COMMENT 'When the delivery was made.',
    next_try_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When the next try is due; null when none is.',
    tried_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When the last try ended; null before the first.',
    answer_status Nullable(UInt16) COMMENT 'HTTP status of the last answer; null without an answer.',
    answer String COMMENT 'The first bytes of the last answer, as text.',
    error String COMMENT 'Why the last try failed; empty when it did not.',
    offset UInt64 COMMENT 'Offset of the message that holds this state: the version by which rows replace each other.'
) ENGINE = ${replicated}ReplacingMergeTree(offset)
ORDER BY (workspace_id, webhook_id, created_at, delivery_id)
TTL toDateTime(created_at) + INTERVAL 30 DAY
COMMENT 'Deliveries to webhooks of the last 30 days.';
