-- Refunds by month and status.
select d.year_month as month, r.status, count(*) as refunds, sum(r.amount_reporting) as amount
from dwh.fact_refunds r
join dwh.dim_date d on d.date_key = r.date_key
group by d.year_month, r.status
order by month, r.status
