-- What was captured, refunded and disputed, by currency, to the cent.
select currency, count(*) as payments, sum(amount) as captured, sum(refunded_amount) as refunded,
    sum(disputed_amount) as disputed, sum(amount - refunded_amount) as net
from dwh.fact_transactions
where status in ('captured', 'refunded')
group by currency
order by currency
