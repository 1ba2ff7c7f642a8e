-- Sessions by where they came from, and how they ended.
select coalesce(utm_source, 'direct') as source, coalesce(device_type, 'unknown') as device, count(*) as sessions,
    sum(case when outcome = 'converted' then 1 else 0 end) as converted,
    sum(case when outcome = 'abandoned' then 1 else 0 end) as abandoned
from dwh.fact_clickstream
where not is_bot
group by coalesce(utm_source, 'direct'), coalesce(device_type, 'unknown')
order by sessions desc, source, device
limit 50
