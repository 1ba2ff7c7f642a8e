/*
description = "Every device that payments name, and one row for payments without. device_key: hash of the id."
task = "load"
strategy = "upsert"
key = ["device_key"]
from = "curated.device_customers"
unit = { device_id = "device_id" }
# As in curated.device_customers; '' is the row for payments without a device.
changes = '''
select device_id from versions.transactions where device_id is not null
union
select s.device_id
from delta.transactions t
join staged.transactions s on s._kafka_topic = t._kafka_topic
where t._op = 't' and s.device_id is not null
union
select '' as device_id from delta.transactions'''
sort = ["device_id"]
not_null = ["device_id", "customers", "payments"]
*/
select
    substr(md5(concat('device:', device_id)), 1, 16) as device_key,
    device_id,
    min(first_seen) as first_seen,
    max(last_seen) as last_seen,
    sum(case when customer_id = 0 then 0 else 1 end) as customers,
    sum(payments) as payments
from curated.device_customers
group by device_id
union all
select '0000000000000000', '', null, null, 0, 0
