/*
description = "Every merchant in its newest state. Merchants that payments name before they are known are there as inferred. merchant_key: hash of the id."
task = "load"
strategy = "rebuild"
key = ["merchant_key"]
sort = ["merchant_id"]
not_null = ["merchant_id", "category_code", "category", "risk_tier", "country", "is_inferred"]
references = { geo_key = "dwh.dim_geo.geo_key" }

[[tests]]
name = "inferred"
severity = "warn"
sql = "select merchant_id from this where is_inferred"
*/
with named as (
    select merchant_id from curated.merchants
    union
    select merchant_id from curated.payments
)
select
    substr(md5(concat('merchant:', n.merchant_id)), 1, 16) as merchant_key,
    n.merchant_id,
    m.name,
    coalesce(m.category_code, '????') as category_code,
    coalesce(c.description, 'unknown') as category_description,
    coalesce(c.category, 'unknown') as category,
    coalesce(c.risk_tier, 'unknown') as risk_tier,
    coalesce(m.country, '??') as country,
    substr(md5(concat('geo:', coalesce(m.country, '??'))), 1, 16) as geo_key,
    m.currency,
    coalesce(m.status, 'unknown') as status,
    m.fee_rate,
    m.merchant_id is null as is_inferred,
    m.created_at
from named n
left join curated.merchants m on m.merchant_id = n.merchant_id
left join seed.merchant_categories c on c.code = m.category_code
union all
select
    '0000000000000000', 0, null, '????', 'unknown', 'unknown', 'unknown', '??', substr(md5('geo:??'), 1, 16),
    null, 'unknown', null, false, null
