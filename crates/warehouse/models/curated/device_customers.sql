/*
description = "Which customers used a device, in the order of their first payment on it, with how many there were until the next one came. Customer 0: payments without one."
task = "enrich"
strategy = "upsert"
key = ["device_id", "customer_id"]
from = "curated.payments"
unit = { device_id = "device_id" }
# Every device that any version of a changed payment names.
changes = '''
select device_id from versions.transactions where device_id is not null
union
select s.device_id
from delta.transactions t
join staged.transactions s on s._kafka_topic = t._kafka_topic
where t._op = 't' and s.device_id is not null'''
sort = ["device_id", "first_seen"]
not_null = ["first_seen", "device_first_seen"]
*/
with uses as (
    select
        device_id,
        coalesce(customer_id, 0) as customer_id,
        min(created_at) as first_seen,
        max(created_at) as last_seen,
        count(*) as payments
    from curated.payments
    where device_id is not null
    group by device_id, coalesce(customer_id, 0)
)
select
    device_id,
    customer_id,
    first_seen,
    last_seen,
    payments,
    min(first_seen) over (partition by device_id) as device_first_seen,
    sum(case when customer_id = 0 then 0 else 1 end) over so_far as customers_so_far,
    lead(first_seen) over (partition by device_id order by first_seen, customer_id) as next_first_seen
from uses
window so_far as (partition by device_id order by first_seen, customer_id
    rows between unbounded preceding and current row)
