//! From a raw log line to its staged row: pure.

use super::table::{self, KAFKA};
use affluent_model::{Column, ColumnType, Row, Value};

/// The columns of the raw table that are read, in the order in which [`row`] takes them apart.
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
const SEVERITY: usize = 2;

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
    table::columns(own.chain([("severity_text", ColumnType::Text)]))
}

/// The staged row of a raw one: [`READ`] and then where it stood in Kafka.
#[must_use]
pub fn row(raw: Row) -> Row {
    let severity = match raw.get(SEVERITY) {
        Some(Value::Int(number)) => severity_text(*number),
        _ => None,
    };
    let mut row = raw;
    let kafka = row.split_off(row.len().saturating_sub(KAFKA.len()));
    row.push(severity.map_or(Value::Null, |text| Value::Text(text.to_owned())));
    row.extend(kafka);
    row
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

    #[test]
    fn severities_have_their_names() {
        let columns = columns();
        for (number, expected) in [
            (0, None),
            (1, Some("TRACE")),
            (9, Some("INFO")),
            (17, Some("ERROR")),
            (24, Some("FATAL")),
            (25, None),
        ] {
            let mut raw = vec![Value::Null; READ.len()];
            raw[SEVERITY] = Value::Int(number);
            raw.extend([Value::Text("t".into()), Value::Int(3), Value::Int(41), Value::TimestampTz(1)]);
            let row = row(raw);
            assert_eq!(row.len(), columns.len());
            let place = columns.iter().position(|column| column.name == "severity_text").unwrap();
            assert_eq!(row[place], expected.map_or(Value::Null, |text| Value::Text(text.into())));
            assert_eq!(row[row.len() - 2], Value::Int(41));
        }
    }
}
