-- Disputes by kind of reason and status, and what they cost.
select coalesce(reason_category, 'unknown') as reason, status, count(*) as disputes, sum(amount_reporting) as amount,
    sum(lost_amount_reporting) as lost
from dwh.fact_disputes
group by coalesce(reason_category, 'unknown'), status
order by disputes desc, reason, status
