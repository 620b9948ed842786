{# What each post gained on each UTC day: the last figure of the day less the last one of the day before that has one. #}
{{ config(materialized='table', order_by='(workspace_id, target_id, day)') }}

with last_of_day as (
    select
        workspace_id,
        target_id,
        any(post_id) as post_id,
        any(channel_id) as channel_id,
        any(platform) as platform,
        toDate(captured_at) as day,
        argMax(views, captured_at) as views_at_end,
        argMax(likes, captured_at) as likes_at_end,
        argMax(comments, captured_at) as comments_at_end
    from {{ source('tidemark', 'post_snapshots') }}
    group by workspace_id, target_id, day
)

select
    workspace_id,
    target_id,
    post_id,
    channel_id,
    platform,
    day,
    views_at_end - lagInFrame(views_at_end, 1, 0) over earlier as views_gained,
    likes_at_end - lagInFrame(likes_at_end, 1, 0) over earlier as likes_gained,
    comments_at_end - lagInFrame(comments_at_end, 1, 0) over earlier as comments_gained
from last_of_day
window earlier as (
    partition by workspace_id, target_id order by day rows between 1 preceding and current row
)
