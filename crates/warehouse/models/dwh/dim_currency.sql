/*
description = "Every currency of ISO 4217, also withdrawn ones. currency_key: hash of the code."
task = "load"
strategy = "rebuild"
key = ["currency_key"]
sort = ["code"]
not_null = ["code", "name"]
*/
select
    substr(md5(concat('currency:', code)), 1, 16) as currency_key,
    code,
    numeric as numeric_code,
    cast(minor_units as int) as minor_units,
    name,
    cast(valid_from as date) as valid_from,
    cast(valid_to as date) as valid_to,
    code = (select value from seed.settings where name = 'reporting_currency') as is_reporting
from seed.currencies
