//! Rows of a file that cannot be taken: into `ops.quarantine`, beside the dead letters of the topics, with reason and as they came.

use super::ImportError;
use super::file::Record;
use affluent_lake::{Advance, Lake, LakeTable, Partition, RowBatch, exact_json};
use affluent_model::names::{NAMESPACE_OPS, TABLE_QUARANTINE};
use affluent_model::{Column, ColumnType, Reason, Row, Value, time::now_micros};
use serde_json::Value as Json;
use std::sync::Arc;

const STAGE: &str = "import";
const ARRIVED: &str = super::raw::ARRIVED;
/// Of the table `ops.quarantine`, as the dead letters have them.
const COLUMNS: &[(&str, ColumnType)] = &[
    ("topic", ColumnType::Text),
    ("partition", ColumnType::Int32),
    ("offset", ColumnType::Int64),
    ("stage", ColumnType::Text),
    ("reason", ColumnType::Text),
    ("error", ColumnType::Text),
    ("first_seen", ColumnType::TimestampTz),
    ("value", ColumnType::Bytes),
    ("_kafka_topic", ColumnType::Text),
    ("_kafka_partition", ColumnType::Int32),
    ("_kafka_offset", ColumnType::Int64),
    (ARRIVED, ColumnType::TimestampTz),
];

/// The refused rows of one import.
pub(super) struct Quarantine {
    table: LakeTable,
    topic: Arc<str>,
    partition: i32,
    stored: Option<i64>,
    rows: Vec<Row>,
}

impl Quarantine {
    pub(super) async fn open(lake: &Lake, topic: &Arc<str>, partition: i32) -> Result<Self, ImportError> {
        let day = Partition::Day(ARRIVED.to_owned());
        let failed = || ImportError::lake("open ops.quarantine");
        let table =
            lake.ensure_table(NAMESPACE_OPS, TABLE_QUARANTINE, &columns(), &day).await.map_err(failed())?;
        let stored = table.offsets().await.map_err(failed())?.get(topic, partition);
        Ok(Quarantine { table, topic: Arc::clone(topic), partition, stored, rows: Vec::new() })
    }

    /// Takes in a row of the file, unless it is there already.
    pub(super) fn refuse(&mut self, row: i64, columns: &[String], record: &Record, error: String) {
        if self.stored.is_some_and(|stored| row < stored) {
            return;
        }
        let (reason, original) = match record {
            Record::Row(values) => {
                let fields =
                    columns.iter().zip(values).map(|(name, value)| (name.clone(), exact_json(value)));
                (Reason::ValueOutOfRange, Json::Object(fields.collect()).to_string())
            }
            Record::Broken { text, .. } => (Reason::Undecodable, text.clone()),
        };
        let now = now_micros();
        let place = [Value::Text(self.topic.to_string()), Value::Int(self.partition.into()), Value::Int(row)];
        let what = [
            Value::Text(STAGE.to_owned()),
            Value::Text(reason.code().to_owned()),
            Value::Text(error),
            Value::TimestampTz(now),
            Value::Bytes(original.into_bytes()),
        ];
        let row = place.clone().into_iter().chain(what).chain(place).chain([Value::TimestampTz(now)]);
        self.rows.push(row.collect());
    }

    /// Stores what was refused of the file up to row `next`; how many rows.
    pub(super) async fn commit(&mut self, next: i64) -> Result<u64, ImportError> {
        if self.rows.is_empty() {
            return Ok(0);
        }
        let rows = std::mem::take(&mut self.rows);
        let count = rows.len() as u64;
        let advance = Advance {
            topic: Arc::clone(&self.topic),
            partition: self.partition,
            expected: self.stored,
            next,
        };
        let batch = Arc::new(RowBatch { columns: columns().into(), rows });
        self.table.append(batch, vec![advance]).await.map_err(ImportError::lake("write ops.quarantine"))?;
        self.stored = Some(next);
        Ok(count)
    }
}

fn columns() -> Vec<Column> {
    let column = |(name, column_type): &(&str, ColumnType)| Column {
        name: (*name).to_owned(),
        column_type: column_type.clone(),
        nullable: true,
    };
    COLUMNS.iter().map(column).collect()
}
