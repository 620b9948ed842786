-- What each answer said of each target. Codecs by measurement: counters grow from one answer to the next, so their
-- differences compress to a third of the values (docs/decisions/0009-storage.md).
CREATE TABLE IF NOT EXISTS post_snapshots_store ${on_cluster} (
    generation UInt16 COMMENT 'Rebuild generation; the active one is in active_generations.' CODEC(ZSTD(1)),
    workspace_id String COMMENT 'The tenant; every id is unique within its workspace only.' CODEC(ZSTD(1)),
    target_id String COMMENT 'One post on one channel.' CODEC(ZSTD(1)),
    post_id String COMMENT 'The post.' CODEC(ZSTD(1)),
    channel_id String COMMENT 'The connected account.' CODEC(ZSTD(1)),
    platform LowCardinality(String) COMMENT 'Platform name.',
    event_id String COMMENT 'The raw event that said it.' CODEC(ZSTD(1)),
    captured_at DateTime64(3, 'UTC') COMMENT 'When the platform answered (the poller''s clock).' CODEC(DoubleDelta, ZSTD(1)),
    origin LowCardinality(String) COMMENT 'Why the platform was asked: SCHEDULE, LIVE or BACKFILL.',
    spoken UInt32 COMMENT 'Bit mask over the metrics: what the answer spoke of.' CODEC(T64, ZSTD(1)),
    ranged UInt32 COMMENT 'Bit mask: figures for a range of dates, which never replace lifetime ones.' CODEC(T64, ZSTD(1)),
    views Nullable(Int64) COMMENT 'Times the post was viewed, by the platform''s own definition. Kind: cumulative count. Null: the platform did not say.' CODEC(Delta, ZSTD(1)),
    impressions Nullable(Int64) COMMENT 'Times the post was served. Kind: cumulative count. Null: the platform did not say.' CODEC(Delta, ZSTD(1)),
    reach Nullable(Int64) COMMENT 'Unique accounts that saw the post. Kind: unique count. Null: the platform did not say.' CODEC(Delta, ZSTD(1)),
    likes Nullable(Int64) COMMENT 'Likes, reactions or net votes. Kind: cumulative count. Null: the platform did not say.' CODEC(Delta, ZSTD(1)),
    dislikes Nullable(Int64) COMMENT 'Dislikes. Kind: cumulative count. Null: the platform did not say.' CODEC(Delta, ZSTD(1)),
    comments Nullable(Int64) COMMENT 'Comments or replies. Kind: cumulative count. Null: the platform did not say.' CODEC(Delta, ZSTD(1)),
    shares Nullable(Int64) COMMENT 'Shares: reposts and quotes together where the platform reports both. Kind: cumulative count. Null: the platform did not say.' CODEC(Delta, ZSTD(1)),
    quotes Nullable(Int64) COMMENT 'The part of shares that are quotes. Kind: cumulative count. Null: the platform did not say.' CODEC(Delta, ZSTD(1)),
    saves Nullable(Int64) COMMENT 'Saves or bookmarks. Kind: cumulative count. Null: the platform did not say.' CODEC(Delta, ZSTD(1)),
    clicks Nullable(Int64) COMMENT 'Clicks on the post''s link, or on the post where only that is reported. Kind: cumulative count. Null: the platform did not say.' CODEC(Delta, ZSTD(1)),
    other_clicks Nullable(Int64) COMMENT 'Clicks on anything else in the post. Kind: cumulative count. Null: the platform did not say.' CODEC(Delta, ZSTD(1)),
    profile_clicks Nullable(Int64) COMMENT 'Clicks on the author''s profile from the post. Kind: cumulative count. Null: the platform did not say.' CODEC(Delta, ZSTD(1)),
    follows Nullable(Int64) COMMENT 'Follows or subscriptions gained from the post. Kind: cumulative count. Null: the platform did not say.' CODEC(Delta, ZSTD(1)),
    video_views Nullable(Int64) COMMENT 'Video views, by the platform''s own definition. Kind: cumulative count. Null: the platform did not say.' CODEC(Delta, ZSTD(1)),
    watch_time_seconds Nullable(Decimal(18, 3)) COMMENT 'Total time watched, in seconds. Kind: cumulative duration. Null: the platform did not say.' CODEC(Delta, ZSTD(1)),
    avg_watch_time_seconds Nullable(Decimal(18, 3)) COMMENT 'Average time watched a view, in seconds. Kind: mean. Null: the platform did not say.' CODEC(Delta, ZSTD(1)),
    poll_votes Nullable(Int64) COMMENT 'Votes in the post''s poll. Kind: cumulative count. Null: the platform did not say.' CODEC(Delta, ZSTD(1)),
    version UInt64 COMMENT 'Grows with every newer state of the same key; the greatest counts.' CODEC(Delta, ZSTD(1))
) ENGINE = ${replicated}ReplacingMergeTree(version)
PARTITION BY (generation, toYYYYMM(captured_at)) ORDER BY (generation, workspace_id, target_id, event_id)
SETTINGS index_granularity = 1024, non_replicated_deduplication_window = 1000 COMMENT 'Storage of post_snapshots.';

CREATE VIEW IF NOT EXISTS post_snapshots ${on_cluster} (
    `workspace_id` String COMMENT 'The tenant; every id is unique within its workspace only.',
    `target_id` String COMMENT 'One post on one channel.',
    `post_id` String COMMENT 'The post.',
    `channel_id` String COMMENT 'The connected account.',
    `platform` LowCardinality(String) COMMENT 'Platform name.',
    `event_id` String COMMENT 'The raw event that said it.',
    `captured_at` DateTime64(3, 'UTC') COMMENT 'When the platform answered (the poller''s clock).',
    `origin` LowCardinality(String) COMMENT 'Why the platform was asked: SCHEDULE, LIVE or BACKFILL.',
    `views` Nullable(Int64) COMMENT 'Times the post was viewed, by the platform''s own definition. Kind: cumulative count. Null: the platform did not say.',
    `impressions` Nullable(Int64) COMMENT 'Times the post was served. Kind: cumulative count. Null: the platform did not say.',
    `reach` Nullable(Int64) COMMENT 'Unique accounts that saw the post. Kind: unique count. Null: the platform did not say.',
    `likes` Nullable(Int64) COMMENT 'Likes, reactions or net votes. Kind: cumulative count. Null: the platform did not say.',
    `dislikes` Nullable(Int64) COMMENT 'Dislikes. Kind: cumulative count. Null: the platform did not say.',
    `comments` Nullable(Int64) COMMENT 'Comments or replies. Kind: cumulative count. Null: the platform did not say.',
    `shares` Nullable(Int64) COMMENT 'Shares: reposts and quotes together where the platform reports both. Kind: cumulative count. Null: the platform did not say.',
    `quotes` Nullable(Int64) COMMENT 'The part of shares that are quotes. Kind: cumulative count. Null: the platform did not say.',
    `saves` Nullable(Int64) COMMENT 'Saves or bookmarks. Kind: cumulative count. Null: the platform did not say.',
    `clicks` Nullable(Int64) COMMENT 'Clicks on the post''s link, or on the post where only that is reported. Kind: cumulative count. Null: the platform did not say.',
    `other_clicks` Nullable(Int64) COMMENT 'Clicks on anything else in the post. Kind: cumulative count. Null: the platform did not say.',
    `profile_clicks` Nullable(Int64) COMMENT 'Clicks on the author''s profile from the post. Kind: cumulative count. Null: the platform did not say.',
    `follows` Nullable(Int64) COMMENT 'Follows or subscriptions gained from the post. Kind: cumulative count. Null: the platform did not say.',
    `video_views` Nullable(Int64) COMMENT 'Video views, by the platform''s own definition. Kind: cumulative count. Null: the platform did not say.',
    `watch_time_seconds` Nullable(Decimal(18, 3)) COMMENT 'Total time watched, in seconds. Kind: cumulative duration. Null: the platform did not say.',
    `avg_watch_time_seconds` Nullable(Decimal(18, 3)) COMMENT 'Average time watched a view, in seconds. Kind: mean. Null: the platform did not say.',
    `poll_votes` Nullable(Int64) COMMENT 'Votes in the post''s poll. Kind: cumulative count. Null: the platform did not say.',
    `engagements` Nullable(Int64) COMMENT 'likes + comments + shares + saves, nulls as 0; null when all four are null.',
    `engagement_rate` Nullable(Float64) COMMENT 'engagements / impressions, else / reach, else / views; a fraction; null when none is above zero.'
) AS SELECT workspace_id, target_id, post_id, channel_id, platform, event_id, captured_at, origin, views, impressions, reach, likes, dislikes, comments, shares, quotes, saves, clicks, other_clicks, profile_clicks, follows, video_views, watch_time_seconds, avg_watch_time_seconds, poll_votes,
    if(likes IS NULL AND comments IS NULL AND shares IS NULL AND saves IS NULL, NULL, ifNull(likes, 0) + ifNull(comments, 0) + ifNull(shares, 0) + ifNull(saves, 0)) AS engagements,
    multiIf(engagements IS NULL, NULL, impressions > 0, engagements / impressions, reach > 0, engagements / reach, views > 0, engagements / views, NULL) AS engagement_rate
FROM post_snapshots_store FINAL WHERE generation = (SELECT argMax(generation, version) FROM active_generations)
COMMENT 'What each answer said of each target: one row a target and answer; null for what it did not speak of.';
