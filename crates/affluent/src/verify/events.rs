//! Which clicks or log lines a store has, by their event ids: for what has no database behind it, but
//! a client that knows what was acknowledged.

use affluent_documents::{DocumentStore, Scan};
use affluent_lake::{Lake, LakeError, LakeTable};
use affluent_model::Value;
use affluent_model::names::NAMESPACE_RAW;
use anyhow::Context as _;
use uuid::Uuid;

/// Documents that are read at once.
const PAGE: usize = 5_000;

/// The ids of a collection's documents.
///
/// # Errors
/// The store, or an id that is no UUID.
pub(crate) async fn in_documents(store: &dyn DocumentStore, collection: &str) -> anyhow::Result<Vec<Uuid>> {
    let (mut ids, mut scan) = (Vec::new(), Scan::all(PAGE));
    loop {
        let page = store.scan(collection, &scan).await?;
        for document in page.documents {
            ids.push(Uuid::parse_str(&document.id).context("event id")?);
        }
        scan.after = page.next;
        if scan.after.is_none() {
            return Ok(ids);
        }
    }
}

/// The event ids of a raw table, one for each row.
///
/// # Errors
/// The lake, or an id that is no UUID.
pub(crate) async fn in_lake(lake: &Lake, table: &str) -> anyhow::Result<Vec<Uuid>> {
    let Some(table) = raw(lake, table).await? else { return Ok(Vec::new()) };
    let columns = vec!["event_id".to_owned()];
    let mut stream = table.scan(affluent_lake::Scan { columns, ..affluent_lake::Scan::default() }).await?;
    let mut ids = Vec::new();
    while let Some(rows) = stream.next().await {
        for row in rows? {
            if let Some(Value::Text(id)) = row.first() {
                ids.push(Uuid::parse_str(id).context("event id")?);
            }
        }
    }
    Ok(ids)
}

/// Rows of the newest snapshot of a raw table; none where there is no table yet.
///
/// # Errors
/// The lake.
pub(crate) async fn rows_in_lake(lake: &Lake, table: &str) -> anyhow::Result<u64> {
    let Some(table) = raw(lake, table).await? else { return Ok(0) };
    Ok(table.snapshots().await?.last().map_or(0, |snapshot| snapshot.rows))
}

async fn raw(lake: &Lake, table: &str) -> anyhow::Result<Option<LakeTable>> {
    match lake.table(NAMESPACE_RAW, table).await {
        Ok(table) => Ok(Some(table)),
        Err(LakeError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
