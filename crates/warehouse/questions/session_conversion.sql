-- How far sessions got, by where they came from: to content, to a conversion, or to a cart that was left.
select
    coalesce(utm_source, 'direct') as source,
    coalesce(device_type, 'unknown') as device,
    count(*) as sessions,
    sum(case when funnel_step >= 2 then 1 else 0 end) as reached_content,
    sum(case when outcome = 'converted' then 1 else 0 end) as converted,
    sum(case when outcome = 'abandoned' then 1 else 0 end) as abandoned,
    cast(100.0 * sum(case when outcome = 'converted' then 1 else 0 end) / count(*) as decimal(7, 3)) as conversion_percent
from dwh.fact_clickstream
where not is_bot
group by coalesce(utm_source, 'direct'), coalesce(device_type, 'unknown')
order by sessions desc, source, device
