/*
description = "Every country of ISO 3166-1, and ?? for places that are not known. geo_key: hash of the code."
task = "load"
strategy = "rebuild"
key = ["geo_key"]
sort = ["country"]
not_null = ["country", "name", "region"]
*/
select
    substr(md5(concat('geo:', code)), 1, 16) as geo_key,
    code as country,
    alpha3,
    name,
    region
from seed.countries
union all
select substr(md5('geo:??'), 1, 16), '??', null, 'unknown', 'unknown'
