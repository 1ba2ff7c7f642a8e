/*
description = "Every dispute, with the merchant of its payment, what kind of reason it has and what it cost."
task = "load"
strategy = "upsert"
key = ["dispute_id"]
from = "curated.disputes"
changes = '''
select id as dispute_id from delta.disputes where id is not null
union
-- Those of payments that changed, came or went.
select s.id from delta.transactions d join staged.disputes s on d.id = s.transaction_id where s.id is not null
union
-- All of them, where the source table or that of payments was emptied.
select s.id
from delta.disputes t
join staged.disputes s on s._kafka_topic = t._kafka_topic
where t._op = 't' and s.id is not null
union
select s.id
from delta.transactions t
join staged.transactions p on p._kafka_topic = t._kafka_topic
join staged.disputes s on s.transaction_id = p.id
where t._op = 't' and s.id is not null'''
lookups = { transaction_id = "curated.payments.transaction_id" }
partition = "created_at"
sort = ["created_at"]
not_null = ["transaction_id", "date_key", "merchant_key", "currency_key", "amount", "is_payment_known"]
accepted = { status = ["opened", "evidence", "won", "lost"] }

[references]
date_key = "dwh.dim_date.date_key"
merchant_key = "dwh.dim_merchant.merchant_key"
currency_key = "dwh.dim_currency.currency_key"

[[balances]]
name = "balance_per_currency"
with = "curated.disputes"
by = "currency"
amount = "amount"

[[tests]]
name = "payment_known"
severity = "warn"
sql = "select dispute_id from this where not is_payment_known"
*/
with converted as (
    select
        r.*,
        p.transaction_id is not null as is_payment_known,
        p.merchant_id,
        p.created_at as paid_at,
        f.rate,
        f.rate_date,
        f.reporting_currency,
        f.reporting_units,
        r.amount * f.rate * f.reporting_units as exact_units,
        coalesce(k.category, 'unknown') as reason_category
    from curated.disputes r
    left join curated.payments p on p.transaction_id = r.transaction_id
    left join curated.exchange_rates f on f.currency = r.currency and f.day = cast(r.created_at as date)
    left join seed.dispute_reasons k on k.reason_code = r.reason_code
),
-- Half to even: a cast rounds halves away from zero.
rounded as (
    select *, cast(exact_units as decimal(38, 0)) as whole_units from converted
),
reported as (
    select
        *,
        cast(case when whole_units - exact_units = 0.5 and whole_units % 2 = 1
            then whole_units - 1 else whole_units end / reporting_units as decimal(38, 4)) as amount_reporting
    from rounded
)
select
    dispute_id,
    transaction_id,
    cast(to_char(created_at, '%Y%m%d') as int) as date_key,
    case when is_payment_known then substr(md5(concat('merchant:', merchant_id)), 1, 16)
        else '0000000000000000' end as merchant_key,
    substr(md5(concat('currency:', currency)), 1, 16) as currency_key,
    is_payment_known,
    paid_at,
    reason_code,
    reason_category,
    status,
    currency,
    amount,
    reporting_currency,
    amount_reporting,
    rate as exchange_rate,
    rate_date as exchange_rate_date,
    case when status = 'lost' then amount else cast(0 as decimal(18, 4)) end as lost_amount,
    case when status = 'lost' then amount_reporting else cast(0 as decimal(38, 4)) end as lost_amount_reporting,
    case when status in ('won', 'lost') then updated_at end as resolved_at,
    created_at,
    updated_at
from reported
