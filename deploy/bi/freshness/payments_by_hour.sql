-- Payments by hour: a gap is an hour without any, or one that has not arrived.
select date_trunc('hour', created_at) as hour, count(*) as payments, max(updated_at) as newest
from dwh.fact_transactions
group by date_trunc('hour', created_at)
order by hour desc
limit 48
