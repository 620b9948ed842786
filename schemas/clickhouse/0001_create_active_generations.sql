-- Which rebuild generation the public names show. No row: generation 0.
CREATE TABLE IF NOT EXISTS active_generations ${on_cluster} (
    generation UInt16 COMMENT 'Rebuild generation; the active one is in active_generations.',
    version UInt64 COMMENT 'Grows with every newer state of the same key; the greatest counts.'
) ENGINE = ${replicated}ReplacingMergeTree(version) ORDER BY tuple()
COMMENT 'The active rebuild generation, one row.';

-- One row a claim of a partition by a worker: epochs grow with every claim, so that what an older owner still
-- writes never replaces what a newer one wrote.
CREATE TABLE IF NOT EXISTS partition_claims ${on_cluster} (
    partition UInt32 COMMENT 'Kafka partition number.',
    epoch UInt32 COMMENT 'Grows with every claim.',
    instance String COMMENT 'Who claimed it.',
    claimed_at DateTime64(3, 'UTC') COMMENT 'When.'
) ENGINE = ${replicated}MergeTree ORDER BY (partition, epoch)
COMMENT 'Claims of Kafka partitions by aggregator workers.';
