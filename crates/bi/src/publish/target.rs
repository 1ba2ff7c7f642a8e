//! The PostgreSQL that a version is copied to, within the one transaction of the copy.

use super::PublishError;
use super::copy::write_rows;
use super::tables::{Grant, NewTable, PUBLICATION, Stored, ident, qualified};
use affluent_lake::sql::Rows;
use affluent_warehouse::batch::Version;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::SinkExt as _;
use std::time::Duration;
use tokio_postgres::Transaction;
use tokio_postgres::error::SqlState;

/// How often the old tables are asked for, how long each time, and the pause in which others may read: a reader that
/// goes on for longer is waited for by the next attempt to copy.
const LOCK_ATTEMPTS: u32 = 12;
const LOCK_TIMEOUT_MS: u64 = 5_000;
const LOCK_PAUSE: Duration = Duration::from_secs(1);

/// Whether the table of publications is there, and the schema.
const STORED: &str = "select to_regclass($1) is not null, to_regnamespace($2) is not null";
const EXISTING: &str = "select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace \
    where n.nspname::text = $1 and c.relname::text = any($2)";
/// What others than the owner may do; 0 stands for everybody.
const GRANTS: &str = "select c.relname::text, a.privilege_type, \
    case when a.grantee = 0 then 'public' else quote_ident(r.rolname) end, a.is_grantable \
    from pg_class c join pg_namespace n on n.oid = c.relnamespace cross join lateral aclexplode(c.relacl) a \
    left join pg_roles r on r.oid = a.grantee \
    where n.nspname::text = $1 and c.relname::text = any($2) and a.grantee <> c.relowner \
    and (a.grantee = 0 or r.rolname is not null)";

/// One transaction in the schema.
pub(crate) struct Target<'a> {
    pub(crate) transaction: &'a Transaction<'a>,
    pub(crate) schema: &'a str,
}

impl Target<'_> {
    /// Takes the schema for this transaction; false where another process has it.
    pub(crate) async fn lock(&self) -> Result<bool, PublishError> {
        let key = format!("affluent.publish.{}", self.schema);
        let sql = "select pg_try_advisory_xact_lock(hashtextextended($1, 0))";
        let row = self.transaction.query_one(sql, &[&key]).await;
        Ok(row.map_err(|error| PublishError::postgres("take the schema", &error))?.get(0))
    }

    /// The tables of the last publication. Schema and table of publications are made where they are not there.
    pub(crate) async fn stored(&self) -> Result<Stored, PublishError> {
        let failed =
            |error: tokio_postgres::Error| PublishError::postgres("read what was published last", &error);
        let publication = qualified(self.schema, PUBLICATION);
        let schema = ident(self.schema);
        let there = self.transaction.query_one(STORED, &[&publication, &schema]).await.map_err(failed)?;
        if !there.get::<_, bool>(1) {
            self.run("make the schema", &format!("create schema {schema}")).await?;
        }
        if !there.get::<_, bool>(0) {
            let sql = format!(
                "create table {publication} (table_name text primary key, \
                 version bigint not null, as_of timestamptz, published_at timestamptz not null, \
                 rows bigint not null, copied_at timestamptz not null default now()); \
                 comment on table {publication} is 'Tables of the published warehouse, and of which version they are'"
            );
            self.run("make the table of publications", &sql).await?;
        }
        let sql = format!("select table_name, published_at from {publication}");
        let rows = self.transaction.query(&sql, &[]).await.map_err(failed)?;
        let row = |row: &tokio_postgres::Row| {
            (row.get::<_, String>(0), row.get::<_, DateTime<Utc>>(1).timestamp_micros())
        };
        Ok(rows.iter().map(row).collect())
    }

    /// Which of these names there are in the schema.
    pub(crate) async fn existing(&self, names: &[&String]) -> Result<Vec<String>, PublishError> {
        let rows = self.transaction.query(EXISTING, &[&self.schema, &names]).await;
        let rows = rows.map_err(|error| PublishError::postgres("look for tables", &error))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// What others may do with these tables.
    pub(crate) async fn grants(&self, tables: &[String]) -> Result<Vec<Grant>, PublishError> {
        let rows = self.transaction.query(GRANTS, &[&self.schema, &tables]).await;
        let rows = rows.map_err(|error| PublishError::postgres("read the grants", &error))?;
        let grant = |row: &tokio_postgres::Row| Grant {
            table: row.get(0),
            privilege: row.get(1),
            grantee: row.get(2),
            is_grantable: row.get(3),
        };
        Ok(rows.iter().map(grant).collect())
    }

    /// Makes a table and copies rows into it; how many.
    pub(crate) async fn fill(&self, table: &NewTable, mut rows: Rows) -> Result<u64, PublishError> {
        let name = &table.name;
        let failed = |error: tokio_postgres::Error| PublishError::postgres(format!("copy {name}"), &error);
        self.run(&format!("make {name}"), &table.create()).await?;
        let sql = table.copy();
        let sink = self.transaction.copy_in::<_, Bytes>(sql.as_str()).await.map_err(failed)?;
        let mut sink = std::pin::pin!(sink);
        while let Some(batch) = rows.next_batch().await {
            let mut lines = Vec::new();
            write_rows(&batch?, &mut lines)?;
            sink.send(Bytes::from(lines)).await.map_err(failed)?;
        }
        let count = sink.finish().await.map_err(failed)?;
        self.run(&format!("index {name}"), &table.finish()).await?;
        Ok(count)
    }

    /// Puts `new` in the place of `old`, and writes down what they are of.
    pub(crate) async fn swap(
        &self,
        version: &Version,
        old: &[String],
        new: &[(NewTable, u64)],
    ) -> Result<(), PublishError> {
        for grant in self.grants(old).await? {
            if let Some((table, _)) = new.iter().find(|(table, _)| table.name == grant.table) {
                self.run(&format!("grant {}", table.name), &table.grant(&grant)).await?;
            }
        }
        if !old.is_empty() {
            let old: Vec<String> = old.iter().map(|name| qualified(self.schema, name)).collect();
            let old = old.join(", ");
            self.lock_tables(&old).await?;
            self.run("replace the tables", &format!("drop table {old}")).await?;
        }
        let publication = qualified(self.schema, PUBLICATION);
        self.run("write down the version", &format!("delete from {publication}")).await?;
        let insert = format!(
            "insert into {publication} (table_name, version, as_of, published_at, rows) values ($1, $2, $3, $4, $5)"
        );
        let (as_of, published_at) = (version.as_of.and_then(time), time(version.published_at));
        for (table, rows) in new {
            self.run(&format!("replace {}", table.name), &table.take_place()).await?;
            let rows = i64::try_from(*rows).unwrap_or(i64::MAX);
            let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
                [&table.name, &version.version, &as_of, &published_at, &rows];
            let written = self.transaction.execute(&insert, &values).await;
            written.map_err(|error| PublishError::postgres("write down the version", &error))?;
        }
        Ok(())
    }

    /// Waits until nobody reads the old tables. Whoever comes meanwhile waits behind us, so there are pauses.
    async fn lock_tables(&self, tables: &str) -> Result<(), PublishError> {
        let what = || format!("lock {tables}");
        let sql = format!(
            "savepoint unlocked; set local lock_timeout = {LOCK_TIMEOUT_MS}; lock table {tables} in access exclusive mode"
        );
        let mut attempt = 1;
        loop {
            let Err(error) = self.transaction.batch_execute(&sql).await else { return Ok(()) };
            let is_busy = error.code().is_some_and(|code| {
                *code == SqlState::LOCK_NOT_AVAILABLE || *code == SqlState::T_R_DEADLOCK_DETECTED
            });
            if !is_busy || attempt == LOCK_ATTEMPTS {
                return Err(PublishError::postgres(what(), &error));
            }
            attempt += 1;
            self.run(&what(), "rollback to savepoint unlocked").await?;
            tokio::time::sleep(LOCK_PAUSE).await;
        }
    }

    async fn run(&self, what: &str, sql: &str) -> Result<(), PublishError> {
        self.transaction.batch_execute(sql).await.map_err(|error| PublishError::postgres(what, &error))
    }
}

fn time(micros: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros)
}
