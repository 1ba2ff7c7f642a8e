/*
description = "Every payment that was scored or disputed: score, decision and, from its disputes, whether it was fraud and since when that is known."
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
)
select id as transaction_id from delta.transactions where id is not null
union
-- Payments since what changed of their merchant is in force.
select p.transaction_id
from changed_merchants m
join curated.payments p on m.id = p.merchant_id and p.created_at >= m.since
where p.created_at >= (select min(since) from changed_merchants)
union
-- Payments that any version of a changed dispute names.
select transaction_id from versions.disputes where transaction_id is not null
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
sort = ["created_at"]
not_null = ["date_key", "merchant_key", "device_key", "geo_key", "currency_key", "is_fraud"]
accepted = { label_source = ["fraud_reason", "lost_dispute"] }

[references]
date_key = "dwh.dim_date.date_key"
merchant_key = "dwh.dim_merchant.merchant_key"
device_key = "dwh.dim_device.device_key"
geo_key = "dwh.dim_geo.geo_key"
currency_key = "dwh.dim_currency.currency_key"

[[tests]]
name = "score_is_a_probability"
severity = "error"
sql = "select transaction_id, risk_score from this where risk_score < 0 or risk_score > 1"

[[tests]]
name = "label_has_a_time"
severity = "error"
sql = "select transaction_id from this where is_fraud <> (label_at is not null) or is_fraud <> (label_source is not null)"
*/
-- Fraud is confirmed by a dispute that is lost, or that gives fraud as its reason and is not won.
with labels as (
    select
        d.transaction_id,
        bool_or(k.category = 'fraud' and d.status <> 'won') as has_fraud_reason,
        bool_or(d.status = 'lost') as is_lost,
        min(case
            when k.category = 'fraud' and d.status <> 'won' then d.created_at
            when d.status = 'lost' then d.updated_at end) as label_at
    from curated.disputes d
    left join seed.dispute_reasons k on k.reason_code = d.reason_code
    group by d.transaction_id
)
select
    t.transaction_id,
    cast(to_char(t.created_at, '%Y%m%d') as int) as date_key,
    substr(md5(concat('merchant:', t.merchant_id)), 1, 16) as merchant_key,
    case when t.device_id is null then '0000000000000000'
        else substr(md5(concat('device:', t.device_id)), 1, 16) end as device_key,
    substr(md5(concat('geo:', t.geo_country)), 1, 16) as geo_key,
    substr(md5(concat('currency:', t.currency)), 1, 16) as currency_key,
    t.merchant_category,
    t.merchant_risk_tier,
    t.risk_score,
    t.risk_decision,
    t.risk_scored_at,
    l.label_at is not null as is_fraud,
    l.label_at,
    case when l.label_at is null then null when l.has_fraud_reason then 'fraud_reason' else 'lost_dispute' end
        as label_source,
    t.status,
    t.currency,
    t.amount,
    t.reporting_currency,
    t.amount_reporting,
    t.created_at
from curated.transactions t
left join labels l on l.transaction_id = t.transaction_id
where t.risk_score is not null or t.risk_decision is not null or l.transaction_id is not null
