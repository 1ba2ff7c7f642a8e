/*
description = "For each currency and day the rate to the reporting currency: that of the day or, where none was published, of the last day before, for at most 366 days."
task = "enrich"
strategy = "rebuild"
key = ["currency", "day"]
sort = ["currency", "day"]
not_null = ["rate", "rate_date", "reporting_currency", "reporting_units"]

[[tests]]
name = "rates_positive"
severity = "error"
sql = "select currency, day from this where rate <= 0"
*/
with per_euro as (
    select cast(date as date) as day, currency, cast(rate as decimal(18, 8)) as rate from seed.fx_rates
    union all
    select distinct cast(date as date), 'EUR', cast(1 as decimal(18, 8)) from seed.fx_rates
    union all
    -- A euro is a euro also where nobody publishes rates: payments of long ago need none.
    select cast(day as date), 'EUR', cast(1 as decimal(18, 8))
    from (select unnest(generate_series(date '2000-01-01', date '2049-12-31', interval '1 month')) as day)
    where cast(day as date) not in (select cast(date as date) from seed.fx_rates)
),
-- The reporting currency, and how many of its minor units make one of it.
reporting as (
    select
        c.code,
        cast(case cast(c.minor_units as int) when 0 then 1 when 2 then 100 when 3 then 1000 when 4 then 10000 end
            as decimal(5, 0)) as units
    from seed.settings s
    join seed.currencies c on c.code = s.value
    where s.name = 'reporting_currency'
),
published as (
    select
        r.currency,
        r.day,
        lead(r.day) over (partition by r.currency order by r.day) as next_day,
        cast(b.rate / r.rate as decimal(20, 12)) as rate,
        b.currency as reporting_currency,
        p.units as reporting_units
    from per_euro r
    cross join reporting p
    join per_euro b on b.day = r.day and b.currency = p.code
)
select
    currency,
    unnest(generate_series(
        day,
        case when next_day is null or next_day > day + 367 then day + 366 else next_day - 1 end,
        interval '1 day')) as day,
    day as rate_date,
    rate,
    reporting_currency,
    reporting_units
from published
