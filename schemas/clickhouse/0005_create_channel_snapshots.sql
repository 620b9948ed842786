-- What each answer said of each channel and period.
CREATE TABLE IF NOT EXISTS channel_snapshots_store ${on_cluster} (
    generation UInt16 COMMENT 'Rebuild generation; the active one is in active_generations.',
    workspace_id String COMMENT 'The tenant; every id is unique within its workspace only.',
    channel_id String COMMENT 'The connected account.',
    platform LowCardinality(String) COMMENT 'Platform name.',
    event_id String COMMENT 'The raw event that said it.',
    captured_at DateTime64(3, 'UTC') COMMENT 'When the platform answered (the poller''s clock).',
    origin LowCardinality(String) COMMENT 'Why the platform was asked: SCHEDULE, LIVE or BACKFILL.',
    period LowCardinality(String) COMMENT 'lifetime, day or window.',
    period_start Nullable(DateTime64(3, 'UTC')) COMMENT 'Start of the period; null for lifetime.',
    period_end Nullable(DateTime64(3, 'UTC')) COMMENT 'End of the period, exclusive; null for lifetime.',
    spoken UInt32 COMMENT 'Bit mask over the metrics: what the answer spoke of.',
    followers Nullable(Int64) COMMENT 'Followers or subscribers. Kind: gauge. Null: the platform did not say.' CODEC(Delta, ZSTD(1)),
    following Nullable(Int64) COMMENT 'Accounts that the channel follows. Kind: gauge. Null: the platform did not say.' CODEC(Delta, ZSTD(1)),
    posts_count Nullable(Int64) COMMENT 'Posts on the platform. Kind: gauge. Null: the platform did not say.' CODEC(Delta, ZSTD(1)),
    views Nullable(Int64) COMMENT 'Views of the channel''s content in the period. Kind: cumulative count. Null: the platform did not say.' CODEC(Delta, ZSTD(1)),
    impressions Nullable(Int64) COMMENT 'Times the channel''s content was served in the period. Kind: cumulative count. Null: the platform did not say.' CODEC(Delta, ZSTD(1)),
    reach Nullable(Int64) COMMENT 'Unique accounts that saw the channel''s content in the period. Kind: unique count. Null: the platform did not say.' CODEC(Delta, ZSTD(1)),
    profile_views Nullable(Int64) COMMENT 'Views of the profile in the period. Kind: cumulative count. Null: the platform did not say.' CODEC(Delta, ZSTD(1)),
    engagements Nullable(Int64) COMMENT 'Interactions in the period, by the platform''s own definition. Kind: cumulative count. Null: the platform did not say.' CODEC(Delta, ZSTD(1)),
    likes Nullable(Int64) COMMENT 'Likes or reactions in the period. Kind: cumulative count. Null: the platform did not say.' CODEC(Delta, ZSTD(1)),
    comments Nullable(Int64) COMMENT 'Comments or replies in the period. Kind: cumulative count. Null: the platform did not say.' CODEC(Delta, ZSTD(1)),
    shares Nullable(Int64) COMMENT 'Shares in the period. Kind: cumulative count. Null: the platform did not say.' CODEC(Delta, ZSTD(1)),
    saves Nullable(Int64) COMMENT 'Saves in the period. Kind: cumulative count. Null: the platform did not say.' CODEC(Delta, ZSTD(1)),
    watch_time_seconds Nullable(Decimal(18, 3)) COMMENT 'Time watched in the period, in seconds. Kind: cumulative duration. Null: the platform did not say.' CODEC(Delta, ZSTD(1)),
    version UInt64 COMMENT 'Grows with every newer state of the same key; the greatest counts.'
) ENGINE = ${replicated}ReplacingMergeTree(version)
PARTITION BY (generation, toYYYYMM(captured_at))
ORDER BY (generation, workspace_id, channel_id, event_id, period, period_start, period_end)
SETTINGS index_granularity = 1024, non_replicated_deduplication_window = 1000, allow_nullable_key = 1
COMMENT 'Storage of channel_snapshots.';

CREATE VIEW IF NOT EXISTS channel_snapshots ${on_cluster} (
    `workspace_id` String COMMENT 'The tenant; every id is unique within its workspace only.',
    `channel_id` String COMMENT 'The connected account.',
    `platform` LowCardinality(String) COMMENT 'Platform name.',
    `event_id` String COMMENT 'The raw event that said it.',
    `captured_at` DateTime64(3, 'UTC') COMMENT 'When the platform answered (the poller''s clock).',
    `origin` LowCardinality(String) COMMENT 'Why the platform was asked: SCHEDULE, LIVE or BACKFILL.',
    `period` LowCardinality(String) COMMENT 'lifetime, day or window.',
    `period_start` Nullable(DateTime64(3, 'UTC')) COMMENT 'Start of the period; null for lifetime.',
    `period_end` Nullable(DateTime64(3, 'UTC')) COMMENT 'End of the period, exclusive; null for lifetime.',
    `followers` Nullable(Int64) COMMENT 'Followers or subscribers. Kind: gauge. Null: the platform did not say.',
    `following` Nullable(Int64) COMMENT 'Accounts that the channel follows. Kind: gauge. Null: the platform did not say.',
    `posts_count` Nullable(Int64) COMMENT 'Posts on the platform. Kind: gauge. Null: the platform did not say.',
    `views` Nullable(Int64) COMMENT 'Views of the channel''s content in the period. Kind: cumulative count. Null: the platform did not say.',
    `impressions` Nullable(Int64) COMMENT 'Times the channel''s content was served in the period. Kind: cumulative count. Null: the platform did not say.',
    `reach` Nullable(Int64) COMMENT 'Unique accounts that saw the channel''s content in the period. Kind: unique count. Null: the platform did not say.',
    `profile_views` Nullable(Int64) COMMENT 'Views of the profile in the period. Kind: cumulative count. Null: the platform did not say.',
    `engagements` Nullable(Int64) COMMENT 'Interactions in the period, by the platform''s own definition. Kind: cumulative count. Null: the platform did not say.',
    `likes` Nullable(Int64) COMMENT 'Likes or reactions in the period. Kind: cumulative count. Null: the platform did not say.',
    `comments` Nullable(Int64) COMMENT 'Comments or replies in the period. Kind: cumulative count. Null: the platform did not say.',
    `shares` Nullable(Int64) COMMENT 'Shares in the period. Kind: cumulative count. Null: the platform did not say.',
    `saves` Nullable(Int64) COMMENT 'Saves in the period. Kind: cumulative count. Null: the platform did not say.',
    `watch_time_seconds` Nullable(Decimal(18, 3)) COMMENT 'Time watched in the period, in seconds. Kind: cumulative duration. Null: the platform did not say.',
    `engagement_rate` Nullable(Float64) COMMENT 'engagements / impressions, else / reach, else / views; a fraction; null when none is above zero.'
) AS SELECT workspace_id, channel_id, platform, event_id, captured_at, origin, period, period_start, period_end, followers, following, posts_count, views, impressions, reach, profile_views, engagements, likes, comments, shares, saves, watch_time_seconds,
    multiIf(engagements IS NULL, NULL, impressions > 0, engagements / impressions, reach > 0, engagements / reach, views > 0, engagements / views, NULL) AS engagement_rate
FROM channel_snapshots_store FINAL WHERE generation = (SELECT argMax(generation, version) FROM active_generations)
COMMENT 'What each answer said of each channel: one row a channel, period and answer; null for what it did not speak of.';

-- The channel's registers: the latest figures of each period.
CREATE TABLE IF NOT EXISTS latest_channel_metrics_store ${on_cluster} (
    generation UInt16 COMMENT 'Rebuild generation; the active one is in active_generations.',
    workspace_id String COMMENT 'The tenant; every id is unique within its workspace only.',
    channel_id String COMMENT 'The connected account.',
    period LowCardinality(String) COMMENT 'lifetime, day or window.',
    period_start Nullable(DateTime64(3, 'UTC')) COMMENT 'Start of the period; null for lifetime.',
    period_end Nullable(DateTime64(3, 'UTC')) COMMENT 'End of the period, exclusive; null for lifetime.',
    captured_at DateTime64(3, 'UTC') COMMENT 'When the platform answered (the poller''s clock).',
    followers Nullable(Int64) COMMENT 'Followers or subscribers. Kind: gauge. Null: the platform did not say.',
    following Nullable(Int64) COMMENT 'Accounts that the channel follows. Kind: gauge. Null: the platform did not say.',
    posts_count Nullable(Int64) COMMENT 'Posts on the platform. Kind: gauge. Null: the platform did not say.',
    views Nullable(Int64) COMMENT 'Views of the channel''s content in the period. Kind: cumulative count. Null: the platform did not say.',
    impressions Nullable(Int64) COMMENT 'Times the channel''s content was served in the period. Kind: cumulative count. Null: the platform did not say.',
    reach Nullable(Int64) COMMENT 'Unique accounts that saw the channel''s content in the period. Kind: unique count. Null: the platform did not say.',
    profile_views Nullable(Int64) COMMENT 'Views of the profile in the period. Kind: cumulative count. Null: the platform did not say.',
    engagements Nullable(Int64) COMMENT 'Interactions in the period, by the platform''s own definition. Kind: cumulative count. Null: the platform did not say.',
    likes Nullable(Int64) COMMENT 'Likes or reactions in the period. Kind: cumulative count. Null: the platform did not say.',
    comments Nullable(Int64) COMMENT 'Comments or replies in the period. Kind: cumulative count. Null: the platform did not say.',
    shares Nullable(Int64) COMMENT 'Shares in the period. Kind: cumulative count. Null: the platform did not say.',
    saves Nullable(Int64) COMMENT 'Saves in the period. Kind: cumulative count. Null: the platform did not say.',
    watch_time_seconds Nullable(Decimal(18, 3)) COMMENT 'Time watched in the period, in seconds. Kind: cumulative duration. Null: the platform did not say.',
    registers String COMMENT 'JSON: which answer each figure is from.',
    version UInt64 COMMENT 'Grows with every newer state of the same key; the greatest counts.'
) ENGINE = ${replicated}ReplacingMergeTree(version)
PARTITION BY generation ORDER BY (generation, workspace_id, channel_id, period, period_start, period_end)
SETTINGS index_granularity = 512, non_replicated_deduplication_window = 1000, allow_nullable_key = 1
COMMENT 'Latest figures of each channel and period.';
