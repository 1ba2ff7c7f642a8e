/*
description = "Every refund in its newest state."
task = "deduplicate"
strategy = "upsert"
key = ["refund_id"]
from = "staged.refunds"
unit = { id = "refund_id" }
changes = '''
select id from delta.refunds where id is not null
union
select s.id
from delta.refunds t
join staged.refunds s on s._kafka_topic = t._kafka_topic
where t._op = 't' and s.id is not null'''
partition = "created_at"
sort = ["created_at"]
not_null = ["transaction_id", "amount", "currency", "status", "created_at"]
*/
-- The newest change of each row, where it came after the table was last emptied.
with newest as (
    select *
    from newest.refunds
    where _op <> 'd'
        and _lsn > (select lsn from curated.truncations where source_table = 'refunds')
),
-- Of rows with changes that left out columns: the values that were sent last. They are few, so they stand first in
-- the join, where they are held in memory.
kept as (
    select
        id,
        first_value(reason order by _lsn desc, _ordinal desc, _kafka_partition, _kafka_offset) filter (where not coalesce(array_has(_unchanged, 'reason'), false)) as reason
    from (select id as row_id from staged.refunds where cardinality(_unchanged) > 0) as u
    right semi join staged.refunds as s on s.id = u.row_id
    where _op <> 'd'
        and _lsn > (select lsn from curated.truncations where source_table = 'refunds')
    group by id
)
select
    n.id as refund_id,
    n.transaction_id,
    n.amount,
    n.currency,
    case when array_has(n._unchanged, 'reason') then k.reason else n.reason end as reason,
    n.status,
    n.created_at,
    n.updated_at,
    n._lsn,
    n._ordinal,
    n._commit_ts as changed_at
from kept k
right join newest n on n.id = k.id
