/*
description = "Every customer in its newest state."
task = "deduplicate"
strategy = "upsert"
key = ["customer_id"]
from = "staged.customers"
unit = { id = "customer_id" }
changes = '''
select id from delta.customers where id is not null
union
select s.id
from delta.customers t
join staged.customers s on s._kafka_topic = t._kafka_topic
where t._op = 't' and s.id is not null'''
sort = ["customer_id"]
not_null = ["country", "status"]
*/
-- The newest change of each row, where it came after the table was last emptied.
with newest as (
    select *
    from newest.customers
    where _op <> 'd'
        and _lsn > (select lsn from curated.truncations where source_table = 'customers')
),
-- Of rows with changes that left out columns: the values that were sent last. They are few, so they stand first in
-- the join, where they are held in memory.
kept as (
    select
        id,
        first_value(email order by _lsn desc, _ordinal desc, _kafka_partition, _kafka_offset) filter (where not coalesce(array_has(_unchanged, 'email'), false)) as email,
        first_value(full_name order by _lsn desc, _ordinal desc, _kafka_partition, _kafka_offset) filter (where not coalesce(array_has(_unchanged, 'full_name'), false)) as full_name,
        first_value(phone order by _lsn desc, _ordinal desc, _kafka_partition, _kafka_offset) filter (where not coalesce(array_has(_unchanged, 'phone'), false)) as phone,
        first_value(preferences order by _lsn desc, _ordinal desc, _kafka_partition, _kafka_offset) filter (where not coalesce(array_has(_unchanged, 'preferences'), false)) as preferences
    from (select id as row_id from staged.customers where cardinality(_unchanged) > 0) as u
    right semi join staged.customers as s on s.id = u.row_id
    where _op <> 'd'
        and _lsn > (select lsn from curated.truncations where source_table = 'customers')
    group by id
)
select
    n.id as customer_id,
    case when array_has(n._unchanged, 'email') then k.email else n.email end as email,
    case when array_has(n._unchanged, 'full_name') then k.full_name else n.full_name end as full_name,
    case when array_has(n._unchanged, 'phone') then k.phone else n.phone end as phone,
    n.country,
    n.birth_date,
    n.kyc_level,
    n.status,
    n.marketing_opt_in,
    case when array_has(n._unchanged, 'preferences') then k.preferences else n.preferences end as preferences,
    n.created_at,
    n.updated_at,
    n._lsn,
    n._ordinal,
    n._commit_ts as changed_at
from kept k
right join newest n on n.id = k.id
