-- The engagement rate of a window, over the posts in it: only the aggregator knows these, so it is stored. Rows written
-- before show the quotient of their totals until they are written again, at the latest by a rebuild.
ALTER TABLE channel_totals_store ${on_cluster} ADD COLUMN IF NOT EXISTS
    engagement_rate Nullable(Float64) DEFAULT multiIf(engagements IS NULL, NULL, impressions > 0, engagements / impressions, reach > 0, engagements / reach, views > 0, engagements / views, NULL) COMMENT 'Of the platform''s own figures: engagements divided by impressions, else reach, else views, the first above zero. Of posts: of those that have a rate, the sum of their engagements divided by the sum of what each was divided by. A fraction; null when there is none.' AFTER engagements;

CREATE OR REPLACE VIEW channel_totals ${on_cluster} (
    `workspace_id` String COMMENT 'The tenant; every id is unique within its workspace only.',
    `channel_id` String COMMENT 'The connected account.',
    `platform` LowCardinality(String) COMMENT 'Platform name.',
    `range` LowCardinality(String) COMMENT '24h, 7d or 28d.',
    `source` LowCardinality(String) COMMENT 'channel: the platform''s own figures; posts: sum of the window''s posts; none: no data yet.',
    `window_start` DateTime64(3, 'UTC') COMMENT 'Start of the window, inclusive.',
    `window_end` DateTime64(3, 'UTC') COMMENT 'End of the window, exclusive.',
    `valid_from` Nullable(DateTime64(3, 'UTC')) COMMENT 'The totals are exact for any end after this; null: since ever.',
    `valid_until` Nullable(DateTime64(3, 'UTC')) COMMENT 'The totals are exact for any end up to and with this; null: until new figures come.',
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
    `followers` Nullable(Int64) COMMENT 'Followers or subscribers. Kind: gauge. Null: the platform did not say.',
    `following` Nullable(Int64) COMMENT 'Accounts that the channel follows. Kind: gauge. Null: the platform did not say.',
    `posts_count` Nullable(Int64) COMMENT 'Posts on the platform. Kind: gauge. Null: the platform did not say.',
    `profile_views` Nullable(Int64) COMMENT 'Views of the profile in the period. Kind: cumulative count. Null: the platform did not say.',
    `engagements` Nullable(Int64) COMMENT 'likes + comments + shares + saves, nulls as 0; null when all four are null.',
    `engagement_rate` Nullable(Float64) COMMENT 'Of the platform''s own figures: engagements divided by impressions, else reach, else views, the first above zero. Of posts: of those that have a rate, the sum of their engagements divided by the sum of what each was divided by. A fraction; null when there is none.'
) AS SELECT workspace_id, channel_id, platform, `range`, source, window_start, window_end, valid_from, valid_until,
    captured_at, views, impressions, reach, likes, dislikes, comments, shares, quotes, saves, clicks, other_clicks, profile_clicks, follows, video_views, watch_time_seconds, avg_watch_time_seconds, poll_votes, followers, following, posts_count, profile_views, engagements, engagement_rate
FROM channel_totals_store FINAL WHERE generation = (SELECT argMax(generation, version) FROM active_generations) AND is_deleted = 0
COMMENT 'Totals of each channel over its trailing windows, one row a channel and range.';
