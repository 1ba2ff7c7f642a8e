-- What was decided, and how much of it turned out to be fraud, by month.
select d.year_month as month, coalesce(f.risk_decision, 'none') as decision, count(*) as payments,
    sum(case when f.is_fraud then 1 else 0 end) as frauds
from dwh.fact_fraud f
join dwh.dim_date d on d.date_key = f.date_key
group by d.year_month, coalesce(f.risk_decision, 'none')
order by month, decision
