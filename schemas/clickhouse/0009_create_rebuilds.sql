-- Rebuilds: a new generation filled beside the live one, taken over partition by partition, then made the active one.
CREATE TABLE IF NOT EXISTS rebuilds ${on_cluster} (
    generation UInt16 COMMENT 'Generation being filled.',
    state LowCardinality(String) COMMENT 'filling, handover, done or abandoned.',
    cuts String COMMENT 'JSON object: by partition, the first offset that the owner has to fold itself.',
    started_at DateTime64(3, 'UTC') COMMENT 'When it began; catalog writes from shortly before are folded again at the end.',
    updated_at DateTime64(3, 'UTC') COMMENT 'When this state was written.'
) ENGINE = ${replicated}ReplacingMergeTree(updated_at) ORDER BY generation
COMMENT 'Rebuilds and their states.';

CREATE TABLE IF NOT EXISTS rebuild_progress ${on_cluster} (
    generation UInt16 COMMENT 'Generation being filled.',
    workspace_id String COMMENT 'The tenant.',
    last_event_id String COMMENT 'Events up to and with this are folded.',
    is_done UInt8 COMMENT '1 when all of the tenant is folded.',
    events UInt64 COMMENT 'Events of the tenant folded so far.',
    updated_at DateTime64(3, 'UTC') COMMENT 'When this was written.'
) ENGINE = ${replicated}ReplacingMergeTree(updated_at) ORDER BY (generation, workspace_id)
COMMENT 'How far a rebuild got, for resuming it.';

CREATE TABLE IF NOT EXISTS rebuild_handovers ${on_cluster} (
    generation UInt16 COMMENT 'Generation taken over.',
    partition UInt32 COMMENT 'Kafka partition whose owner writes to that generation from now on.',
    taken_at DateTime64(3, 'UTC') COMMENT 'When.'
) ENGINE = ${replicated}ReplacingMergeTree(taken_at) ORDER BY (generation, partition)
COMMENT 'Partitions taken over by a rebuilt generation.';
