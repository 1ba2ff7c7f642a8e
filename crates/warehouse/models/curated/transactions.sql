/*
description = "Every payment with its merchant as it was then, its device's history until then, its place, and its amount in the reporting currency."
task = "enrich"
strategy = "upsert"
key = ["transaction_id"]
from = "curated.payments"
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
-- The devices of changed payments that change the history of a device: new or gone, or with another device, customer or
-- time.
changed_devices as (
    select device_id, min(created_at) as since
    from (
        select
            s.device_id,
            s.created_at,
            min(s._lsn) over versions >= min(d.lsn) over versions or bool_or(s._op = 'd') over versions
                or min(s._lsn) over versions <= (select lsn from curated.truncations where source_table = 'transactions')
                or min(coalesce(s.device_id, '')) over versions <> max(coalesce(s.device_id, '')) over versions
                or min(coalesce(s.customer_id, 0)) over versions <> max(coalesce(s.customer_id, 0)) over versions
                or min(s.created_at) over versions <> max(s.created_at) over versions as is_use_changed
        from (select id, min(_lsn) as lsn from delta.transactions where id is not null group by id) d
        join versions.transactions s on s.id = d.id
        window versions as (partition by s.id)
    )
    where is_use_changed and device_id is not null
    group by device_id
)
select id as transaction_id from delta.transactions where id is not null
union
-- Payments since what changed of their merchant is in force.
select p.transaction_id
from changed_merchants m
join curated.payments p on m.id = p.merchant_id and p.created_at >= m.since
where p.created_at >= (select min(since) from changed_merchants)
union
-- Later payments on the same devices.
select p.transaction_id
from changed_devices d
join curated.payments p on d.device_id = p.device_id and p.created_at >= d.since
where p.created_at >= (select min(since) from changed_devices)
union
select s.id as transaction_id
from delta.transactions t
join staged.transactions s on s._kafka_topic = t._kafka_topic
where t._op = 't' and s.id is not null'''
partition = "created_at"
sort = ["created_at"]
not_null = ["merchant_id", "amount", "currency", "status", "created_at", "geo_country", "card_network"]
accepted = { status = ["authorized", "captured", "declined", "refunded", "voided"], geo_source = ["ip", "bin", "unknown"] }

[[tests]]
name = "merchant_known"
severity = "warn"
sql = "select transaction_id from this where merchant_country = '??'"

[[tests]]
name = "merchant_category_known"
severity = "warn"
sql = "select transaction_id, merchant_category_code from this where merchant_category = 'unknown'"

[[tests]]
name = "geo_known"
severity = "warn"
sql = "select transaction_id from this where geo_country = '??' and (ip is not null or card_bin is not null)"

[[tests]]
name = "card_network_known"
severity = "warn"
sql = "select transaction_id, card_bin from this where card_network = 'unknown' and card_bin is not null"

[[tests]]
name = "rate_known"
severity = "warn"
sql = "select transaction_id, currency from this where amount_reporting is null"

[[tests]]
name = "rate_recent"
severity = "warn"
sql = "select transaction_id, currency from this where cast(created_at as date) > exchange_rate_date + interval '40 days'"

[[balances]]
name = "every_payment_once"
with = "curated.payments"
by = "currency"
amount = "amount"
*/
-- The network of the longest prefix of each BIN.
with bins as (
    select card_bin, network, country
    from (
        select
            b.card_bin, r.network, r.country,
            row_number() over (partition by b.card_bin order by length(r.prefix) desc) as nth
        from (select distinct card_bin from curated.payments where card_bin is not null) b
        join seed.bin_ranges r on starts_with(b.card_bin, r.prefix)
    )
    where nth = 1
),
placed as (
    select
        p.*,
        coalesce(m.category_code, '????') as merchant_category_code,
        coalesce(c.category, 'unknown') as merchant_category,
        coalesce(c.risk_tier, 'unknown') as merchant_risk_tier,
        coalesce(m.country, '??') as merchant_country,
        d.device_first_seen,
        d.customers_so_far as device_customers,
        coalesce(b.network, 'unknown') as card_network,
        ip_place.code as ip_country,
        bin_place.code as bin_country,
        f.rate,
        f.rate_date,
        f.reporting_currency,
        f.reporting_units,
        p.amount * f.rate * f.reporting_units as exact_units
    -- There are few BINs, but nothing tells so: they stand first, where they are held in memory.
    from bins b
    right join curated.payments p on p.card_bin = b.card_bin
    left join curated.merchant_history m
        on m.merchant_id = p.merchant_id
        and p.created_at >= m.valid_from and (m.valid_to is null or p.created_at < m.valid_to)
    left join seed.merchant_categories c on c.code = m.category_code
    left join curated.device_customers d
        on d.device_id = p.device_id
        and p.created_at >= d.first_seen and (d.next_first_seen is null or p.created_at < d.next_first_seen)
    left join seed.ip_networks n1 on n1.prefix = split_part(p.ip, '.', 1)
    left join seed.ip_networks n2 on n2.prefix = case when p.ip like '%:%'
        then concat(split_part(p.ip, ':', 1), ':', split_part(p.ip, ':', 2))
        else concat(split_part(p.ip, '.', 1), '.', split_part(p.ip, '.', 2)) end
    left join seed.ip_networks n3
        on n3.prefix = concat(split_part(p.ip, '.', 1), '.', split_part(p.ip, '.', 2), '.', split_part(p.ip, '.', 3))
    left join seed.countries ip_place on ip_place.code = coalesce(n3.country, n2.country, n1.country)
    left join seed.countries bin_place on bin_place.code = b.country
    left join curated.exchange_rates f on f.currency = p.currency and f.day = cast(p.created_at as date)
),
-- Half to even: a cast rounds halves away from zero.
rounded as (
    select *, cast(exact_units as decimal(38, 0)) as whole_units from placed
)
select
    transaction_id,
    customer_id,
    merchant_id,
    merchant_category_code,
    merchant_category,
    merchant_risk_tier,
    merchant_country,
    amount,
    currency,
    cast(case when whole_units - exact_units = 0.5 and whole_units % 2 = 1 then whole_units - 1 else whole_units end
        / reporting_units as decimal(38, 4)) as amount_reporting,
    reporting_currency,
    rate as exchange_rate,
    rate_date as exchange_rate_date,
    status,
    payment_method,
    card_token,
    card_bin,
    card_network,
    terminal_id,
    device_id,
    device_first_seen,
    device_customers,
    ip,
    coalesce(ip_country, bin_country, '??') as geo_country,
    case when ip_country is not null then 'ip' when bin_country is not null then 'bin' else 'unknown' end
        as geo_source,
    risk_score,
    risk_decision,
    risk_scored_at,
    created_at,
    updated_at
from rounded
