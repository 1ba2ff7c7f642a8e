/*
description = "Every valid change of a customer."
task = "clean"
strategy = "incremental"
key = ["_kafka_topic", "_kafka_partition", "_kafka_offset"]
partition = "_kafka_ts"
not_null = ["_op", "_lsn", "_ordinal", "_commit_ts"]
accepted = { _op = ["c", "u", "d", "r", "t"], status = ["active", "blocked", "closed"] }

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
email = "text"
full_name = "text"
phone = "text"
country = "text"
birth_date = "date"
kyc_level = "int"
status = "text"
marketing_opt_in = "boolean"
preferences = "text"
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
name = "status_unknown"
when = '''_op not in ('d', 't') and (status is null or lower(trim(status)) not in (
    'active', 'enabled', 'open', 'blocked', 'suspended', 'frozen', 'locked', 'closed', 'deleted', 'inactive',
    'terminated'))'''

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
    trim(r.email) as email,
    trim(r.full_name) as full_name,
    trim(r.phone) as phone,
    upper(trim(r.country)) as country,
    r.birth_date,
    cast(r.kyc_level as int) as kyc_level,
    s.status,
    r.marketing_opt_in,
    r.preferences,
    r.created_at,
    r.updated_at
from raw.customers r
left join seed.statuses s on s.entity = 'customers' and s.source_status = lower(trim(r.status))
