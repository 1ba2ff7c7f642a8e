//! What both kinds of staged tables share: names, the columns that lead back to Kafka, and columns of
//! Arrow batches by name.

use affluent_model::{Column, ColumnType, EventKind};
use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use std::sync::Arc;

/// Iceberg namespace of the staged zone.
pub(super) const NAMESPACE: &str = "staged";
/// The column by whose UTC day staged tables are divided.
pub(super) const DAY: &str = "received_at";
/// The column by which an event is known again.
pub(super) const KEY: &str = "event_id";
/// When the event happened.
pub(super) const OCCURRED: &str = "occurred_at";

/// Where the record stood in Kafka, and when it arrived there: columns of raw and staged rows.
pub(super) const KAFKA: &[&str] = &[TOPIC, PARTITION, OFFSET, "_kafka_ts"];
pub(super) const TOPIC: &str = "_kafka_topic";
pub(super) const PARTITION: &str = "_kafka_partition";
pub(super) const OFFSET: &str = "_kafka_offset";

/// A topic of events and the raw table that keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub kind: EventKind,
    pub topic: Arc<str>,
    /// Namespace and name of its raw table.
    pub raw: (String, String),
}

/// Columns of a staged table: its own, then [`KAFKA`].
pub(super) fn columns(own: impl Iterator<Item = (&'static str, ColumnType)>) -> Vec<Column> {
    let kafka = [ColumnType::Text, ColumnType::Int32, ColumnType::Int64, ColumnType::TimestampTz];
    own.chain(KAFKA.iter().copied().zip(kafka))
        .map(|(name, column_type)| Column { name: name.to_owned(), column_type, nullable: true })
        .collect()
}

/// A column of texts; one that the batch lacks is empty.
pub(super) struct TextColumn<'a>(Option<&'a StringArray>);

pub(super) fn texts<'a>(batch: &'a RecordBatch, name: &str) -> TextColumn<'a> {
    TextColumn(batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>()))
}

impl<'a> TextColumn<'a> {
    pub(super) fn get(&self, row: usize) -> Option<&'a str> {
        self.0.filter(|column| column.is_valid(row)).map(|column| column.value(row))
    }
}

/// A column of whole numbers or of times (microseconds UTC); one that the batch lacks is empty.
pub(super) struct WholeColumn<'a>(Option<&'a ArrayRef>);

pub(super) fn whole<'a>(batch: &'a RecordBatch, name: &str) -> WholeColumn<'a> {
    WholeColumn(batch.column_by_name(name))
}

impl WholeColumn<'_> {
    pub(super) fn get(&self, row: usize) -> Option<i64> {
        let column = self.0.filter(|column| column.is_valid(row))?;
        match column.data_type() {
            DataType::Int32 => Some(column.as_primitive::<Int32Type>().value(row).into()),
            DataType::Int64 => Some(column.as_primitive::<Int64Type>().value(row)),
            DataType::Timestamp(..) => {
                column.as_primitive_opt::<TimestampMicrosecondType>().map(|column| column.value(row))
            }
            _ => None,
        }
    }
}

/// Columns of text under construction.
pub(super) struct Texts {
    names: &'static [&'static str],
    columns: Vec<StringBuilder>,
}

impl Texts {
    pub(super) fn new(names: &'static [&'static str], rows: usize) -> Self {
        Texts { names, columns: names.iter().map(|_| StringBuilder::with_capacity(rows, rows * 8)).collect() }
    }

    /// One row: a text for each column.
    pub(super) fn push<'a>(&mut self, texts: impl Iterator<Item = Option<&'a str>>) {
        for (column, text) in self.columns.iter_mut().zip(texts) {
            column.append_option(text);
        }
    }

    /// The batch with these columns behind its own.
    pub(super) fn behind(self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let own = batch.schema_ref().fields().iter().cloned();
        let fields = self.names.iter().map(|name| Arc::new(Field::new(*name, DataType::Utf8, true)));
        let fields: Vec<_> = own.chain(fields).collect();
        let built = self.columns.into_iter().map(|mut column| Arc::new(column.finish()) as ArrayRef);
        let arrays = batch.columns().iter().cloned().chain(built).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
    }
}
