/*
description = "Every click once, however often and late it came, with the visitor whose session it belongs to."
task = "deduplicate"
strategy = "upsert"
key = ["event_id"]
from = "staged.clickstream_events"
partition = "received_at"
sort = ["visitor", "occurred_at"]
not_null = ["visitor", "occurred_at", "received_at"]
*/
with ranked as (
    select *, row_number() over (
        partition by event_id order by received_at, _kafka_partition, _kafka_offset) as nth
    from staged.clickstream_events
    where event_id is not null and received_at is not null
)
select
    event_id,
    coalesce('s:' || nullif(session_id, ''), 'a:' || nullif(anonymous_id, ''), 'u:' || nullif(user_id, ''),
        'e:' || event_id) as visitor,
    session_id,
    anonymous_id,
    user_id,
    event_type,
    -- A time that cannot be is that of receipt.
    case when occurred_at >= '2000-01-01T00:00:00Z' and occurred_at < received_at + interval '1 day'
        then occurred_at else received_at end as occurred_at,
    received_at,
    url_host,
    url_path,
    utm_source,
    utm_medium,
    utm_campaign,
    referrer_host,
    device_type,
    browser,
    os,
    country,
    coalesce(is_bot, false) as is_bot,
    coalesce(is_late, false) as is_late
from ranked
where nth = 1
