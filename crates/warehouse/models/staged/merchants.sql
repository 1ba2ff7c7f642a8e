/*
description = "Every valid change of a merchant."
task = "clean"
strategy = "incremental"
key = ["_kafka_topic", "_kafka_partition", "_kafka_offset"]
partition = "_kafka_ts"
not_null = ["_op", "_lsn", "_ordinal", "_commit_ts"]
accepted = { _op = ["c", "u", "d", "r", "t"], status = ["active", "suspended", "closed"] }

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
id = "bigint"
name = "text"
category_code = "text"
country = "text"
currency = "text"
status = "text"
fee_rate = "decimal(7, 6)"
created_at = "timestamp with time zone"
updated_at = "timestamp with time zone"

[[rules]]
name = "key_missing"
when = '''_op <> 't' and id is null'''

[[rules]]
name = "country_unknown"
when = '''_op not in ('d', 't') and (country is null or upper(trim(country)) not in (
    'AD', 'AE', 'AF', 'AG', 'AI', 'AL', 'AM', 'AO', 'AQ', 'AR', 'AS', 'AT', 'AU', 'AW', 'AX', 'AZ', 'BA', 'BB', 'BD',
    'BE', 'BF', 'BG', 'BH', 'BI', 'BJ', 'BL', 'BM', 'BN', 'BO', 'BQ', 'BR', 'BS', 'BT', 'BV', 'BW', 'BY', 'BZ', 'CA',
    'CC', 'CD', 'CF', 'CG', 'CH', 'CI', 'CK', 'CL', 'CM', 'CN', 'CO', 'CR', 'CU', 'CV', 'CW', 'CX', 'CY', 'CZ', 'DE',
    'DJ', 'DK', 'DM', 'DO', 'DZ', 'EC', 'EE', 'EG', 'EH', 'ER', 'ES', 'ET', 'FI', 'FJ', 'FK', 'FM', 'FO', 'FR', 'GA',
    'GB', 'GD', 'GE', 'GF', 'GG', 'GH', 'GI', 'GL', 'GM', 'GN', 'GP', 'GQ', 'GR', 'GS', 'GT', 'GU', 'GW', 'GY', 'HK',
    'HM', 'HN', 'HR', 'HT', 'HU', 'ID', 'IE', 'IL', 'IM', 'IN', 'IO', 'IQ', 'IR', 'IS', 'IT', 'JE', 'JM', 'JO', 'JP',
    'KE', 'KG', 'KH', 'KI', 'KM', 'KN', 'KP', 'KR', 'KW', 'KY', 'KZ', 'LA', 'LB', 'LC', 'LI', 'LK', 'LR', 'LS', 'LT',
    'LU', 'LV', 'LY', 'MA', 'MC', 'MD', 'ME', 'MF', 'MG', 'MH', 'MK', 'ML', 'MM', 'MN', 'MO', 'MP', 'MQ', 'MR', 'MS',
    'MT', 'MU', 'MV', 'MW', 'MX', 'MY', 'MZ', 'NA', 'NC', 'NE', 'NF', 'NG', 'NI', 'NL', 'NO', 'NP', 'NR', 'NU', 'NZ',
    'OM', 'PA', 'PE', 'PF', 'PG', 'PH', 'PK', 'PL', 'PM', 'PN', 'PR', 'PS', 'PT', 'PW', 'PY', 'QA', 'RE', 'RO', 'RS',
    'RU', 'RW', 'SA', 'SB', 'SC', 'SD', 'SE', 'SG', 'SH', 'SI', 'SJ', 'SK', 'SL', 'SM', 'SN', 'SO', 'SR', 'SS', 'ST',
    'SV', 'SX', 'SY', 'SZ', 'TC', 'TD', 'TF', 'TG', 'TH', 'TJ', 'TK', 'TL', 'TM', 'TN', 'TO', 'TR', 'TT', 'TV', 'TW',
    'TZ', 'UA', 'UG', 'UM', 'US', 'UY', 'UZ', 'VA', 'VC', 'VE', 'VG', 'VI', 'VN', 'VU', 'WF', 'WS', 'YE', 'YT', 'ZA',
    'ZM', 'ZW'))'''

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
name = "category_malformed"
when = '''_op not in ('d', 't') and (category_code is null or trim(category_code) not like '____')'''

[[rules]]
name = "status_unknown"
when = '''_op not in ('d', 't') and (status is null or lower(trim(status)) not in (
    'active', 'enabled', 'open', 'live', 'suspended', 'blocked', 'paused', 'closed', 'terminated', 'inactive'))'''

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
    r.id,
    trim(r.name) as name,
    trim(r.category_code) as category_code,
    upper(trim(r.country)) as country,
    upper(trim(r.currency)) as currency,
    s.status,
    r.fee_rate,
    r.created_at,
    r.updated_at
from raw.merchants r
left join seed.statuses s on s.entity = 'merchants' and s.source_status = lower(trim(r.status))
