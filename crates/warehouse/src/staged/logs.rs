//! From raw log lines to staged ones: pure.

use super::table::{self, Texts, whole};
use affluent_model::{Column, ColumnType};
use arrow_array::RecordBatch;
use arrow_schema::ArrowError;

/// The line's own columns: read from the raw table, and the first of the staged one.
pub const READ: &[&str] = &[
    "event_id",
    "service",
    "severity",
    "kind",
    "occurred_at",
    "received_at",
    "trace_id",
    "span_id",
    "message",
    "attributes",
];
const SEVERITY_TEXT: &str = "severity_text";

/// The columns of the staged table: the event's, the severity in words, and where it stood in Kafka.
#[must_use]
pub fn columns() -> Vec<Column> {
    let own = READ.iter().map(|name| {
        let column_type = match *name {
            "severity" => ColumnType::Int16,
            "occurred_at" | "received_at" => ColumnType::TimestampTz,
            "attributes" => ColumnType::Json,
            _ => ColumnType::Text,
        };
        (*name, column_type)
    });
    table::columns(own.chain([(SEVERITY_TEXT, ColumnType::Text)]))
}

/// The raw columns, and behind them the severity in words.
///
/// # Errors
/// More text in one column than Arrow counts (2 GiB).
pub fn staged(raw: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let severity = whole(raw, "severity");
    let mut parsed = Texts::new(&[SEVERITY_TEXT], raw.num_rows());
    for row in 0..raw.num_rows() {
        parsed.push([severity.get(row).and_then(severity_text)].into_iter());
    }
    parsed.behind(raw)
}

/// The short name of a severity number. Source: OpenTelemetry Logs Data Model, "Displaying Severity".
fn severity_text(number: i64) -> Option<&'static str> {
    Some(match number {
        1..=4 => "TRACE",
        5..=8 => "DEBUG",
        9..=12 => "INFO",
        13..=16 => "WARN",
        17..=20 => "ERROR",
        21..=24 => "FATAL",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::staged::table::texts;
    use arrow_array::{ArrayRef, Int32Array};
    use std::sync::Arc;

    #[test]
    fn severities_have_their_names() {
        let numbers: ArrayRef =
            Arc::new(Int32Array::from(vec![Some(0), Some(1), Some(9), Some(17), Some(24), Some(25), None]));
        let staged = staged(&RecordBatch::try_from_iter([("severity", numbers)]).unwrap()).unwrap();
        let names: Vec<_> = (0..7).map(|row| texts(&staged, SEVERITY_TEXT).get(row)).collect();
        assert_eq!(names, [None, Some("TRACE"), Some("INFO"), Some("ERROR"), Some("FATAL"), None, None]);
        assert!(columns().iter().any(|column| column.name == SEVERITY_TEXT));
    }
}
