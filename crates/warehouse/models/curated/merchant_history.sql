/*
description = "Every version of a merchant: what was in force from valid_from until before valid_to (null: still is)."
task = "enrich"
strategy = "scd2"
key = ["merchant_id", "valid_from"]
from = "staged.merchants"
unit = { id = "merchant_id" }
changes = '''
select id from delta.merchants where id is not null
union
select s.id
from delta.merchants t
join staged.merchants s on s._kafka_topic = t._kafka_topic
where t._op = 't' and s.id is not null'''
sort = ["merchant_id", "valid_from"]
not_null = ["category_code", "country", "is_current"]

[[tests]]
name = "one_current_version"
severity = "error"
sql = "select merchant_id from this group by merchant_id having sum(case when is_current then 1 else 0 end) <> 1"
*/
-- Changes after the last delete: a deleted row has no history left.
with alive as (
    select *
    from (
        select
            *,
            sum(case when _op = 'd' then 1 else 0 end) over (
                partition by id order by _lsn desc, _ordinal desc
                range between unbounded preceding and current row) as deletes_later
        from staged.merchants
        where id is not null
            and _lsn > (select lsn from curated.truncations where source_table = 'merchants')
    )
    where deletes_later = 0
),
-- Clocks may go back, positions do not: a change is in force from the latest time so far.
timed as (
    select
        id, _lsn, _ordinal, category_code, country, currency, status,
        max(_commit_ts) over history as since
    from alive
    window history as (partition by id order by _lsn, _ordinal, _kafka_partition, _kafka_offset
        rows between unbounded preceding and current row)
),
-- Of changes in force from the same time the last counts.
last_of_time as (
    select *
    from (
        select *, row_number() over (partition by id, since order by _lsn desc, _ordinal desc) as nth
        from timed
    )
    where nth = 1
),
compared as (
    select
        *,
        row_number() over history as place,
        lag(category_code) over history as old_category_code,
        lag(country) over history as old_country,
        lag(currency) over history as old_currency,
        lag(status) over history as old_status
    from last_of_time
    window history as (partition by id order by since)
),
-- A version begins where something that is kept changes; the first has been in force ever since.
versions as (
    select
        id, _lsn, _ordinal, category_code, country, currency, status,
        case when place = 1
            then arrow_cast('1970-01-01T00:00:00Z', 'Timestamp(Microsecond, Some("+00:00"))')
            else since end as valid_from
    from compared
    where place = 1
        or (category_code is distinct from old_category_code)
        or (country is distinct from old_country)
        or (currency is distinct from old_currency)
        or (status is distinct from old_status)
)
select
    id as merchant_id,
    category_code,
    country,
    currency,
    status,
    valid_from,
    lead(valid_from) over (partition by id order by valid_from) as valid_to,
    lead(valid_from) over (partition by id order by valid_from) is null as is_current
from versions
