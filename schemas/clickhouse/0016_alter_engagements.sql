-- old code: runs
-- Engagements stay within 64 bits, as everywhere else: a sum beyond them is the bound. In these views it wrapped around.
-- They are computed as they are read, so this holds for every row already stored.
CREATE OR REPLACE VIEW post_snapshots ${on_cluster} (
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
    if(likes IS NULL AND comments IS NULL AND shares IS NULL AND saves IS NULL, NULL, toInt64(least(greatest(toInt128(ifNull(likes, 0)) + toInt128(ifNull(comments, 0)) + toInt128(ifNull(shares, 0)) + toInt128(ifNull(saves, 0)), toInt128('-9223372036854775808')), toInt128('9223372036854775807')))) AS engagements,
    multiIf(engagements IS NULL, NULL, impressions > 0, engagements / impressions, reach > 0, engagements / reach, views > 0, engagements / views, NULL) AS engagement_rate
FROM post_snapshots_store FINAL WHERE generation = (SELECT argMax(generation, version) FROM active_generations)
COMMENT 'What each answer said of each target: one row a target and answer; null for what it did not speak of.';

CREATE OR REPLACE VIEW latest_post_metrics ${on_cluster} (
    `workspace_id` String COMMENT 'The tenant; every id is unique within its workspace only.',
    `target_id` String COMMENT 'One post on one channel.',
    `post_id` String COMMENT 'The post.',
    `channel_id` String COMMENT 'The connected account.',
    `platform` LowCardinality(String) COMMENT 'Platform name.',
    `published_at` Nullable(DateTime64(3, 'UTC')) COMMENT 'When the post went out; null when not published.',
    `captured_at` DateTime64(3, 'UTC') COMMENT 'When the platform answered (the poller''s clock).',
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
) AS SELECT workspace_id, target_id, post_id, channel_id, channels.platform AS platform, published_at,
    assumeNotNull(captured_at) AS captured_at, views, impressions, reach, likes, dislikes, comments, shares, quotes, saves, clicks, other_clicks, profile_clicks, follows, video_views, watch_time_seconds, avg_watch_time_seconds, poll_votes,
    if(likes IS NULL AND comments IS NULL AND shares IS NULL AND saves IS NULL, NULL, toInt64(least(greatest(toInt128(ifNull(likes, 0)) + toInt128(ifNull(comments, 0)) + toInt128(ifNull(shares, 0)) + toInt128(ifNull(saves, 0)), toInt128('-9223372036854775808')), toInt128('9223372036854775807')))) AS engagements,
    multiIf(engagements IS NULL, NULL, impressions > 0, engagements / impressions, reach > 0, engagements / reach, views > 0, engagements / views, NULL) AS engagement_rate
FROM (SELECT * FROM latest_post_metrics_store FINAL WHERE generation = (SELECT argMax(generation, version) FROM active_generations) AND is_listed AND captured_at IS NOT NULL) AS latest
INNER JOIN (SELECT workspace_id, channel_id, platform FROM channels_store FINAL WHERE is_deleted = 0) AS channels
    USING (workspace_id, channel_id)
COMMENT 'Latest figures of each target that the catalog holds, one row a target.';

CREATE OR REPLACE VIEW post_totals ${on_cluster} (
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
    `engagement_rate` Nullable(Float64) COMMENT 'Of the targets that have a rate: the sum of their engagements divided by the sum of what each was divided by (impressions, else reach, else views, the first above zero); a fraction between the lowest and the highest of them; null when none has one.'
) AS WITH
    arrayFilter(rated -> rated.2 > 0, arrayMap(part -> (least(greatest(toInt128(ifNull(part.1[4], 0)) + toInt128(ifNull(part.1[6], 0)) + toInt128(ifNull(part.1[7], 0)) + toInt128(ifNull(part.1[9], 0)), toInt128('-9223372036854775808')), toInt128('9223372036854775807')), multiIf(part.1[4] IS NULL AND part.1[6] IS NULL AND part.1[7] IS NULL AND part.1[9] IS NULL, toInt128(0), toInt128(ifNull(part.1[2], 0)) > 0, toInt128(ifNull(part.1[2], 0)), toInt128(ifNull(part.1[3], 0)) > 0, toInt128(ifNull(part.1[3], 0)), toInt128(ifNull(part.1[1], 0)) > 0, toInt128(ifNull(part.1[1], 0)), toInt128(0))), JSONExtract(targets, 'Array(Tuple(values Array(Nullable(Int64))))'))) AS rated_targets
SELECT workspace_id, post_id, captured_at, views, impressions, reach, likes, dislikes, comments, shares, quotes, saves, clicks, other_clicks, profile_clicks, follows, video_views, watch_time_seconds, avg_watch_time_seconds, poll_votes,
    if(likes IS NULL AND comments IS NULL AND shares IS NULL AND saves IS NULL, NULL, toInt64(least(greatest(toInt128(ifNull(likes, 0)) + toInt128(ifNull(comments, 0)) + toInt128(ifNull(shares, 0)) + toInt128(ifNull(saves, 0)), toInt128('-9223372036854775808')), toInt128('9223372036854775807')))) AS engagements,
    if(empty(rated_targets), NULL, toFloat64(arraySum(rated -> rated.1, rated_targets)) / toFloat64(arraySum(rated -> rated.2, rated_targets))) AS engagement_rate
FROM post_totals_store FINAL WHERE generation = (SELECT argMax(generation, version) FROM active_generations) AND is_deleted = 0
COMMENT 'Totals of each post over its targets, one row a post.';
