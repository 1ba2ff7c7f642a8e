//! The table of a set, and how far it has the rows.

use super::rows::{self, Rows};
use super::{NAMESPACE, Planned, TrainingRows, TrainingSet};
use crate::history::HistoryError;
use crate::offline::{Offline, Writer, digest};
use affluent_lake::{Advance, LakeError, LakeTable, Partition};
use affluent_telemetry::failpoint;
use std::sync::Arc;

pub(super) struct Output {
    table: LakeTable,
    name: String,
    topic: Arc<str>,
    stored: Option<i64>,
}

impl Output {
    pub(super) async fn open(
        offline: &Offline,
        set: &TrainingSet,
        planned: &Planned,
    ) -> Result<Self, HistoryError> {
        let name = format!("training_{}", set.name);
        let topic: Arc<str> = format!("rows@{}", digest(&planned.meaning)).into();
        let failed = |what: &str| HistoryError::lake(format!("{what} features.{name}"));
        match offline.lake().table(NAMESPACE, &name).await {
            Err(LakeError::NotFound(_)) => {}
            Err(error) => return Err(failed("open")(error)),
            Ok(table) => {
                let offsets = table.offsets().await.map_err(failed("open"))?;
                if let Some((other, _, _)) = offsets.iter().find(|(other, _, _)| *other != &*topic) {
                    return Err(HistoryError::Definition(format!(
                        "features.{name} is another training set ({other}): its times, label or features differ, or what a feature \
                         means has changed; give this one another name"
                    )));
                }
            }
        }
        let columns = rows::columns(&planned.places, set.label.is_some());
        let made = offline.lake().ensure_table(NAMESPACE, &name, &columns, &Partition::None).await;
        let table = made.map_err(failed("make"))?;
        let stored = table.offsets().await.map_err(failed("open"))?.get(&topic, 0);
        Ok(Output { table, name, topic, stored })
    }

    /// Appends the rows that the table has not yet; they come in the same order each time.
    pub(super) async fn write(
        &mut self,
        rows: Rows,
        writer: &dyn Writer,
        done: &mut TrainingRows,
    ) -> Result<(), HistoryError> {
        let count = rows.len();
        if count == 0 {
            return Ok(());
        }
        let first = i64::try_from(done.rows).unwrap_or(i64::MAX);
        done.rows += count as u64;
        let next = i64::try_from(done.rows).unwrap_or(i64::MAX);
        let stored = self.stored.unwrap_or(0);
        if stored >= next {
            return Ok(());
        }
        let skipped = usize::try_from((stored - first).max(0)).unwrap_or(usize::MAX).min(count);
        let failed = || HistoryError::lake(format!("write features.{}", self.name));
        let batch = rows.batch().map_err(|error| failed()(error.into()))?.slice(skipped, count - skipped);
        let advance = self.advance(0, self.stored, next);
        writer.permit().await?;
        failpoint("training::before_commit");
        self.table.append_batches(vec![batch], vec![advance]).await.map_err(failed())?;
        failpoint("training::after_commit");
        self.stored = Some(next);
        done.written += (count - skipped) as u64;
        Ok(())
    }

    /// The table's name.
    pub(super) fn table(&self) -> String {
        self.table.name()
    }

    /// Notes that all rows are there.
    pub(super) async fn complete(&self, writer: &dyn Writer, rows: u64) -> Result<(), HistoryError> {
        let failed = || HistoryError::lake(format!("write features.{}", self.name));
        let stored = self.table.offsets().await.map_err(failed())?.get(&self.topic, 1);
        if stored.is_some() {
            return Ok(());
        }
        writer.permit().await?;
        let advance = self.advance(1, None, i64::try_from(rows).unwrap_or(i64::MAX));
        self.table.append_batches(Vec::new(), vec![advance]).await.map_err(failed())?;
        Ok(())
    }

    fn advance(&self, partition: i32, expected: Option<i64>, next: i64) -> Advance {
        Advance { topic: Arc::clone(&self.topic), partition, expected, next }
    }
}
