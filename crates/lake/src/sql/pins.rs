//! Which state of each table a session sees.
//!
//! The decision is pure: what is asked for, over the snapshots a table keeps. Asked for nothing, a session
//! sees the newest state, with the newest columns; asked for a snapshot or a time, it sees the columns
//! of then.

use super::SqlError;
use crate::LakeError;
use affluent_model::time::format_micros;
use iceberg::spec::{SchemaRef, SnapshotRef};
use iceberg::table::Table;
use std::collections::BTreeMap;

/// What a session wants to see. The default: the newest state of every table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins {
    /// For the tables that are not named.
    pub at: At,
    /// Table as `namespace.name` to the id of a kept snapshot.
    pub snapshots: BTreeMap<String, i64>,
}

/// A point in a lake's history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum At {
    #[default]
    Newest,
    /// The last snapshot that was committed at or before this time, milliseconds UTC.
    Time(i64),
}

/// A table as a session sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableState {
    /// `namespace.name`.
    pub name: String,
    /// `None`: nothing was committed to it yet, or not at the time that was asked for.
    pub snapshot: Option<i64>,
    /// Commit time of the snapshot, milliseconds UTC.
    pub committed_ms: Option<i64>,
    pub rows: u64,
    pub files: u64,
    pub bytes: u64,
}

/// A table pinned at one of its states.
#[derive(Debug, Clone)]
pub(crate) struct Pinned {
    pub(crate) table: Table,
    /// `None`: no rows.
    pub(crate) snapshot: Option<SnapshotRef>,
    pub(crate) schema: SchemaRef,
    /// Commit time of the oldest kept snapshot, where the table is younger than what was asked for:
    /// it may be named, but not read.
    pub(crate) too_early: Option<i64>,
}

impl Pinned {
    /// Finds the state of `table` that `pins` ask for.
    ///
    /// # Errors
    /// [`LakeError::NoSnapshot`] where the named one is not kept.
    pub(crate) fn new(table: Table, pins: &Pins) -> Result<Self, SqlError> {
        let metadata = table.metadata();
        let name = table.identifier().to_string();
        if let Some(&snapshot) = pins.snapshots.get(&name) {
            let found = metadata.snapshot_by_id(snapshot).cloned();
            let found = found.ok_or(LakeError::NoSnapshot { table: name, snapshot })?;
            return Self::then(table, found);
        }
        let At::Time(time) = pins.at else {
            let (snapshot, schema) =
                (metadata.current_snapshot().cloned(), metadata.current_schema().clone());
            return Ok(Pinned { table, snapshot, schema, too_early: None });
        };
        // The history tells what was current when; a snapshot that was rolled back is in it for its time.
        let kept = metadata.history().iter().filter(|log| metadata.snapshot_by_id(log.snapshot_id).is_some());
        let log: Vec<(i64, i64)> = kept.map(|log| (log.timestamp_ms, log.snapshot_id)).collect();
        let found = current_at(&log, time).and_then(|id| metadata.snapshot_by_id(id).cloned());
        match found {
            Some(snapshot) => Self::then(table, snapshot),
            None => {
                let schema = metadata.current_schema().clone();
                let too_early = Some(log.first().map_or_else(|| metadata.last_updated_ms(), |(ms, _)| *ms));
                Ok(Pinned { table, snapshot: None, schema, too_early })
            }
        }
    }

    fn then(table: Table, snapshot: SnapshotRef) -> Result<Self, SqlError> {
        let schema = snapshot.schema(table.metadata()).map_err(LakeError::from)?;
        Ok(Pinned { table, snapshot: Some(snapshot), schema, too_early: None })
    }

    /// Refuses a table that did not exist at the time.
    pub(crate) fn check(&self) -> Result<(), SqlError> {
        match self.too_early {
            None => Ok(()),
            Some(oldest_ms) => Err(SqlError::TooEarly {
                table: self.table.identifier().to_string(),
                oldest: format_micros(oldest_ms.saturating_mul(1_000), true),
            }),
        }
    }

    pub(crate) fn state(&self) -> TableState {
        let total = |key: &str| {
            let summary = &self.snapshot.as_ref()?.summary().additional_properties;
            summary.get(key).and_then(|text| text.parse().ok())
        };
        TableState {
            name: self.table.identifier().to_string(),
            snapshot: self.snapshot.as_ref().map(|snapshot| snapshot.snapshot_id()),
            committed_ms: self.snapshot.as_ref().map(|snapshot| snapshot.timestamp_ms()),
            rows: total("total-records").unwrap_or(0),
            files: total("total-data-files").unwrap_or(0),
            bytes: total("total-files-size").unwrap_or(0),
        }
    }
}

/// The snapshot that was current at `time`, of a history of (since, snapshot), oldest first.
fn current_at(history: &[(i64, i64)], time: i64) -> Option<i64> {
    history.iter().rev().find(|(since, _)| *since <= time).map(|(_, snapshot)| *snapshot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_finds_what_was_current_then() {
        let history = [(100, 1), (200, 2), (200, 3), (300, 1)];
        for (time, expected) in [(99, None), (100, Some(1)), (199, Some(1)), (200, Some(3)), (999, Some(1))] {
            assert_eq!(current_at(&history, time), expected, "{time}");
        }
        assert_eq!(current_at(&[], 5), None);
    }
}
