-- Totals of each post over its targets.
CREATE TABLE IF NOT EXISTS post_totals_store ${on_cluster} (
    generation UInt16 COMMENT 'Rebuild generation; the active one is in active_generations.',
    workspace_id String COMMENT 'The tenant; every id is unique within its workspace only.',
    post_id String COMMENT 'The post.',
    captured_at Nullable(DateTime64(3, 'UTC')) COMMENT 'Freshest answer among its figures; null when never measured.',
    views Nullable(Int64) COMMENT 'Times the post was viewed, by the platform''s own definition. Kind: cumulative count. Null: the platform did not say.',
    impressions Nullable(Int64) COMMENT 'Times the post was served. Kind: cumulative count. Null: the platform did not say.',
    reach Nullable(Int64) COMMENT 'Unique accounts that saw the post. Kind: unique count. Null: the platform did not say.',
    likes Nullable(Int64) COMMENT 'Likes, reactions or net votes. Kind: cumulative count. Null: the platform did not say.',
    dislikes Nullable(Int64) COMMENT 'Dislikes. Kind: cumulative count. Null: the platform did not say.',
    comments Nullable(Int64) COMMENT 'Comments or replies. Kind: cumulative count. Null: the platform did not say.',
    shares Nullable(Int64) COMMENT 'Shares: reposts and quotes together where the platform reports both. Kind: cumulative count. Null: the platform did not say.',
    quotes Nullable(Int64) COMMENT 'The part of shares that are quotes. Kind: cumulative count. Null: the platform did not say.',
    saves Nullable(Int64) COMMENT 'Saves or bookmarks. Kind: cumulative count. Null: the platform did not say.',
    clicks Nullable(Int64) COMMENT 'Clicks on the post''s link, or on the post where only that is reported. Kind: cumulative count. Null: the platform did not say.',
    other_clicks Nullable(Int64) COMMENT 'Clicks on anything else in the post. Kind: cumulative count. Null: the platform did not say.',
    profile_clicks Nullable(Int64) COMMENT 'Clicks on the author''s profile from the post. Kind: cumulative count. Null: the platform did not say.',
    follows Nullable(Int64) COMMENT 'Follows or subscriptions gained from the post. Kind: cumulative count. Null: the platform did not say.',
    video_views Nullable(Int64) COMMENT 'Video views, by the platform''s own definition. Kind: cumulative count. Null: the platform did not say.',
    watch_time_seconds Nullable(Decimal(18, 3)) COMMENT 'Total time watched, in seconds. Kind: cumulative duration. Null: the platform did not say.',
    avg_watch_time_seconds Nullable(Decimal(18, 3)) COMMENT 'Average time watched a view, in seconds. Kind: mean. Null: the platform did not say.',
    poll_votes Nullable(Int64) COMMENT 'Votes in the post''s poll. Kind: cumulative count. Null: the platform did not say.',
    targets String COMMENT 'JSON array, one element a target in order: id, channel, time and figures.' CODEC(ZSTD(1)),
    is_deleted UInt8 COMMENT '1 while the catalog does not hold the post.',
    partition UInt32 COMMENT 'Kafka partition of the workspace.',
    version UInt64 COMMENT 'Grows with every newer state of the same key; the greatest counts.'
) ENGINE = ${replicated}ReplacingMergeTree(version)
PARTITION BY generation ORDER BY (generation, workspace_id, post_id)
SETTINGS index_granularity = 512, non_replicated_deduplication_window = 1000 COMMENT 'Storage of post_totals.';

CREATE VIEW IF NOT EXISTS post_totals ${on_cluster} (
    `workspace_id` String COMMENT 'The tenant; every id is unique within its workspace only.',
    `post_id` String COMMENT 'The post.',
    `captured_at` Nullable(DateTime64(3, 'UTC')) COMMENT 'Freshest answer among the figures; null when never measured.',
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
) AS SELECT workspace_id, post_id, captured_at, views, impressions, reach, likes, dislikes, comments, shares, quotes, saves, clicks, other_clicks, profile_clicks, follows, video_views, watch_time_seconds, avg_watch_time_seconds, poll_votes,
    if(likes IS NULL AND comments IS NULL AND shares IS NULL AND saves IS NULL, NULL, ifNull(likes, 0) + ifNull(comments, 0) + ifNull(shares, 0) + ifNull(saves, 0)) AS engagements,
    multiIf(engagements IS NULL, NULL, impressions > 0, engagements / impressions, reach > 0, engagements / reach, views > 0, engagements / views, NULL) AS engagement_rate
FROM post_totals_store FINAL WHERE generation = (SELECT argMax(generation, version) FROM active_generations) AND is_deleted = 0
COMMENT 'Totals of each post over its targets, one row a post.';
