-- The least that Affluent needs in a payments database: a role of its own that replicates, and reads what is captured. Nothing else.
--
-- Run by psql in that database, as a superuser or as the owner of the tables, after changing the names of schema and tables to yours;
-- `affluent config check --connect` says whether something is missing. Applying it twice changes nothing. Afterwards:
--
--   \password affluent
--
-- and let the role in, by TLS, by one line of pg_hba.conf for this database. Logical replication is matched by the name of the database;
-- a line for the pseudo-database `replication` is not needed, and would let the role copy the whole cluster:
--
--   hostssl  shop  affluent  10.0.0.0/8  scram-sha-256

do $$
begin
    if not exists (select 1 from pg_roles where rolname = 'affluent') then
        create role affluent;
    end if;
end
$$;
-- On Amazon RDS: alter role affluent login; grant rds_replication to affluent;
alter role affluent login replication connection limit 20;

-- What is captured is read once before its changes, and compared by `affluent verify`.
grant usage on schema public to affluent;
grant select on customers, merchants, transactions, refunds, disputes to affluent;

-- The publication belongs to the owner of the tables, so the role cannot widen what is published. A new table is added by its owner:
--   alter publication affluent add table public.invoices;  grant select on public.invoices to affluent;
do $$
begin
    if not exists (select 1 from pg_publication where pubname = 'affluent') then
        create publication affluent for table customers, merchants, transactions, refunds, disputes
            with (publish_via_partition_root = true);
    end if;
end
$$;

-- Only where scores are written back, and only these columns (`score.stream.write_back`).
grant update (risk_score, risk_decision, risk_scored_at) on transactions to affluent;
