/*
description = "Every valid change of a refund."
task = "clean"
strategy = "incremental"
key = ["_kafka_topic", "_kafka_partition", "_kafka_offset"]
partition = "_kafka_ts"
not_null = ["_op", "_lsn", "_ordinal", "_commit_ts"]
accepted = { _op = ["c", "u", "d", "r", "t"], status = ["requested", "paid", "failed"] }

[columns]
_op = "text"
_lsn = "bigint"
_ordinal = "bigint"
_commit_ts = "timestamp with time zone"
_unchanged = "text[]"
_kafka_topic = "text"
_kafka_partition = "int"
_kafka_offset = "bigint"
_kafka_ts = "timestamp with time zone"
id = "text"
transaction_id = "text"
amount = "decimal(18, 4)"
currency = "text"
reason = "text"
status = "text"
created_at = "timestamp with time zone"
updated_at = "timestamp with time zone"

[[rules]]
name = "key_missing"
when = '''_op <> 't' and id is null'''

[[rules]]
name = "payment_missing"
when = '''_op not in ('d', 't') and transaction_id is null'''

[[rules]]
name = "amount_not_positive"
when = '''_op not in ('d', 't') and (amount is null or cast(amount as decimal(38, 10)) <= 0)'''
[[rules]]
name = "amount_minor_unit"
when = '''_op not in ('d', 't') and cast(amount as decimal(38, 10)) <> case
    when upper(trim(currency)) in (
    'BIF', 'BYR', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF', 'UGX', 'UYI', 'VND', 'VUV', 'XAF',
    'XOF', 'XPF') then cast(cast(cast(amount as decimal(38, 10)) as decimal(38, 0)) as decimal(38, 10))
    when upper(trim(currency)) in ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND') then cast(cast(cast(amount as decimal(38, 10)) as decimal(38, 3)) as decimal(38, 10))
    when upper(trim(currency)) in ('CLF', 'UYW') then cast(cast(cast(amount as decimal(38, 10)) as decimal(38, 4)) as decimal(38, 10))
    else cast(cast(cast(amount as decimal(38, 10)) as decimal(38, 2)) as decimal(38, 10)) end'''

[[rules]]
name = "currency_unknown"
when = '''_op not in ('d', 't') and (currency is null or upper(trim(currency)) not in (
    'AED', 'AFN', 'ALL', 'AMD', 'ANG', 'AOA', 'ARS', 'AUD', 'AWG', 'AZN', 'BAM', 'BBD', 'BDT', 'BGN', 'BHD', 'BIF',
    'BMD', 'BND', 'BOB', 'BOV', 'BRL', 'BSD', 'BTN', 'BWP', 'BYN', 'BYR', 'BZD', 'CAD', 'CDF', 'CHE', 'CHF', 'CHW',
    'CLF', 'CLP', 'CNY', 'COP', 'COU', 'CRC', 'CUC', 'CUP', 'CVE', 'CZK', 'DJF', 'DKK', 'DOP', 'DZD', 'EEK', 'EGP',
    'ERN', 'ETB', 'EUR', 'FJD', 'FKP', 'GBP', 'GEL', 'GHS', 'GIP', 'GMD', 'GNF', 'GTQ', 'GYD', 'HKD', 'HNL', 'HRK',
    'HTG', 'HUF', 'IDR', 'ILS', 'INR', 'IQD', 'IRR', 'ISK', 'JMD', 'JOD', 'JPY', 'KES', 'KGS', 'KHR', 'KMF', 'KPW',
    'KRW', 'KWD', 'KYD', 'KZT', 'LAK', 'LBP', 'LKR', 'LRD', 'LSL', 'LTL', 'LVL', 'LYD', 'MAD', 'MDL', 'MGA', 'MKD',
    'MMK', 'MNT', 'MOP', 'MRO', 'MRU', 'MUR', 'MVR', 'MWK', 'MXN', 'MXV', 'MYR', 'MZN', 'NAD', 'NGN', 'NIO', 'NOK',
    'NPR', 'NZD', 'OMR', 'PAB', 'PEN', 'PGK', 'PHP', 'PKR', 'PLN', 'PYG', 'QAR', 'RON', 'RSD', 'RUB', 'RWF', 'SAR',
    'SBD', 'SCR', 'SDG', 'SEK', 'SGD', 'SHP', 'SKK', 'SLE', 'SLL', 'SOS', 'SRD', 'SSP', 'STD', 'STN', 'SVC', 'SYP',
    'SZL', 'THB', 'TJS', 'TMT', 'TND', 'TOP', 'TRY', 'TTD', 'TWD', 'TZS', 'UAH', 'UGX', 'USD', 'USN', 'UYI', 'UYU',
    'UYW', 'UZS', 'VED', 'VEF', 'VES', 'VND', 'VUV', 'WST', 'XAD', 'XAF', 'XCD', 'XCG', 'XOF', 'XPF', 'YER', 'ZAR',
    'ZMK', 'ZMW', 'ZWG', 'ZWL'))'''

[[rules]]
name = "status_unknown"
when = '''_op not in ('d', 't') and (status is null or lower(trim(status)) not in (
    'requested', 'pending', 'created', 'paid', 'succeeded', 'completed', 'settled', 'failed', 'rejected', 'declined'))'''

[[rules]]
name = "time_unusable"
when = '''_op not in ('d', 't') and (created_at is null or updated_at is null
    or created_at < '2000-01-01T00:00:00Z' or created_at >= '2050-01-01T00:00:00Z')'''
*/
select
    r._op,
    r._lsn,
    r._ordinal,
    r._commit_ts,
    r._unchanged,
    r._kafka_topic,
    r._kafka_partition,
    r._kafka_offset,
    r._kafka_ts,
    lower(trim(r.id)) as id,
    lower(trim(r.transaction_id)) as transaction_id,
    cast(r.amount as decimal(18, 4)) as amount,
    upper(trim(r.currency)) as currency,
    trim(r.reason) as reason,
    s.status,
    r.created_at,
    r.updated_at
from raw.refunds r
left join seed.statuses s on s.entity = 'refunds' and s.source_status = lower(trim(r.status))
