-- Net revenue by month and currency: what was captured, less what was refunded and what disputes cost.
with paid as (
    select d.year_month, f.currency, sum(f.amount) as amount, sum(f.amount_reporting) as amount_reporting, count(*) as payments
    from dwh.fact_transactions f
    join dwh.dim_date d on d.date_key = f.date_key
    where f.status in ('captured', 'refunded')
    group by d.year_month, f.currency
),
refunded as (
    select d.year_month, f.currency, sum(f.amount) as amount, sum(f.amount_reporting) as amount_reporting
    from dwh.fact_refunds f
    join dwh.dim_date d on d.date_key = f.date_key
    where f.status = 'paid'
    group by d.year_month, f.currency
),
lost as (
    select d.year_month, f.currency, sum(f.lost_amount) as amount, sum(f.lost_amount_reporting) as amount_reporting
    from dwh.fact_disputes f
    join dwh.dim_date d on d.date_key = f.date_key
    where f.status = 'lost'
    group by d.year_month, f.currency
),
months as (
    select year_month, currency from paid
    union
    select year_month, currency from refunded
    union
    select year_month, currency from lost
)
select
    m.year_month as month,
    m.currency,
    coalesce(p.payments, 0) as payments,
    coalesce(p.amount, 0) as captured,
    coalesce(r.amount, 0) as refunded,
    coalesce(l.amount, 0) as lost,
    coalesce(p.amount, 0) - coalesce(r.amount, 0) - coalesce(l.amount, 0) as net,
    cast(coalesce(p.amount_reporting, 0) - coalesce(r.amount_reporting, 0) - coalesce(l.amount_reporting, 0)
        as decimal(38, 4)) as net_reporting
from months m
left join paid p on p.year_month = m.year_month and p.currency = m.currency
left join refunded r on r.year_month = m.year_month and r.currency = m.currency
left join lost l on l.year_month = m.year_month and l.currency = m.currency
order by month, net_reporting desc, currency
