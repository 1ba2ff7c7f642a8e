/*
description = "Every merchant in its newest state."
task = "deduplicate"
strategy = "upsert"
key = ["merchant_id"]
from = "staged.merchants"
unit = { id = "merchant_id" }
changes = '''
select id from delta.merchants where id is not null
union
select s.id
from delta.merchants t
join staged.merchants s on s._kafka_topic = t._kafka_topic
where t._op = 't' and s.id is not null'''
sort = ["merchant_id"]
not_null = ["category_code", "country", "currency", "status"]
*/
-- The newest change of each row, where it came after the table was last emptied.
with newest as (
    select *
    from newest.merchants
    where _op <> 'd'
        and _lsn > (select lsn from curated.truncations where source_table = 'merchants')
),
-- Of rows with changes that left out columns: the values that were sent last. They are few, so they stand first in
-- the join, where they are held in memory.
kept as (
    select
        id,
        first_value(name order by _lsn desc, _ordinal desc, _kafka_partition, _kafka_offset) filter (where not coalesce(array_has(_unchanged, 'name'), false)) as name
    from (select id as row_id from staged.merchants where cardinality(_unchanged) > 0) as u
    right semi join staged.merchants as s on s.id = u.row_id
    where _op <> 'd'
        and _lsn > (select lsn from curated.truncations where source_table = 'merchants')
    group by id
)
select
    n.id as merchant_id,
    case when array_has(n._unchanged, 'name') then k.name else n.name end as name,
    n.category_code,
    n.country,
    n.currency,
    n.status,
    n.fee_rate,
    n.created_at,
    n.updated_at,
    n._lsn,
    n._ordinal,
    n._commit_ts as changed_at
from kept k
right join newest n on n.id = k.id
