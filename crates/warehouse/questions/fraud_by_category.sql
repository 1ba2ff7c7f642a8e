-- Confirmed fraud by the merchant's category at the time: how often, and the money that disputes cost, in the
-- reporting currency.
with lost as (
    select transaction_id, sum(lost_amount_reporting) as amount
    from dwh.fact_disputes
    group by transaction_id
)
select
    f.merchant_category as category,
    count(*) as payments,
    sum(case when f.is_fraud then 1 else 0 end) as frauds,
    cast(100.0 * sum(case when f.is_fraud then 1 else 0 end) / count(*) as decimal(7, 3)) as fraud_percent,
    sum(case when f.is_fraud then f.amount_reporting end) as fraud_amount,
    sum(case when f.is_fraud then l.amount end) as money_lost
from dwh.fact_fraud f
left join lost l on l.transaction_id = f.transaction_id
group by f.merchant_category
order by frauds desc, payments desc, category
