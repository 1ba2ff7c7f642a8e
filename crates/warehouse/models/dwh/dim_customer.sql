/*
description = "Every version of a customer, and one row for payments without a known one. customer_key: hash of the id and the position of the change that begins the version."
task = "load"
strategy = "scd2"
key = ["customer_key"]
from = "staged.customers"
unit = { id = "customer_id" }
changes = '''
select id from delta.customers where id is not null
union
select s.id
from delta.customers t
join staged.customers s on s._kafka_topic = t._kafka_topic
where t._op = 't' and s.id is not null
union
select 0 as id from delta.customers'''
sort = ["customer_id", "valid_from"]
not_null = ["customer_id", "valid_from", "is_current"]
references = { geo_key = "dwh.dim_geo.geo_key" }

[[tests]]
name = "one_current_version"
severity = "error"
sql = "select customer_id from this group by customer_id having sum(case when is_current then 1 else 0 end) <> 1"

[[tests]]
name = "versions_do_not_overlap"
severity = "error"
sql = """select a.customer_key from this a join this b
    on a.customer_id = b.customer_id and a.customer_key <> b.customer_key
    and a.valid_from <= b.valid_from and (a.valid_to is null or b.valid_from < a.valid_to)"""
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
        from staged.customers
        where id is not null
            and _lsn > (select lsn from curated.truncations where source_table = 'customers')
    )
    where deletes_later = 0
),
-- Clocks may go back, positions do not: a change is in force from the latest time so far.
timed as (
    select
        id, _lsn, _ordinal, country, kyc_level, status, marketing_opt_in,
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
        lag(country) over history as old_country,
        lag(kyc_level) over history as old_kyc_level,
        lag(status) over history as old_status,
        lag(marketing_opt_in) over history as old_marketing_opt_in
    from last_of_time
    window history as (partition by id order by since)
),
-- A version begins where something that is kept changes; the first has been in force ever since.
versions as (
    select
        id, _lsn, _ordinal, country, kyc_level, status, marketing_opt_in,
        case when place = 1
            then arrow_cast('1970-01-01T00:00:00Z', 'Timestamp(Microsecond, Some("+00:00"))')
            else since end as valid_from
    from compared
    where place = 1
        or (country is distinct from old_country)
        or (kyc_level is distinct from old_kyc_level)
        or (status is distinct from old_status)
        or (marketing_opt_in is distinct from old_marketing_opt_in)
)
select
    substr(md5(concat('customer:', id, ':', _lsn, ':', _ordinal)), 1, 16) as customer_key,
    id as customer_id,
    country,
    substr(md5(concat('geo:', country)), 1, 16) as geo_key,
    kyc_level,
    status,
    marketing_opt_in,
    valid_from,
    lead(valid_from) over (partition by id order by valid_from) as valid_to,
    lead(valid_from) over (partition by id order by valid_from) is null as is_current
from versions
union all
select
    '0000000000000000', 0, '??', substr(md5('geo:??'), 1, 16), cast(null as int), 'unknown', cast(null as boolean),
    arrow_cast('1970-01-01T00:00:00Z', 'Timestamp(Microsecond, Some("+00:00"))'),
    arrow_cast(null, 'Timestamp(Microsecond, Some("+00:00"))'), true
