//! From one event to its row in the raw zone: pure.

use super::layout::Layout;
use super::rows::kafka;
use affluent_bus::Incoming;
use affluent_model::{ClickEvent, ColumnType, LogEvent, Row, Value};
use std::borrow::Cow;
use uuid::Uuid;

/// A click, one column a field.
pub(super) const CLICK_COLUMNS: &[(&str, ColumnType)] = &[
    ("event_id", ColumnType::Text),
    ("user_id", ColumnType::Text),
    ("anonymous_id", ColumnType::Text),
    ("session_id", ColumnType::Text),
    ("event_type", ColumnType::Text),
    ("occurred_at", ColumnType::TimestampTz),
    ("received_at", ColumnType::TimestampTz),
    ("url", ColumnType::Text),
    ("referrer", ColumnType::Text),
    ("device", ColumnType::Text),
    ("ip", ColumnType::Text),
    ("user_agent", ColumnType::Text),
    ("is_bot", ColumnType::Bool),
    ("is_late", ColumnType::Bool),
    ("properties", ColumnType::Json),
];

/// A log line, one column a field.
pub(super) const LOG_COLUMNS: &[(&str, ColumnType)] = &[
    ("event_id", ColumnType::Text),
    ("service", ColumnType::Text),
    ("severity", ColumnType::Int16),
    ("kind", ColumnType::Text),
    ("occurred_at", ColumnType::TimestampTz),
    ("received_at", ColumnType::TimestampTz),
    ("trace_id", ColumnType::Text),
    ("span_id", ColumnType::Text),
    ("message", ColumnType::Text),
    ("attributes", ColumnType::Json),
];

/// The row of a click.
pub(super) fn click(record: &Incoming, click: ClickEvent<Cow<'_, str>>, layout: &Layout) -> Row {
    let own = [
        id(click.event_id),
        optional(click.user_id),
        optional(click.anonymous_id),
        optional(click.session_id),
        Value::Text(click.event_type.into_owned()),
        Value::TimestampTz(click.occurred_at),
        Value::TimestampTz(click.received_at),
        optional(click.url),
        optional(click.referrer),
        optional(click.device),
        optional(click.ip),
        optional(click.user_agent),
        Value::Bool(click.is_bot),
        Value::Bool(click.is_late),
        Value::Json(click.properties.into_owned()),
    ];
    row(record, own, layout)
}

/// The row of a log line.
pub(super) fn log(record: &Incoming, log: LogEvent<Cow<'_, str>>, layout: &Layout) -> Row {
    let own = [
        id(log.event_id),
        Value::Text(log.service.into_owned()),
        Value::Int(log.severity.into()),
        Value::Text(log.kind.name().to_owned()),
        Value::TimestampTz(log.occurred_at),
        Value::TimestampTz(log.received_at),
        optional(log.trace_id),
        optional(log.span_id),
        Value::Text(log.message.into_owned()),
        Value::Json(log.attributes.into_owned()),
    ];
    row(record, own, layout)
}

fn row(record: &Incoming, own: impl IntoIterator<Item = Value>, layout: &Layout) -> Row {
    let width = layout.columns().len();
    let mut row = Row::with_capacity(width);
    row.extend(own.into_iter().chain(kafka(record)));
    row.resize(width, Value::Null);
    row
}

fn id(id: Uuid) -> Value {
    let mut text = Uuid::encode_buffer();
    Value::Text(id.hyphenated().encode_lower(&mut text).to_owned())
}

fn optional(text: Option<Cow<'_, str>>) -> Value {
    text.map_or(Value::Null, |text| Value::Text(text.into_owned()))
}
