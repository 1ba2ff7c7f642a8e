-- Payments and disputed payments by how well the customer was known then.
select c.kyc_level, c.country, count(*) as payments, sum(case when f.dispute_state <> 'none' then 1 else 0 end) as disputed,
    sum(f.disputed_amount) as disputed_amount
from dwh.fact_transactions f
join dwh.dim_customer c on c.customer_key = f.customer_key
group by c.kyc_level, c.country
order by disputed desc, payments desc, c.country, c.kyc_level
limit 50
