{# One row a channel: its 28 days beside its account, and its posts' usual engagement rate. #}
{{ config(materialized='table', order_by='(workspace_id, channel_id)') }}

with windows as (
    select workspace_id, channel_id, source, followers, impressions, engagements
    from {{ source('tidemark', 'channel_totals') }}
    where range = '28d'
),

posted as (
    select
        workspace_id,
        channel_id,
        count() as measured_posts,
        medianExact(engagement_rate) as usual_engagement_rate
    from {{ source('tidemark', 'latest_post_metrics') }}
    group by workspace_id, channel_id
)

select
    channels.workspace_id as workspace_id,
    channels.channel_id as channel_id,
    channels.platform as platform,
    channels.username as username,
    channels.status as status,
    windows.source as source,
    windows.followers as followers,
    windows.impressions as impressions,
    windows.engagements as engagements,
    posted.measured_posts as measured_posts,
    posted.usual_engagement_rate as usual_engagement_rate
from {{ source('tidemark', 'channels') }} as channels
left join windows on windows.workspace_id = channels.workspace_id and windows.channel_id = channels.channel_id
left join posted on posted.workspace_id = channels.workspace_id and posted.channel_id = channels.channel_id
