-- The twenty merchants with the most captured money.
select m.merchant_id, m.name, m.category, m.country, count(*) as payments, sum(f.amount_reporting) as captured
from dwh.fact_transactions f
join dwh.dim_merchant m on m.merchant_key = f.merchant_key
where f.status in ('captured', 'refunded')
group by m.merchant_id, m.name, m.category, m.country
order by captured desc nulls last, m.merchant_id
limit 20
