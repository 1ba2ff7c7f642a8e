//! What a database looks like to a capture that has not started: settings, rights, tables, slot, publication.
//!
//! Here the database is looked at, and nothing in it is changed; what is missing, and the SQL that mends it, is decided in
//! [`findings`]. Capture itself never asks this: it makes what it may and says what it lacks.

mod findings;

#[cfg(test)]
mod tests;

pub use findings::{Finding, Severity};

use super::connect::address::Address;
use super::connect::wire::Wire;
use super::{CdcError, CdcOptions, connect, slot};
use affluent_model::TableId;
use futures::future::BoxFuture;
use std::collections::BTreeSet;
use tokio_postgres::{Client, Row};

/// A look that waits longer for the server, or for a lock on a table, is given up.
const LOOK_TIMEOUT: &str = "SET statement_timeout = '30s'";

/// A database as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    pub server: Server,
    pub user: User,
    /// The slot of the options; absent where there is none.
    pub slot: Option<Slot>,
    /// The publication of the options; absent where there is none.
    pub publication: Option<Publication>,
    /// Permanent ordinary and partitioned tables outside the system's schemas, by name, selected or not.
    pub tables: Vec<Table>,
}

/// The server and its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// `server_version_num`: 150004 is 15.4.
    pub version: i32,
    pub database: String,
    pub wal_level: String,
    pub slots_max: i32,
    pub slots_used: i32,
    pub senders_max: i32,
    pub senders_used: i32,
    /// A standby: it takes no writes.
    pub in_recovery: bool,
    /// Write-ahead log that slots may keep, megabytes; negative: without limit.
    pub slot_keep_mb: i64,
}

/// Who we are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub superuser: bool,
    /// Has `REPLICATION`, by itself or as Amazon RDS gives it.
    pub replication: bool,
    /// Has `CREATE` on the database, which publications take.
    pub creates: bool,
    /// Why the server took no replication connection; absent where it did.
    pub refused: Option<String>,
}

/// The replication slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    pub database: String,
    pub plugin: String,
    /// Invalidated: log that it needs is gone.
    pub lost: bool,
}

/// The publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    pub all_tables: bool,
    /// Publishes inserts, updates and deletes.
    pub all_changes: bool,
    /// Publishes partitioned tables under their own names.
    pub via_root: bool,
    pub owned: bool,
    pub tables: BTreeSet<TableId>,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub table: TableId,
    pub partitioned: bool,
    /// Columns of the primary key; empty where it has none.
    pub key: Vec<String>,
    pub identity: ReplicaIdentity,
    /// Rows by the server's statistics: as of the last `ANALYZE`, 0 before the first.
    pub rows: i64,
    /// Bytes on disk, with indexes, TOAST and partitions.
    pub bytes: i64,
    /// May be read by us.
    pub readable: bool,
    pub owned: bool,
    pub columns: Vec<Column>,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// Of a type of texts.
    pub text: bool,
}

/// What PostgreSQL logs of a row that is changed or deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicaIdentity {
    /// The primary key.
    Default,
    /// The columns of another unique index.
    Index,
    /// The whole row.
    Full,
    Nothing,
}

impl Table {
    /// PostgreSQL takes updates and deletes of the table while it is published.
    #[must_use]
    pub fn is_identified(&self) -> bool {
        match self.identity {
            ReplicaIdentity::Default => !self.key.is_empty(),
            ReplicaIdentity::Index | ReplicaIdentity::Full => true,
            ReplicaIdentity::Nothing => false,
        }
    }
}

impl Survey {
    /// The tables that the options select.
    pub fn selected<'a>(&'a self, options: &'a CdcOptions) -> impl Iterator<Item = &'a Table> {
        self.tables.iter().filter(move |found| options.selects(&found.table.schema, &found.table.name))
    }
}

/// Looks at the database of the options. Reads only.
///
/// # Errors
/// [`CdcError::Config`] for a connection that cannot be read, [`CdcError::Postgres`] where the server is not reached or does not answer.
pub fn survey(options: &CdcOptions) -> BoxFuture<'_, Result<Survey, CdcError>> {
    Box::pin(look(options))
}

async fn look(options: &CdcOptions) -> Result<Survey, CdcError> {
    let address = Address::parse(&options.connection)?;
    let client = connect::sql(&address).await?;
    client.batch_execute(LOOK_TIMEOUT).await.map_err(|e| CdcError::sql("set up the session", &e))?;
    let server = server(&client).await?;
    let user = user(&client, &address).await?;
    let slot = slot::slot_state(&client, &options.slot).await?;
    let slot = slot.map(|s| Slot { database: s.database, plugin: s.plugin, lost: s.lost });
    let publication = publication(&client, &options.publication).await?;
    let tables = tables(&client).await?;
    Ok(Survey { server, user, slot, publication, tables })
}

async fn server(client: &Client) -> Result<Server, CdcError> {
    let sql = "SELECT current_setting('server_version_num')::int, current_database()::text, current_setting('wal_level'), \
               current_setting('max_replication_slots')::int, (SELECT count(*)::int FROM pg_replication_slots), \
               current_setting('max_wal_senders')::int, (SELECT count(*)::int FROM pg_stat_replication), \
               pg_is_in_recovery(), \
               (SELECT setting::bigint FROM pg_settings WHERE name = 'max_slot_wal_keep_size')";
    let row =
        client.query_one(sql, &[]).await.map_err(|e| CdcError::sql("read the server's settings", &e))?;
    Ok(Server {
        version: row.get(0),
        database: row.get(1),
        wal_level: row.get(2),
        slots_max: row.get(3),
        slots_used: row.get(4),
        senders_max: row.get(5),
        senders_used: row.get(6),
        in_recovery: row.get(7),
        slot_keep_mb: row.get::<_, Option<i64>>(8).unwrap_or(-1),
    })
}

async fn user(client: &Client, address: &Address) -> Result<User, CdcError> {
    let sql = "SELECT r.rolname::text, r.rolsuper, r.rolreplication OR EXISTS (SELECT 1 FROM pg_roles g \
               WHERE g.rolname = 'rds_replication' AND pg_has_role(g.oid, 'MEMBER')), \
               has_database_privilege(current_database(), 'CREATE') FROM pg_roles r WHERE r.rolname = current_user";
    let row = client.query_one(sql, &[]).await.map_err(|e| CdcError::sql("read our rights", &e))?;
    let refused = Wire::connect(address).await.err().map(|error| error.to_string());
    Ok(User {
        name: row.get(0),
        superuser: row.get(1),
        replication: row.get(2),
        creates: row.get(3),
        refused,
    })
}

async fn publication(client: &Client, name: &str) -> Result<Option<Publication>, CdcError> {
    let sql = "SELECT puballtables, pubinsert AND pubupdate AND pubdelete, pubviaroot, pg_has_role(pubowner, 'USAGE') \
               FROM pg_publication WHERE pubname = $1";
    let row =
        client.query_opt(sql, &[&name]).await.map_err(|e| CdcError::sql("look at the publication", &e))?;
    let Some(row) = row else { return Ok(None) };
    let tables = slot::published(client, name).await?;
    Ok(Some(Publication {
        all_tables: row.get(0),
        all_changes: row.get(1),
        via_root: row.get(2),
        owned: row.get(3),
        tables: tables.into_iter().map(|(schema, table)| TableId::new(schema, table)).collect(),
    }))
}

/// Sizes and statistics of a partitioned table are those of its partitions.
async fn tables(client: &Client) -> Result<Vec<Table>, CdcError> {
    let sql = "SELECT n.nspname::text, c.relname::text, c.relkind = 'p', c.relreplident::text, \
               ARRAY(SELECT a.attname::text FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid \
                     AND a.attnum = ANY (i.indkey) WHERE i.indrelid = c.oid AND i.indisprimary ORDER BY a.attnum), \
               CASE c.relkind WHEN 'p' THEN (SELECT coalesce(sum(greatest(l.reltuples, 0)), 0)::bigint \
                     FROM pg_partition_tree(c.oid) t JOIN pg_class l ON l.oid = t.relid WHERE t.isleaf) \
                    ELSE greatest(c.reltuples, 0)::bigint END, \
               CASE c.relkind WHEN 'p' THEN (SELECT coalesce(sum(pg_total_relation_size(t.relid)), 0)::bigint \
                     FROM pg_partition_tree(c.oid) t) \
                    ELSE coalesce(pg_total_relation_size(c.oid), 0) END, \
               has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'), \
               pg_has_role(c.relowner, 'USAGE'), \
               ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 \
                     AND NOT a.attisdropped ORDER BY a.attnum), \
               ARRAY(SELECT y.typcategory = 'S' FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid \
                     WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) \
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND NOT c.relispartition \
               AND n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2";
    let rows = client.query(sql, &[]).await.map_err(|e| CdcError::sql("list the tables", &e))?;
    Ok(rows.iter().map(table).collect())
}

fn table(row: &Row) -> Table {
    let identity = match row.get::<_, String>(3).as_str() {
        "f" => ReplicaIdentity::Full,
        "i" => ReplicaIdentity::Index,
        "n" => ReplicaIdentity::Nothing,
        _ => ReplicaIdentity::Default,
    };
    let (names, texts): (Vec<String>, Vec<bool>) = (row.get(9), row.get(10));
    let columns = names.into_iter().zip(texts).map(|(name, text)| Column { name, text });
    Table {
        table: TableId::new(row.get::<_, String>(0), row.get::<_, String>(1)),
        partitioned: row.get(2),
        key: row.get(4),
        identity,
        rows: row.get(5),
        bytes: row.get(6),
        readable: row.get(7),
        owned: row.get(8),
        columns: columns.collect(),
    }
}
