-- The catalog, mirrored from its compacted topics.
CREATE TABLE IF NOT EXISTS channels_store ${on_cluster} (
    workspace_id String COMMENT 'The tenant; every id is unique within its workspace only.',
    channel_id String COMMENT 'The connected account.',
    platform LowCardinality(String) COMMENT 'Platform name.',
    external_id String COMMENT 'The platform''s id of the account, free text.',
    username String COMMENT 'The account''s name as shown.',
    status LowCardinality(String) COMMENT 'active, token_expired, revoked or disabled.',
    token_expires_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When the access token ends, if known.',
    updated_at DateTime64(3, 'UTC') COMMENT 'Time of the last catalog write.',
    is_deleted UInt8 COMMENT '1 after a tombstone.',
    version UInt64 COMMENT 'Grows with every newer state of the same key; the greatest counts.'
) ENGINE = ${replicated}ReplacingMergeTree(version) ORDER BY (workspace_id, channel_id)
SETTINGS index_granularity = 512, non_replicated_deduplication_window = 1000 COMMENT 'Storage of channels.';

CREATE VIEW IF NOT EXISTS channels ${on_cluster} (
    `workspace_id` String COMMENT 'The tenant; every id is unique within its workspace only.',
    `channel_id` String COMMENT 'The connected account.',
    `platform` LowCardinality(String) COMMENT 'Platform name.',
    `external_id` String COMMENT 'The platform''s id of the account, free text.',
    `username` String COMMENT 'The account''s name as shown.',
    `status` LowCardinality(String) COMMENT 'active, token_expired, revoked or disabled.',
    `token_expires_at` Nullable(DateTime64(3, 'UTC')) COMMENT 'When the access token ends, if known.',
    `updated_at` DateTime64(3, 'UTC') COMMENT 'Time of the last catalog write.'
) AS SELECT workspace_id, channel_id, platform, external_id, username, status, token_expires_at, updated_at
FROM channels_store FINAL WHERE is_deleted = 0
COMMENT 'Connected accounts, one row a channel.';

CREATE TABLE IF NOT EXISTS posts_store ${on_cluster} (
    workspace_id String COMMENT 'The tenant; every id is unique within its workspace only.',
    post_id String COMMENT 'The post.',
    status LowCardinality(String) COMMENT 'draft, scheduled, publishing, published, failed or deleted.',
    created_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When the post was made.',
    published_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When it went out.',
    updated_at DateTime64(3, 'UTC') COMMENT 'Time of the last catalog write.',
    targets String COMMENT 'JSON array of the post''s targets, in order.' CODEC(ZSTD(1)),
    is_deleted UInt8 COMMENT '1 after a tombstone or with status deleted.',
    version UInt64 COMMENT 'Grows with every newer state of the same key; the greatest counts.'
) ENGINE = ${replicated}ReplacingMergeTree(version) ORDER BY (workspace_id, post_id)
SETTINGS index_granularity = 512, non_replicated_deduplication_window = 1000 COMMENT 'Storage of posts.';

CREATE VIEW IF NOT EXISTS posts ${on_cluster} (
    `workspace_id` String COMMENT 'The tenant; every id is unique within its workspace only.',
    `post_id` String COMMENT 'The post.',
    `status` LowCardinality(String) COMMENT 'draft, scheduled, publishing, published or failed.',
    `created_at` Nullable(DateTime64(3, 'UTC')) COMMENT 'When the post was made.',
    `published_at` Nullable(DateTime64(3, 'UTC')) COMMENT 'When it went out.',
    `updated_at` DateTime64(3, 'UTC') COMMENT 'Time of the last catalog write.',
    `target_ids` Array(String) COMMENT 'The post''s targets, in order.',
    `targets` String COMMENT 'JSON array of the post''s targets, in order.'
) AS SELECT workspace_id, post_id, status, created_at, published_at, updated_at,
    JSONExtract(targets, 'Array(Tuple(target_id String))').target_id AS target_ids, targets
FROM posts_store FINAL WHERE is_deleted = 0
COMMENT 'Posts of the catalog, one row a post.';
