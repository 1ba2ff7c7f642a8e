-- Payments and customers by category of the merchant.
select merchant_category as category, count(*) as payments, count(distinct customer_id) as customers,
    sum(amount_reporting) as amount
from dwh.fact_transactions
group by merchant_category
order by payments desc, category
