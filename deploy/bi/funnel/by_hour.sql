-- Sessions by hour and outcome.
select date_trunc('hour', started_at) as hour, outcome, count(*) as sessions, sum(clicks) as clicks
from dwh.fact_clickstream
where not is_bot
group by date_trunc('hour', started_at), outcome
order by hour desc, outcome
limit 500
