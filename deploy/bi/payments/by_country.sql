-- Payments by the place they were made from.
select g.region, g.country, count(*) as payments, sum(f.amount_reporting) as amount
from dwh.fact_transactions f
join dwh.dim_geo g on g.geo_key = f.geo_key
group by g.region, g.country
order by payments desc, g.country
limit 50
