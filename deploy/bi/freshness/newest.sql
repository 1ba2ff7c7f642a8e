-- Up to when the warehouse knows of each kind of event.
select 'payments' as source, count(*) as events, max(updated_at) as newest from dwh.fact_transactions
union all
select 'refunds', count(*), max(updated_at) from dwh.fact_refunds
union all
select 'disputes', count(*), max(updated_at) from dwh.fact_disputes
union all
select 'scores', count(*), max(risk_scored_at) from dwh.fact_fraud
union all
select 'sessions', count(*), max(ended_at) from dwh.fact_clickstream
order by source
