/*
description = "Every session: clicks of one visitor with less than 30 minutes between them. Where it came from, how far it got, how it ended. session_key: hash of visitor and first click."
task = "load"
strategy = "upsert"
key = ["session_key"]
from = "curated.clicks"
unit = { visitor = "visitor" }
# The visitors that any copy of a changed click names.
changes = '''
select coalesce('s:' || nullif(s.session_id, ''), 'a:' || nullif(s.anonymous_id, ''), 'u:' || nullif(s.user_id, ''),
    'e:' || s.event_id) as visitor
from delta.clickstream_events d
join staged.clickstream_events s on d.event_id = s.event_id
where s.event_id is not null'''
partition = "started_at"
sort = ["started_at"]
not_null = ["visitor", "date_key", "geo_key", "outcome", "funnel_step"]
references = { date_key = "dwh.dim_date.date_key", geo_key = "dwh.dim_geo.geo_key" }
accepted = { outcome = ["converted", "abandoned", "browsed"] }

[[tests]]
name = "every_click_in_one_session"
severity = "error"
whole = true
sql = """select a.clicks from (select sum(clicks) as clicks from this) a
    cross join (select count(*) as clicks from curated.clicks) b
    where coalesce(a.clicks, 0) <> b.clicks"""
*/
with gaps as (
    select
        *,
        case when occurred_at - lag(occurred_at) over (partition by visitor order by occurred_at, event_id)
            < interval '30 minutes' then 0 else 1 end as begins
    from curated.clicks
),
numbered as (
    select *, sum(begins) over (
        partition by visitor order by occurred_at, event_id
        rows between unbounded preceding and current row) as session
    from gaps
),
sessions as (
    select
        visitor,
        session,
        first_value(event_id order by occurred_at, event_id) as first_event_id,
        min(session_id) as session_id,
        min(anonymous_id) as anonymous_id,
        min(user_id) as user_id,
        min(occurred_at) as started_at,
        max(occurred_at) as ended_at,
        count(*) as clicks,
        sum(case when event_type = 'page_view' then 1 else 0 end) as page_views,
        sum(case when event_type = 'content_viewed' then 1 else 0 end) as contents_viewed,
        sum(case when event_type = 'cart_abandoned' then 1 else 0 end) as carts_abandoned,
        sum(case when event_type = 'conversion' then 1 else 0 end) as conversions,
        min(case when event_type = 'page_view' then occurred_at end) as page_viewed_at,
        min(case when event_type = 'content_viewed' then occurred_at end) as content_viewed_at,
        max(case when event_type = 'cart_abandoned' then occurred_at end) as cart_abandoned_at,
        max(case when event_type = 'conversion' then occurred_at end) as converted_at,
        first_value(url_host order by occurred_at, event_id) as entry_host,
        first_value(url_path order by occurred_at, event_id) as entry_path,
        first_value(utm_source order by occurred_at, event_id) as utm_source,
        first_value(utm_medium order by occurred_at, event_id) as utm_medium,
        first_value(utm_campaign order by occurred_at, event_id) as utm_campaign,
        first_value(referrer_host order by occurred_at, event_id) as referrer_host,
        first_value(device_type order by occurred_at, event_id) as device_type,
        first_value(browser order by occurred_at, event_id) as browser,
        first_value(os order by occurred_at, event_id) as os,
        first_value(country order by occurred_at, event_id) as country,
        bool_or(is_bot) as is_bot,
        bool_or(is_late) as is_late
    from numbered
    group by visitor, session
)
select
    substr(md5(concat(s.visitor, ':', s.first_event_id)), 1, 16) as session_key,
    s.visitor,
    s.session_id,
    s.anonymous_id,
    s.user_id,
    cast(to_char(s.started_at, '%Y%m%d') as int) as date_key,
    substr(md5(concat('geo:', coalesce(g.code, '??'))), 1, 16) as geo_key,
    s.started_at,
    s.ended_at,
    s.clicks,
    s.page_views,
    s.contents_viewed,
    s.carts_abandoned,
    s.conversions,
    s.page_viewed_at,
    s.content_viewed_at,
    s.cart_abandoned_at,
    s.converted_at,
    -- How far: 1 a page, 2 content after a page, 3 a conversion after that content.
    case
        when s.content_viewed_at >= s.page_viewed_at and s.converted_at >= s.content_viewed_at then 3
        when s.content_viewed_at >= s.page_viewed_at then 2
        when s.page_viewed_at is not null then 1
        else 0 end as funnel_step,
    case
        when s.converted_at is not null then 'converted'
        when s.cart_abandoned_at is not null then 'abandoned'
        else 'browsed' end as outcome,
    s.entry_host,
    s.entry_path,
    s.utm_source,
    s.utm_medium,
    s.utm_campaign,
    s.referrer_host,
    s.device_type,
    s.browser,
    s.os,
    s.is_bot,
    s.is_late
from sessions s
left join seed.countries g on g.code = s.country
