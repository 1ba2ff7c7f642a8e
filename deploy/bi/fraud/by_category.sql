-- Confirmed fraud among scored or disputed payments, by category of the merchant.
select merchant_category as category, count(*) as payments, sum(case when is_fraud then 1 else 0 end) as frauds,
    sum(case when is_fraud then amount_reporting end) as fraud_amount
from dwh.fact_fraud
group by merchant_category
order by frauds desc, payments desc, category
