//! One change of one row, as it travels from the source to every sink.

use crate::{Position, Row, TableSchema, Value};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What happened to the row; the codes are Debezium's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Op {
    Create,
    Update,
    Delete,
    /// Read by a snapshot.
    Read,
    Truncate,
}

impl Op {
    /// `c`, `u`, `d`, `r` or `t`.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Op::Create => "c",
            Op::Update => "u",
            Op::Delete => "d",
            Op::Read => "r",
            Op::Truncate => "t",
        }
    }

    /// The operation of a code.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        [Op::Create, Op::Update, Op::Delete, Op::Read, Op::Truncate].into_iter().find(|op| op.code() == code)
    }

    /// The word in event names: `transaction_created`, …
    #[must_use]
    pub fn verb(self) -> &'static str {
        match self {
            Op::Create => "created",
            Op::Update => "updated",
            Op::Delete => "deleted",
            Op::Read => "read",
            Op::Truncate => "truncated",
        }
    }
}

/// Whether the event was read by a snapshot (Debezium's `source.snapshot`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Snapshot {
    #[default]
    False,
    /// Read before streaming began.
    True,
    /// Read while streaming went on (table added later).
    Incremental,
}

/// Where a change came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Logical name of the source (first part of its topics).
    pub name: Arc<str>,
    pub database: Arc<str>,
    /// Position of the change; for snapshot rows see [`Position`].
    pub position: Position,
    /// LSN of the change record itself (inside its transaction).
    pub lsn: u64,
    pub tx_id: Option<u32>,
    /// Commit time at the source, microseconds UTC; for snapshot rows the time of reading.
    pub ts_us: i64,
    pub snapshot: Snapshot,
}

/// The transaction of a change, when the transaction topic is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    pub id: String,
    pub total_order: u64,
    pub data_collection_order: u64,
}

/// One change. `before` and `after` have one value a column of `schema`.
#[derive(Debug, Clone, PartialEq)]
pub struct ChangeEvent {
    pub schema: Arc<TableSchema>,
    pub op: Op,
    /// The old row where the source gives it (REPLICA IDENTITY FULL: whole; else only key columns,
    /// the others null), on updates of the key and on deletes.
    pub before: Option<Row>,
    /// The new row; absent for deletes and truncates.
    pub after: Option<Row>,
    /// Columns of `after` that the source did not send because they did not change (TOAST). Their
    /// place in `after` is null; a sink keeps the value it has.
    pub unchanged: Vec<usize>,
    pub source: Source,
    /// When the connector handled the change, microseconds UTC.
    pub ts_us: i64,
    pub transaction: Option<Transaction>,
}

impl ChangeEvent {
    /// The key's values in key order, of the row after the change (before it, for deletes).
    #[must_use]
    pub fn key(&self) -> Vec<Value> {
        let row = self.after.as_ref().or(self.before.as_ref());
        row.map(|row| self.schema.key.iter().map(|&i| row[i].clone()).collect()).unwrap_or_default()
    }

    /// The key of the row before the change, where the change moved the row to another key.
    #[must_use]
    pub fn moved_from(&self) -> Option<Vec<Value>> {
        let (before, after) = (self.before.as_ref()?, self.after.as_ref()?);
        let moved = self.schema.key.iter().any(|&i| before[i] != after[i]);
        moved.then(|| self.schema.key.iter().map(|&i| before[i].clone()).collect())
    }
}
