//! `ops.erasures`: who asked for which erasure, when, and what was removed where. The person is there as a keyed hash alone.
//!
//! An erasure is a row `begun`, one `removed` for each store, and one `done`: where `done` is missing, it was cut off and is to be repeated.

use super::Removed;
use super::person::Person;
use affluent_lake::{Lake, LakeError, Partition, RowBatch, Scan};
use affluent_model::names::NAMESPACE_OPS;
use affluent_model::{Column, ColumnType, Row, Value, time::now_micros};
use anyhow::Context as _;
use std::collections::HashSet;
use std::sync::Arc;
use uuid::Uuid;

const TABLE: &str = "erasures";

/// One erasure of one person.
#[derive(Debug, Clone)]
pub(super) struct Erasure {
    id: Uuid,
    subject: String,
    asked_by: String,
}

impl Erasure {
    /// Notes that it begins.
    ///
    /// # Errors
    /// Disk and catalog.
    pub(super) async fn begin(lake: &Lake, person: &Person, asked_by: &str) -> anyhow::Result<Self> {
        let erasure =
            Erasure { id: Uuid::now_v7(), subject: person.hash.clone(), asked_by: asked_by.to_owned() };
        erasure.note(lake, vec![erasure.row("begun", None)]).await?;
        Ok(erasure)
    }

    /// Notes what was removed.
    ///
    /// # Errors
    /// Disk and catalog.
    pub(super) async fn removed(&self, lake: &Lake, removed: &[Removed]) -> anyhow::Result<()> {
        let rows: Vec<Row> = removed.iter().map(|removed| self.row("removed", Some(removed))).collect();
        if rows.is_empty() { Ok(()) } else { self.note(lake, rows).await }
    }

    /// Notes that it is done.
    ///
    /// # Errors
    /// Disk and catalog.
    pub(super) async fn done(&self, lake: &Lake) -> anyhow::Result<()> {
        self.note(lake, vec![self.row("done", None)]).await
    }

    fn row(&self, state: &str, removed: Option<&Removed>) -> Row {
        let count = |removed: &Removed| Value::Int(i64::try_from(removed.rows).unwrap_or(i64::MAX));
        vec![
            Value::Text(self.id.to_string()),
            Value::Text(self.subject.clone()),
            Value::Text(self.asked_by.clone()),
            Value::Text(state.to_owned()),
            removed.map_or(Value::Null, |removed| Value::Text(removed.store.clone())),
            removed.map_or(Value::Null, count),
            Value::TimestampTz(now_micros()),
        ]
    }

    async fn note(&self, lake: &Lake, rows: Vec<Row>) -> anyhow::Result<()> {
        let columns = columns();
        let table = lake
            .ensure_table(NAMESPACE_OPS, TABLE, &columns, &Partition::None)
            .await
            .context("make ops.erasures")?;
        table.append(Arc::new(RowBatch { columns, rows }), Vec::new()).await.context("write ops.erasures")?;
        Ok(())
    }
}

/// The hashes of those whose erasure is done.
///
/// # Errors
/// Disk and catalog.
pub(super) async fn subjects(lake: &Lake) -> anyhow::Result<HashSet<String>> {
    let mut subjects = HashSet::new();
    let table = match lake.table(NAMESPACE_OPS, TABLE).await {
        Ok(table) => table,
        Err(LakeError::NotFound(_)) => return Ok(subjects),
        Err(error) => return Err(error).context("open ops.erasures"),
    };
    let columns = vec!["subject".to_owned(), "state".to_owned()];
    let mut rows = table.scan(Scan { columns, ..Scan::default() }).await.context("read ops.erasures")?;
    while let Some(batch) = rows.next().await {
        for row in batch.context("read ops.erasures")? {
            if let [Value::Text(subject), Value::Text(state)] = row.as_slice()
                && state == "done"
            {
                subjects.insert(subject.clone());
            }
        }
    }
    Ok(subjects)
}

fn columns() -> Arc<[Column]> {
    let column = |name: &str, column_type| Column { name: name.to_owned(), column_type, nullable: true };
    Arc::new([
        column("erasure", ColumnType::Text),
        column("subject", ColumnType::Text),
        column("asked_by", ColumnType::Text),
        column("state", ColumnType::Text),
        column("store", ColumnType::Text),
        column("rows", ColumnType::Int64),
        column("at", ColumnType::TimestampTz),
    ])
}
