-- Captured payments by month, in the reporting currency.
select d.year_month as month, count(*) as payments, sum(f.amount_reporting) as captured
from dwh.fact_transactions f
join dwh.dim_date d on d.date_key = f.date_key
where f.status in ('captured', 'refunded')
group by d.year_month
order by month
