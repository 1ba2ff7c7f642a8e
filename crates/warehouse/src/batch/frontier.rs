//! Up to where the staged zone is taken further: the offsets of the table `ops.batch_frontier`.
//!
//! Invariant: every table above the staged zone is computed up to the frontier, never past it. So tables
//! that are computed one after the other, in any number of processes, agree on what has happened.

use super::window::{lower, of_topics};
use super::{Batch, BatchError};
use affluent_lake::{Advance, LakeTable, Offsets, Partition, RowBatch};
use affluent_model::{Column, ColumnType, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const TABLE: (&str, &str) = ("ops", "batch_frontier");
/// Its one column: everything that had arrived in the raw zone by this time is before the frontier.
const AS_OF: &str = "as_of";

/// The frontier, and which topics each staged table holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Frontier {
    pub(crate) end: Offsets,
    topics: BTreeMap<String, BTreeSet<String>>,
}

impl Frontier {
    /// The part of the frontier that is about these staged tables.
    pub(crate) fn behind(&self, staged: &BTreeSet<String>) -> Offsets {
        let topics = staged.iter().filter_map(|table| self.topics.get(table)).flatten().cloned().collect();
        of_topics(&self.end, &topics)
    }

    /// The topics of one staged table.
    pub(crate) fn topics(&self, staged: &str) -> BTreeSet<String> {
        self.topics.get(staged).cloned().unwrap_or_default()
    }

    /// The same of one staged table.
    pub(crate) fn of(&self, staged: &str) -> Offsets {
        of_topics(&self.end, &self.topics(staged))
    }
}

impl Batch {
    /// The frontier as it stands.
    pub(crate) async fn frontier(&self) -> Result<Frontier, BatchError> {
        let end = self.offsets(&format!("{}.{}", TABLE.0, TABLE.1)).await?;
        let mut topics = BTreeMap::new();
        for staged in self.models.staged() {
            let offsets = self.offsets(&staged).await?;
            let own: BTreeSet<String> = offsets.iter().map(|(topic, _, _)| topic.to_owned()).collect();
            topics.insert(staged, own);
        }
        Ok(Frontier { end, topics })
    }

    /// Moves the frontier to what the staged tables hold. `as_of` is a time before the raw tables were looked at,
    /// microseconds UTC. True where it moved.
    pub(crate) async fn advance_frontier(&self, as_of: i64) -> Result<bool, BatchError> {
        let mut end = Offsets::default();
        for staged in self.models.staged() {
            end = lower(&end, &self.offsets(&staged).await?);
        }
        let table = self.frontier_table().await?;
        let stored = table.offsets().await.map_err(BatchError::lake("read ops.batch_frontier"))?;
        let advances: Vec<Advance> = end
            .iter()
            .filter(|(topic, partition, next)| *next > stored.get(topic, *partition).unwrap_or(0))
            .map(|(topic, partition, next)| {
                let expected = stored.get(topic, partition);
                Advance { topic: topic.into(), partition, expected, next }
            })
            .collect();
        if advances.is_empty() {
            return Ok(false);
        }
        let batch = RowBatch { columns: columns(), rows: vec![vec![Value::TimestampTz(as_of)]] };
        table
            .append(Arc::new(batch), advances)
            .await
            .map_err(BatchError::lake("advance ops.batch_frontier"))?;
        Ok(true)
    }

    /// The time up to which everything that had arrived is before the frontier, microseconds UTC.
    pub(crate) async fn as_of(&self) -> Result<Option<i64>, BatchError> {
        if self.find(&format!("{}.{}", TABLE.0, TABLE.1)).await?.is_none() {
            return Ok(None);
        }
        let session = self.any_session().await?;
        let text = "select max(as_of) from ops.batch_frontier";
        let rows =
            super::rows::Collected::of(&session, text).await.map_err(BatchError::sql("read the frontier"))?;
        Ok(rows.batches.first().and_then(|batch| super::rows::number(batch, 0, 0)))
    }

    async fn frontier_table(&self) -> Result<LakeTable, BatchError> {
        self.lake
            .ensure_table(TABLE.0, TABLE.1, &columns(), &Partition::None)
            .await
            .map_err(BatchError::lake("make ops.batch_frontier"))
    }
}

fn columns() -> Arc<[Column]> {
    Arc::new([Column { name: AS_OF.to_owned(), column_type: ColumnType::TimestampTz, nullable: true }])
}
