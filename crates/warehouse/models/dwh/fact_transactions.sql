/*
description = "Every payment: keys of its dimensions as of its time, amounts, and what was refunded and disputed of it."
task = "load"
strategy = "upsert"
key = ["transaction_id"]
from = "curated.transactions"
changes = '''
with changed_merchants as (
    select
        s.id,
        case when min(s._lsn) >= min(d.lsn) or bool_or(s._op = 'd')
                or min(s._lsn) <= (select lsn from curated.truncations where source_table = 'merchants')
            then arrow_cast('1970-01-01T00:00:00Z', 'Timestamp(Microsecond, Some("+00:00"))')
            else min(case when s._lsn >= d.lsn then s._commit_ts end) end as since
    from (select id, min(_lsn) as lsn from delta.merchants where id is not null group by id) d
    join versions.merchants s on s.id = d.id
    group by s.id
    union
    select s.id, arrow_cast('1970-01-01T00:00:00Z', 'Timestamp(Microsecond, Some("+00:00"))')
from delta.merchants t
join staged.merchants s on s._kafka_topic = t._kafka_topic
where t._op = 't' and s.id is not null
),
changed_customers as (
    select
        s.id,
        case when min(s._lsn) >= min(d.lsn) or bool_or(s._op = 'd')
                or min(s._lsn) <= (select lsn from curated.truncations where source_table = 'customers')
            then arrow_cast('1970-01-01T00:00:00Z', 'Timestamp(Microsecond, Some("+00:00"))')
            else min(case when s._lsn >= d.lsn then s._commit_ts end) end as since
    from (select id, min(_lsn) as lsn from delta.customers where id is not null group by id) d
    join versions.customers s on s.id = d.id
    group by s.id
    union
    select s.id, arrow_cast('1970-01-01T00:00:00Z', 'Timestamp(Microsecond, Some("+00:00"))')
from delta.customers t
join staged.customers s on s._kafka_topic = t._kafka_topic
where t._op = 't' and s.id is not null
)
select id as transaction_id from delta.transactions where id is not null
union
-- Payments since what changed of their merchant is in force.
select p.transaction_id
from changed_merchants m
join curated.payments p on m.id = p.merchant_id and p.created_at >= m.since
where p.created_at >= (select min(since) from changed_merchants)
union
select p.transaction_id
from changed_customers c
join curated.payments p on c.id = p.customer_id and p.created_at >= c.since
where p.created_at >= (select min(since) from changed_customers)
union
-- Payments that any version of a changed refund or dispute names.
select transaction_id from versions.refunds where transaction_id is not null
union
select transaction_id from versions.disputes where transaction_id is not null
union
select s.transaction_id
from delta.refunds t
join staged.refunds s on s._kafka_topic = t._kafka_topic
where t._op = 't' and s.transaction_id is not null
union
select s.transaction_id
from delta.disputes t
join staged.disputes s on s._kafka_topic = t._kafka_topic
where t._op = 't' and s.transaction_id is not null
union
select s.id as transaction_id
from delta.transactions t
join staged.transactions s on s._kafka_topic = t._kafka_topic
where t._op = 't' and s.id is not null'''
partition = "created_at"
sort = ["merchant_key", "created_at"]
not_null = ["date_key", "customer_key", "merchant_key", "device_key", "geo_key", "currency_key", "amount"]
accepted = { refund_state = ["none", "requested", "failed", "partial", "full"], dispute_state = ["none", "open", "won", "lost"] }

[references]
date_key = "dwh.dim_date.date_key"
customer_key = "dwh.dim_customer.customer_key"
merchant_key = "dwh.dim_merchant.merchant_key"
device_key = "dwh.dim_device.device_key"
geo_key = "dwh.dim_geo.geo_key"
currency_key = "dwh.dim_currency.currency_key"

[[balances]]
name = "balance_per_currency"
with = "curated.payments"
by = "currency"
amount = "amount"

[[tests]]
name = "refunded_more_than_paid"
severity = "warn"
sql = "select transaction_id from this where refunded_amount > amount"

[[tests]]
name = "customer_known"
severity = "warn"
sql = "select transaction_id from this where customer_id is not null and customer_key = '0000000000000000'"
*/
with refunded as (
    select
        transaction_id,
        count(*) as refunds,
        sum(case when status = 'paid' then amount else cast(0 as decimal(18, 4)) end) as amount,
        bool_or(status = 'requested') as is_requested,
        bool_or(status = 'paid') as is_paid
    from curated.refunds
    group by transaction_id
),
disputed as (
    select
        transaction_id,
        count(*) as disputes,
        sum(amount) as amount,
        bool_or(status in ('opened', 'evidence')) as is_open,
        bool_or(status = 'lost') as is_lost
    from curated.disputes
    group by transaction_id
)
select
    t.transaction_id,
    cast(to_char(t.created_at, '%Y%m%d') as int) as date_key,
    coalesce(c.customer_key, '0000000000000000') as customer_key,
    substr(md5(concat('merchant:', t.merchant_id)), 1, 16) as merchant_key,
    case when t.device_id is null then '0000000000000000'
        else substr(md5(concat('device:', t.device_id)), 1, 16) end as device_key,
    substr(md5(concat('geo:', t.geo_country)), 1, 16) as geo_key,
    substr(md5(concat('currency:', t.currency)), 1, 16) as currency_key,
    t.customer_id,
    t.merchant_category,
    t.status,
    t.payment_method,
    t.card_network,
    t.currency,
    t.amount,
    t.reporting_currency,
    t.amount_reporting,
    t.exchange_rate,
    t.exchange_rate_date,
    coalesce(r.refunds, 0) as refunds,
    coalesce(r.amount, cast(0 as decimal(28, 4))) as refunded_amount,
    case
        when r.transaction_id is null then 'none'
        when r.is_paid and r.amount >= t.amount then 'full'
        when r.is_paid then 'partial'
        when r.is_requested then 'requested'
        else 'failed' end as refund_state,
    coalesce(d.disputes, 0) as disputes,
    coalesce(d.amount, cast(0 as decimal(28, 4))) as disputed_amount,
    case
        when d.transaction_id is null then 'none'
        when d.is_lost then 'lost'
        when d.is_open then 'open'
        else 'won' end as dispute_state,
    t.created_at,
    t.updated_at
from curated.transactions t
left join dwh.dim_customer c
    on c.customer_id = t.customer_id
    and t.created_at >= c.valid_from and (c.valid_to is null or t.created_at < c.valid_to)
left join refunded r on r.transaction_id = t.transaction_id
left join disputed d on d.transaction_id = t.transaction_id
