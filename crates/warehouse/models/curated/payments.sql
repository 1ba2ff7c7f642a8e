/*
description = "Every payment in its newest state, as the source has it."
task = "deduplicate"
strategy = "upsert"
key = ["transaction_id"]
from = "staged.transactions"
unit = { id = "transaction_id" }
changes = '''
select id from delta.transactions where id is not null
union
select s.id
from delta.transactions t
join staged.transactions s on s._kafka_topic = t._kafka_topic
where t._op = 't' and s.id is not null'''
partition = "created_at"
sort = ["created_at"]
not_null = ["merchant_id", "amount", "currency", "status", "created_at"]

[[tests]]
name = "amount_positive"
severity = "error"
sql = "select transaction_id, amount from this where amount <= 0"
*/
-- The newest change of each row, where it came after the table was last emptied.
with newest as (
    select *
    from newest.transactions
    where _op <> 'd'
        and _lsn > (select lsn from curated.truncations where source_table = 'transactions')
),
-- Of rows with changes that left out columns: the values that were sent last. They are few, so they stand first in
-- the join, where they are held in memory.
kept as (
    select
        id,
        first_value(terminal_id order by _lsn desc, _ordinal desc, _kafka_partition, _kafka_offset) filter (where not coalesce(array_has(_unchanged, 'terminal_id'), false)) as terminal_id
    from (select id as row_id from staged.transactions where cardinality(_unchanged) > 0) as u
    right semi join staged.transactions as s on s.id = u.row_id
    where _op <> 'd'
        and _lsn > (select lsn from curated.truncations where source_table = 'transactions')
    group by id
)
select
    n.id as transaction_id,
    n.customer_id,
    n.merchant_id,
    n.amount,
    n.currency,
    n.status,
    n.payment_method,
    n.card_token,
    n.card_bin,
    case when array_has(n._unchanged, 'terminal_id') then k.terminal_id else n.terminal_id end as terminal_id,
    n.device_id,
    n.ip,
    n.risk_score,
    n.risk_decision,
    n.risk_scored_at,
    n.created_at,
    n.updated_at,
    n._lsn,
    n._ordinal,
    n._commit_ts as changed_at
from kept k
right join newest n on n.id = k.id
