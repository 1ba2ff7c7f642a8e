//! Publication and slot: looked at, created where allowed, otherwise explained as SQL.

use super::catalog::{Catalog, SourceTable};
use super::connect::{quote_ident, quote_literal};
use super::{CdcError, CdcOptions};
use affluent_model::Lsn;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

/// The slot as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SlotState {
    /// Everything up to here was confirmed, LSN.
    pub(crate) confirmed: u64,
    pub(crate) database: String,
    pub(crate) plugin: String,
    /// Invalidated: log that it needs is gone.
    pub(crate) lost: bool,
}

/// Checks that the server can do logical replication at all.
pub(crate) async fn check_server(client: &Client) -> Result<(), CdcError> {
    let sql = "SELECT current_setting('server_version_num')::int, current_setting('wal_level')";
    let row =
        client.query_one(sql, &[]).await.map_err(|e| CdcError::sql("read the server's settings", &e))?;
    let (version, wal_level): (i32, String) = (row.get(0), row.get(1));
    if version < 140_000 {
        return Err(CdcError::Setup(format!(
            "PostgreSQL {} is too old: 14 is the first supported",
            version / 10_000
        )));
    }
    if wal_level != "logical" {
        return Err(CdcError::Setup(format!(
            "wal_level is `{wal_level}`, change capture needs `logical`. As a superuser:\n  \
             ALTER SYSTEM SET wal_level = 'logical';\nthen restart PostgreSQL (max_replication_slots and \
             max_wal_senders must leave room for one more)"
        )));
    }
    Ok(())
}

/// The server's replication timeout, of which the status interval must stay well below.
pub(crate) async fn wal_sender_timeout(client: &Client) -> Result<Duration, CdcError> {
    let sql = "SELECT setting::bigint FROM pg_settings WHERE name = 'wal_sender_timeout'";
    let row =
        client.query_opt(sql, &[]).await.map_err(|e| CdcError::sql("read the server's settings", &e))?;
    let millis = row.map_or(60_000, |row| row.get::<_, i64>(0));
    Ok(Duration::from_millis(u64::try_from(millis).ok().filter(|&m| m > 0).unwrap_or(60_000)))
}

/// The slot, if there is one.
pub(crate) async fn slot_state(client: &Client, slot: &str) -> Result<Option<SlotState>, CdcError> {
    let sql = "SELECT coalesce(confirmed_flush_lsn, '0/0')::text, coalesce(database, '')::text, \
               coalesce(plugin, '')::text, coalesce(wal_status = 'lost', false) \
               FROM pg_replication_slots WHERE slot_name = $1";
    let row = client.query_opt(sql, &[&slot]).await.map_err(|e| CdcError::sql("look at the slot", &e))?;
    row.map(|row| {
        let confirmed = parse_lsn(row.get(0))?;
        Ok(SlotState { confirmed, database: row.get(1), plugin: row.get(2), lost: row.get(3) })
    })
    .transpose()
}

/// Whether the server is a standby, or still recovers.
pub(crate) async fn in_recovery(client: &Client) -> Result<bool, CdcError> {
    let row = client.query_one("SELECT pg_is_in_recovery()", &[]).await;
    row.map(|row| row.get(0)).map_err(|e| CdcError::sql("look at the server", &e))
}

/// The end of the write-ahead log, LSN.
pub(crate) async fn wal_end(client: &Client) -> Result<u64, CdcError> {
    let sql = "SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() \
               ELSE pg_current_wal_insert_lsn() END)::text";
    let row = client.query_one(sql, &[]).await.map_err(|e| CdcError::sql("read the log position", &e))?;
    parse_lsn(row.get(0))
}

/// Bytes of log that the slot keeps.
pub(crate) async fn retained_bytes(client: &Client, slot: &str) -> Result<Option<u64>, CdcError> {
    let sql = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), restart_lsn)::bigint \
               FROM pg_replication_slots WHERE slot_name = $1";
    let row = client.query_opt(sql, &[&slot]).await.map_err(|e| CdcError::sql("look at the slot", &e))?;
    Ok(row.and_then(|row| row.get::<_, Option<i64>>(0)).and_then(|bytes| u64::try_from(bytes).ok()))
}

/// Creates the slot; returns its consistent point, LSN. Waits for transactions that are running.
pub(crate) async fn create_slot(client: &Client, options: &CdcOptions) -> Result<u64, CdcError> {
    let sql = format!(
        "SELECT lsn::text FROM pg_create_logical_replication_slot({}, 'pgoutput')",
        quote_literal(&options.slot)
    );
    if !options.manage {
        return Err(manual("the replication slot is missing", &[sql]));
    }
    let rows = client.query(&sql, &[]).await.map_err(|e| denied("create the replication slot", &e, &sql))?;
    let row = rows.first().ok_or_else(|| CdcError::Setup("the server returned no slot".into()))?;
    parse_lsn(row.get(0))
}

/// Drops the slot where it exists.
pub(crate) async fn drop_slot(client: &Client, options: &CdcOptions) -> Result<(), CdcError> {
    let sql = format!("SELECT pg_drop_replication_slot({})", quote_literal(&options.slot));
    if !options.manage {
        return Err(manual("the replication slot must be made anew", &[sql]));
    }
    client.query(&sql, &[]).await.map(drop).map_err(|e| denied("drop the replication slot", &e, &sql))
}

/// Makes the publication hold exactly what is selected at least: creates it, adds what is missing.
/// Returns the tables that were added to an existing publication.
pub(crate) async fn ensure_publication(
    catalog: &mut Catalog,
    options: &CdcOptions,
    selected: &[SourceTable],
) -> Result<Vec<SourceTable>, CdcError> {
    let client = catalog.client().await?;
    let publication = quote_ident(&options.publication);
    let sql = "SELECT puballtables, pubinsert AND pubupdate AND pubdelete, pubviaroot FROM pg_publication WHERE pubname = $1";
    let found = client.query_opt(sql, &[&options.publication]).await;
    let found = found.map_err(|e| CdcError::sql("look at the publication", &e))?;
    let list =
        |tables: &[SourceTable]| tables.iter().map(SourceTable::sql_name).collect::<Vec<_>>().join(", ");
    let Some(found) = found else {
        let tables =
            if selected.is_empty() { String::new() } else { format!(" FOR TABLE {}", list(selected)) };
        let sql =
            format!("CREATE PUBLICATION {publication}{tables} WITH (publish_via_partition_root = true)");
        if !options.manage {
            return Err(manual("the publication is missing", &[sql]));
        }
        client.batch_execute(&sql).await.map_err(|e| denied("create the publication", &e, &sql))?;
        tracing::info!(publication = options.publication, tables = selected.len(), "publication created");
        return Ok(Vec::new());
    };
    if !found.get::<_, bool>(1) {
        let sql =
            format!("ALTER PUBLICATION {publication} SET (publish = 'insert, update, delete, truncate')");
        return Err(manual("the publication leaves out changes", &[sql]));
    }
    if !found.get::<_, bool>(2) && selected.iter().any(|table| table.partitioned) {
        let sql = format!("ALTER PUBLICATION {publication} SET (publish_via_partition_root = true)");
        return Err(CdcError::Setup(format!(
            "the publication names partitions, not the partitioned tables that are selected. Run:\n  {sql};"
        )));
    }
    if found.get::<_, bool>(0) {
        return Ok(Vec::new());
    }
    let published = published(client, &options.publication).await?;
    let missing: Vec<SourceTable> = selected
        .iter()
        .filter(|t| !published.contains(&(t.table.schema.clone(), t.table.name.clone())))
        .cloned()
        .collect();
    if missing.is_empty() {
        return Ok(missing);
    }
    let sql = format!("ALTER PUBLICATION {publication} ADD TABLE {}", list(&missing));
    if !options.manage {
        return Err(manual("tables are selected that the publication lacks", &[sql]));
    }
    client.batch_execute(&sql).await.map_err(|e| denied("add tables to the publication", &e, &sql))?;
    tracing::info!(
        publication = options.publication,
        tables = list(&missing),
        "tables added to the publication"
    );
    Ok(missing)
}

/// Schema and name of what a publication holds.
pub(crate) async fn published(
    client: &Client,
    publication: &str,
) -> Result<BTreeSet<(String, String)>, CdcError> {
    let sql = "SELECT schemaname::text, tablename::text FROM pg_publication_tables WHERE pubname = $1";
    let rows =
        client.query(sql, &[&publication]).await.map_err(|e| CdcError::sql("read the publication", &e))?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Waits until every transaction that may be running now has ended, so that a new snapshot sees all
/// whose commit record is written already (a commit is in the log before it is visible).
pub(crate) async fn wait_for_running(client: &Client) -> Result<(), CdcError> {
    let read = |row: &tokio_postgres::Row| row.get::<_, String>(0).parse::<u64>().unwrap_or(0);
    let one = |sql: &'static str| async move {
        client.query_one(sql, &[]).await.map_err(|e| CdcError::sql("read the running transactions", &e))
    };
    let limit = read(&one("SELECT pg_snapshot_xmax(pg_current_snapshot())::text").await?);
    for round in 0_u64.. {
        if read(&one("SELECT pg_snapshot_xmin(pg_current_snapshot())::text").await?) >= limit {
            break;
        }
        if round % 200 == 100 {
            tracing::warn!("the snapshot waits for transactions that were open when it was asked for");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

pub(crate) fn parse_lsn(text: &str) -> Result<u64, CdcError> {
    text.parse::<Lsn>().map(|lsn| lsn.0).map_err(|e| CdcError::Protocol(e.to_string()))
}

fn manual(what: &str, sql: &[String]) -> CdcError {
    CdcError::Setup(format!("{what}, and cdc.manage is off. Run:\n  {};", sql.join(";\n  ")))
}

fn denied(what: &'static str, error: &tokio_postgres::Error, sql: &str) -> CdcError {
    let code = error.code();
    if code == Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
        let detail = error.as_db_error().map(|e| e.message().to_owned()).unwrap_or_default();
        return CdcError::Setup(format!("may not {what} ({detail}). As a user who may, run:\n  {sql};"));
    }
    if code == Some(&SqlState::CONFIGURATION_LIMIT_EXCEEDED) {
        let detail = error.as_db_error().map(|e| e.message().to_owned()).unwrap_or_default();
        return CdcError::Setup(format!("cannot {what}: {detail}; raise max_replication_slots"));
    }
    CdcError::sql(what, error)
}
