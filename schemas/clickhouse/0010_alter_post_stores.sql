-- The two tables that a look-up of a post reads, in small granules and compact parts: all columns of a key then lie
-- together in a few KiB (docs/decisions/0015-read-path.md). Granules can't be changed in place, so the rows are copied;
-- no aggregator may run meanwhile. The name in use holds every row throughout, so this may break off and begin again.
CREATE TABLE posts_store_${run} ${on_cluster} AS posts_store
ENGINE = ${replicated}ReplacingMergeTree(version) ORDER BY (workspace_id, post_id)
SETTINGS index_granularity = 64, min_bytes_for_wide_part = 1099511627776, non_replicated_deduplication_window = 1000
COMMENT 'Storage of posts.';

INSERT INTO posts_store_${run} SELECT * FROM posts_store;

EXCHANGE TABLES posts_store AND posts_store_${run} ${on_cluster};

DROP TABLE posts_store_${run} ${on_cluster} SYNC;

CREATE TABLE post_totals_store_${run} ${on_cluster} AS post_totals_store
ENGINE = ${replicated}ReplacingMergeTree(version)
PARTITION BY generation ORDER BY (generation, workspace_id, post_id)
SETTINGS index_granularity = 64, min_bytes_for_wide_part = 1099511627776, non_replicated_deduplication_window = 1000
COMMENT 'Storage of post_totals.';

INSERT INTO post_totals_store_${run} SELECT * FROM post_totals_store;

EXCHANGE TABLES post_totals_store AND post_totals_store_${run} ${on_cluster};

DROP TABLE post_totals_store_${run} ${on_cluster} SYNC;
