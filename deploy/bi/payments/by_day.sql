-- Payments of the last 90 days that had any, with what was declined.
select d.date as day, count(*) as payments, sum(case when f.status = 'declined' then 1 else 0 end) as declined,
    sum(f.amount_reporting) as amount
from dwh.fact_transactions f
join dwh.dim_date d on d.date_key = f.date_key
group by d.date
order by day desc
limit 90
