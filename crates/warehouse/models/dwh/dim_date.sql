/*
description = "Every day from 2000 to 2049 (UTC). date_key: the digits of the day, 20261122."
task = "load"
strategy = "rebuild"
key = ["date_key"]
sort = ["date_key"]
*/
select
    cast(to_char(day, '%Y%m%d') as int) as date_key,
    day as date,
    cast(date_part('year', day) as int) as year,
    cast(date_part('quarter', day) as int) as quarter,
    cast(date_part('month', day) as int) as month,
    to_char(day, '%Y-%m') as year_month,
    cast(date_part('day', day) as int) as day_of_month,
    cast(date_part('doy', day) as int) as day_of_year,
    cast(to_char(day, '%u') as int) as iso_day_of_week,
    cast(to_char(day, '%V') as int) as iso_week,
    cast(to_char(day, '%G') as int) as iso_year,
    to_char(day, '%A') as day_name,
    to_char(day, '%B') as month_name,
    to_char(day, '%u') in ('6', '7') as is_weekend
from (select unnest(generate_series(date '2000-01-01', date '2049-12-31', interval '1 day')) as day)
