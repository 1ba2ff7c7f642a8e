-- Payments by status.
select status, count(*) as payments, sum(amount_reporting) as amount
from dwh.fact_transactions
group by status
order by payments desc, status
