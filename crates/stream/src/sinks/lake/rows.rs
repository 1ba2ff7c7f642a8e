//! From one record of the bus to its row in the raw zone: pure.
//!
//! A change becomes the image of its row (after it; before it for deletes) under the source's
//! column names, beside the columns of [`CHANGE_COLUMNS`]. Any other record becomes its text.
//! Nothing is rounded: what a column cannot hold is an error, and what no lake type can hold
//! (`infinity` as a date, the time `24:00:00`) is null with its text in `_special`.

use crate::dead_letters;
use crate::sinks::lake::events::{CLICK_COLUMNS, LOG_COLUMNS};
use crate::sinks::lake::layout::{Layout, TableKind};
use affluent_bus::Incoming;
use affluent_lake::{exact_json, fits, unrepresentable};
use affluent_model::{ChangeEvent, Column, ColumnType, Reason, Row, Snapshot, Value, time::now_micros};
use serde_json::{Map, Value as Json};

/// Beside the source's columns in every raw table of a change topic.
///
/// | column | |
/// |---|---|
/// | `_op` | `c`, `u`, `d`, `r` (read by a snapshot), `t` (truncate; the image is null) |
/// | `_lsn`, `_ordinal` | position: commit LSN and ordinal in the transaction; orders all changes |
/// | `_tx_id` | transaction at the source |
/// | `_commit_ts` | commit time at the source (for snapshot rows, of the reading) |
/// | `_snapshot` | read by a snapshot |
/// | `_unchanged` | columns whose null means "as before": the source did not send them |
/// | `_before` | the old row as JSON (decimals as text), where an update brings it |
/// | `_special` | JSON object: column to text, of values that no lake type holds |
pub const CHANGE_COLUMNS: &[(&str, ColumnType)] = &[
    ("_op", ColumnType::Text),
    ("_lsn", ColumnType::Int64),
    ("_ordinal", ColumnType::Int64),
    ("_tx_id", ColumnType::Int64),
    ("_commit_ts", ColumnType::TimestampTz),
    ("_snapshot", ColumnType::Bool),
    ("_before", ColumnType::Json),
    ("_special", ColumnType::Json),
];

/// The list column of [`CHANGE_COLUMNS`] (a list type is no constant).
pub const UNCHANGED: &str = "_unchanged";

/// In every table: where the record stands in Kafka, and when it arrived there (the table is
/// partitioned by this day).
pub const KAFKA_COLUMNS: &[(&str, ColumnType)] = &[
    ("_kafka_topic", ColumnType::Text),
    ("_kafka_partition", ColumnType::Int32),
    ("_kafka_offset", ColumnType::Int64),
    (ARRIVED, ColumnType::TimestampTz),
];

/// The column of arrival.
pub const ARRIVED: &str = "_kafka_ts";

/// A record that is no change: its key, value and headers as text.
const OTHER_COLUMNS: &[(&str, ColumnType)] =
    &[("key", ColumnType::Text), ("value", ColumnType::Text), ("headers", ColumnType::Json)];

/// A dead letter; `topic`, `partition` and `offset` are the refused record's.
const QUARANTINE_COLUMNS: &[(&str, ColumnType)] = &[
    ("topic", ColumnType::Text),
    ("partition", ColumnType::Int32),
    ("offset", ColumnType::Int64),
    ("stage", ColumnType::Text),
    ("reason", ColumnType::Text),
    ("error", ColumnType::Text),
    ("first_seen", ColumnType::TimestampTz),
    ("key", ColumnType::Bytes),
    ("value", ColumnType::Bytes),
    ("headers", ColumnType::Json),
];

/// Why a record has no place in the lake.
pub(super) type Unfit = (Reason, String);

/// The columns that a table of this kind always has, in the order in which [`change`] and the
/// others fill them.
pub(super) fn fixed_columns(kind: TableKind) -> Vec<Column> {
    let own = match kind {
        TableKind::Changes => CHANGE_COLUMNS,
        TableKind::Records => OTHER_COLUMNS,
        TableKind::Clicks => CLICK_COLUMNS,
        TableKind::Logs => LOG_COLUMNS,
        TableKind::Quarantine => QUARANTINE_COLUMNS,
    };
    let mut columns: Vec<Column> =
        own.iter().chain(KAFKA_COLUMNS).map(|c| column(c.0, c.1.clone())).collect();
    if kind == TableKind::Changes {
        columns.push(column(UNCHANGED, ColumnType::Array(Box::new(ColumnType::Text))));
    }
    columns
}

/// Where a record stands in Kafka, alone.
pub(super) fn kafka_columns() -> Vec<Column> {
    KAFKA_COLUMNS.iter().map(|c| column(c.0, c.1.clone())).collect()
}

fn column(name: &str, column_type: ColumnType) -> Column {
    Column { name: name.to_owned(), column_type, nullable: true }
}

/// The row of a change.
pub(super) fn change(record: &Incoming, change: &ChangeEvent, layout: &mut Layout) -> Result<Row, Unfit> {
    let columns = &change.schema.columns;
    let image = change.after.as_ref().or(change.before.as_ref());
    if let Some(short) =
        [&change.before, &change.after].into_iter().flatten().find(|r| r.len() != columns.len())
    {
        return Err((Reason::Undecodable, format!("{} values for {} columns", short.len(), columns.len())));
    }
    let places = layout.places(&change.schema);
    let mut row = vec![Value::Null; layout.columns().len()];
    let mut special = Map::new();
    for (index, (column, value)) in columns.iter().zip(image.into_iter().flatten()).enumerate() {
        if value.is_null() {
            continue;
        }
        let place = match &places[index] {
            Ok(place) => *place,
            Err(problem) => {
                return Err((Reason::IncompatibleSchema, format!("column {}: {problem}", column.name)));
            }
        };
        let target = &layout.columns()[place].column_type;
        if let Some(text) = unrepresentable(value, target) {
            special.insert(column.name.clone(), Json::String(text));
            continue;
        }
        fits(value, target)
            .map_err(|misfit| (misfit.reason(), format!("column {}: {misfit}", column.name)))?;
        row[place] = value.clone();
    }
    // Where there is an image after the change, the one before it is worth keeping too.
    let before = change.after.as_ref().and(change.before.as_ref()).map(|before| {
        let fields = columns.iter().zip(before).filter(|(_, value)| !value.is_null());
        Json::Object(fields.map(|(column, value)| (column.name.clone(), exact_json(value))).collect())
    });
    let json = |value: Json| Value::Json(value.to_string());
    let fixed = [
        Value::Text(change.op.code().to_owned()),
        Value::Int(i64::try_from(change.source.position.lsn.0).map_err(|_| out_of_range("the LSN"))?),
        Value::Int(i64::try_from(change.source.position.ordinal).map_err(|_| out_of_range("the ordinal"))?),
        change.source.tx_id.map_or(Value::Null, |id| Value::Int(id.into())),
        Value::TimestampTz(change.source.ts_us),
        Value::Bool(change.source.snapshot != Snapshot::False),
        before.map_or(Value::Null, json),
        if special.is_empty() { Value::Null } else { json(Json::Object(special)) },
    ];
    let unchanged: Vec<Value> = change
        .unchanged
        .iter()
        .filter_map(|&i| columns.get(i))
        .map(|c| Value::Text(c.name.clone()))
        .collect();
    let unchanged = if unchanged.is_empty() { Value::Null } else { Value::Array(unchanged) };
    fill(&mut row, fixed.into_iter().chain(kafka(record)).chain([unchanged]));
    Ok(row)
}

/// The row of a record that is no change.
pub(super) fn other(record: &Incoming, layout: &Layout) -> Result<Row, Unfit> {
    let text = |bytes: Option<&bytes::Bytes>, what: &str| match bytes {
        None => Ok(Value::Null),
        Some(bytes) => std::str::from_utf8(bytes)
            .map(|text| Value::Text(text.to_owned()))
            .map_err(|_| (Reason::Undecodable, format!("the {what} is not UTF-8 text"))),
    };
    let headers = record.headers.iter().map(|(name, value)| header(name, value)).collect::<Vec<_>>();
    let own =
        [text(record.key.as_ref(), "key")?, text(record.value.as_ref(), "value")?, headers_value(headers)];
    let mut row = vec![Value::Null; layout.columns().len()];
    fill(&mut row, own.into_iter().chain(kafka(record)));
    Ok(row)
}

/// The row of a dead letter.
pub(super) fn quarantined(record: &Incoming, layout: &Layout) -> Result<Row, Unfit> {
    let value = record.value.as_deref().unwrap_or_default();
    let letter = dead_letters::decode(value).map_err(|error| (Reason::Undecodable, error.to_string()))?;
    let headers = letter.headers.iter().map(|(name, value)| header(name, value)).collect::<Vec<_>>();
    let own = [
        Value::Text(letter.topic),
        Value::Int(letter.partition.into()),
        Value::Int(letter.offset),
        Value::Text(letter.stage),
        Value::Text(letter.reason.code().to_owned()),
        Value::Text(letter.error),
        Value::TimestampTz(letter.first_seen),
        letter.key.map_or(Value::Null, Value::Bytes),
        letter.value.map_or(Value::Null, Value::Bytes),
        headers_value(headers),
    ];
    let mut row = vec![Value::Null; layout.columns().len()];
    fill(&mut row, own.into_iter().chain(kafka(record)));
    Ok(row)
}

/// The fixed columns lead every layout.
pub(super) fn fill(row: &mut Row, fixed: impl Iterator<Item = Value>) {
    for (place, value) in row.iter_mut().zip(fixed) {
        *place = value;
    }
}

pub(super) fn kafka(record: &Incoming) -> [Value; 4] {
    let arrived =
        if record.timestamp_ms < 0 { now_micros() } else { record.timestamp_ms.saturating_mul(1_000) };
    [
        Value::Text(record.topic.to_string()),
        Value::Int(record.partition.into()),
        Value::Int(record.offset),
        Value::TimestampTz(arrived),
    ]
}

/// Text where the bytes are text, else hexadecimal behind `0x`.
fn header(name: &str, value: &[u8]) -> (String, Json) {
    let text = std::str::from_utf8(value).map_or_else(|_| format!("0x{}", hex::encode(value)), str::to_owned);
    (name.to_owned(), Json::String(text))
}

/// Pairs, since a header may be there twice.
fn headers_value(headers: Vec<(String, Json)>) -> Value {
    if headers.is_empty() {
        return Value::Null;
    }
    let pairs = headers.into_iter().map(|(name, value)| Json::Array(vec![Json::String(name), value]));
    Value::Json(Json::Array(pairs.collect()).to_string())
}

fn out_of_range(what: &str) -> Unfit {
    (Reason::ValueOutOfRange, format!("{what} is above 2^63"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use affluent_model::{Op, Position, Source, TableId, TableSchema};
    use std::sync::Arc;

    fn record() -> Incoming {
        Incoming {
            topic: "oltp.public.t".into(),
            partition: 3,
            offset: 41,
            timestamp_ms: 1_000,
            key: None,
            value: None,
            headers: Vec::new(),
        }
    }

    fn event(columns: &[(&str, ColumnType)], before: Option<Row>, after: Option<Row>) -> ChangeEvent {
        ChangeEvent {
            schema: Arc::new(TableSchema {
                table: TableId::new("public", "t"),
                columns: columns.iter().map(|c| column(c.0, c.1.clone())).collect(),
                key: vec![0],
            }),
            op: if after.is_none() { Op::Delete } else { Op::Update },
            before,
            after,
            unchanged: Vec::new(),
            source: Source {
                name: "oltp".into(),
                database: "d".into(),
                position: Position::new(7, 2),
                lsn: 7,
                tx_id: Some(9),
                ts_us: 5,
                snapshot: Snapshot::False,
            },
            ts_us: 0,
            transaction: None,
        }
    }

    /// Non-null cells of the row, by column.
    fn cells(layout: &Layout, row: &Row) -> Vec<(String, String)> {
        let named = layout.columns().iter().zip(row).filter(|(_, value)| !value.is_null());
        let own = named.filter(|(column, _)| !column.name.starts_with("_kafka"));
        own.map(|(column, value)| (column.name.clone(), value.to_text())).collect()
    }

    #[test]
    fn a_change_becomes_its_image_with_what_is_known_of_it() {
        let columns = [
            ("id", ColumnType::Int64),
            ("until", ColumnType::Timestamp),
            ("_op", ColumnType::Text),
            ("price", ColumnType::Decimal { precision: 6, scale: 2 }),
        ];
        let price = |text: &str| Value::Decimal(text.parse().unwrap());
        let row = |id, until, p| {
            vec![Value::Int(id), Value::Timestamp(until), Value::Text("mine".into()), price(p)]
        };
        let mut layout = Layout::new(TableKind::Changes, &[]);
        let updated = event(&columns, Some(row(1, 0, "1.10")), Some(row(1, i64::MAX, "2.50")));
        let cells_of = |layout: &Layout, row: Row| {
            cells(layout, &row).into_iter().map(|(name, text)| format!("{name}={text}")).collect::<Vec<_>>()
        };
        let found = change(&record(), &updated, &mut layout).unwrap();
        assert_eq!(
            cells_of(&layout, found),
            [
                "_op=u",
                "_lsn=7",
                "_ordinal=2",
                "_tx_id=9",
                "_commit_ts=1970-01-01T00:00:00.000005Z",
                "_snapshot=false",
                r#"_before={"id":1,"until":"1970-01-01T00:00:00.000000","_op":"mine","price":"1.10"}"#,
                r#"_special={"until":"infinity"}"#,
                "id=1",
                "_op_col=mine",
                "price=2.50",
            ]
        );
        // A delete shows the row that is gone; a new type, as long as it widens; NaN is refused.
        let deleted = event(&columns, Some(vec![Value::Int(1), Value::Null, Value::Null, Value::Null]), None);
        let found = change(&record(), &deleted, &mut layout).unwrap();
        assert!(cells_of(&layout, found).ends_with(&["_snapshot=false".to_owned(), "id=1".to_owned()]));
        for (column_type, value, refused) in [
            (ColumnType::Decimal { precision: 9, scale: 2 }, price("1234567.89"), None),
            (ColumnType::Decimal { precision: 9, scale: 2 }, price("0.001"), Some(Reason::ValueOutOfRange)),
            (ColumnType::Text, Value::Text("x".into()), Some(Reason::IncompatibleSchema)),
            (ColumnType::Text, Value::Null, None),
        ] {
            let changed = event(&[("price", column_type.clone())], None, Some(vec![value]));
            let found = change(&record(), &changed, &mut layout);
            assert_eq!(found.map_err(|(reason, _)| reason).err(), refused, "{column_type:?}");
        }
    }
}
