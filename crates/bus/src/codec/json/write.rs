//! Writing envelopes and keys as JSON text, without building a document first.

use crate::codec::{CodecError, source_facts};
use affluent_model::{ChangeEvent, ColumnType, Row, TableSchema, Value};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{BufMut as _, BytesMut};

/// What is the same in every record of a table.
#[derive(Debug)]
pub(crate) struct Template {
    /// `"name":` of each column.
    names: Vec<String>,
    /// `source.columns`.
    columns: String,
}

impl Template {
    pub(crate) fn new(schema: &TableSchema) -> Self {
        let name = |name: &str| format!("{}:", serde_json::Value::from(name));
        Template {
            names: schema.columns.iter().map(|c| name(&c.name)).collect(),
            columns: super::types::describe(&schema.columns).to_string(),
        }
    }

    /// `{"id":1}`.
    pub(crate) fn put_key(
        &self,
        buffer: &mut BytesMut,
        schema: &TableSchema,
        row: &Row,
    ) -> Result<(), CodecError> {
        buffer.put_u8(b'{');
        for (position, &index) in schema.key.iter().enumerate() {
            if position > 0 {
                buffer.put_u8(b',');
            }
            self.put_column(buffer, schema, row, index)?;
        }
        buffer.put_u8(b'}');
        Ok(())
    }

    pub(crate) fn put_envelope(&self, buffer: &mut BytesMut, change: &ChangeEvent) -> Result<(), CodecError> {
        buffer.put_slice(b"{\"before\":");
        self.put_row(buffer, change, change.before.as_ref(), &[])?;
        buffer.put_slice(b",\"after\":");
        self.put_row(buffer, change, change.after.as_ref(), &change.unchanged)?;
        self.put_source(buffer, change);
        put_field(buffer, ",\"transaction\":", &change.transaction);
        buffer.put_slice(b",\"op\":\"");
        buffer.put_slice(change.op.code().as_bytes());
        put_field(buffer, "\",\"ts_ms\":", &change.ts_us.div_euclid(1_000));
        put_field(buffer, ",\"ts_us\":", &change.ts_us);
        if !change.unchanged.is_empty() {
            let columns = &change.schema.columns;
            let names: Vec<&str> =
                change.unchanged.iter().filter_map(|&i| columns.get(i)).map(|c| c.name.as_str()).collect();
            put_field(buffer, ",\"unchanged\":", &names);
        }
        buffer.put_u8(b'}');
        Ok(())
    }

    fn put_source(&self, buffer: &mut BytesMut, change: &ChangeEvent) {
        let source = &change.source;
        put_field(buffer, ",\"source\":{\"version\":", source_facts::VERSION);
        put_field(buffer, ",\"connector\":", source_facts::CONNECTOR);
        put_field(buffer, ",\"name\":", &*source.name);
        put_field(buffer, ",\"ts_ms\":", &source.ts_us.div_euclid(1_000));
        put_field(buffer, ",\"ts_us\":", &source.ts_us);
        put_field(buffer, ",\"snapshot\":", source_facts::snapshot_name(source.snapshot));
        put_field(buffer, ",\"db\":", &*source.database);
        source_facts::with_sequence(source, |text| put_field(buffer, ",\"sequence\":", text));
        put_field(buffer, ",\"schema\":", &change.schema.table.schema);
        put_field(buffer, ",\"table\":", &change.schema.table.name);
        put_field(buffer, ",\"txId\":", &source.tx_id);
        put_field(buffer, ",\"lsn\":", &source.lsn);
        source_facts::with_position(source.position, |text| put_field(buffer, ",\"position\":", text));
        buffer.put_slice(b",\"columns\":");
        buffer.put_slice(self.columns.as_bytes());
        buffer.put_u8(b'}');
    }

    fn put_row(
        &self,
        buffer: &mut BytesMut,
        change: &ChangeEvent,
        row: Option<&Row>,
        left_out: &[usize],
    ) -> Result<(), CodecError> {
        let Some(row) = row else {
            buffer.put_slice(b"null");
            return Ok(());
        };
        let schema = &change.schema;
        if row.len() != schema.columns.len() {
            let problem = "number of columns".to_owned();
            return Err(CodecError::Row { table: schema.table.to_string(), problem });
        }
        buffer.put_u8(b'{');
        let mut first = true;
        for index in (0..row.len()).filter(|index| !left_out.contains(index)) {
            if !std::mem::take(&mut first) {
                buffer.put_u8(b',');
            }
            self.put_column(buffer, schema, row, index)?;
        }
        buffer.put_u8(b'}');
        Ok(())
    }

    fn put_column(
        &self,
        buffer: &mut BytesMut,
        schema: &TableSchema,
        row: &Row,
        index: usize,
    ) -> Result<(), CodecError> {
        let (Some(name), Some(column), Some(value)) =
            (self.names.get(index), schema.columns.get(index), row.get(index))
        else {
            let problem = "number of columns".to_owned();
            return Err(CodecError::Row { table: schema.table.to_string(), problem });
        };
        buffer.put_slice(name.as_bytes());
        put_value(buffer, &column.column_type, value).map_err(|problem| CodecError::value(column, problem))
    }
}

fn put_value(buffer: &mut BytesMut, column_type: &ColumnType, value: &Value) -> Result<(), &'static str> {
    match (column_type, value) {
        (_, Value::Null) => buffer.put_slice(b"null"),
        (ColumnType::Bool, Value::Bool(v)) => put_serialized(buffer, v),
        (ColumnType::Int16 | ColumnType::Int32 | ColumnType::Int64, Value::Int(v)) => {
            put_serialized(buffer, v)
        }
        (ColumnType::Float32 | ColumnType::Float64, Value::Float(v)) if v.is_finite() => {
            put_serialized(buffer, v);
        }
        (ColumnType::Float32 | ColumnType::Float64, Value::Float(v)) => {
            let text = if v.is_nan() {
                "NaN"
            } else if *v > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            };
            put_serialized(buffer, text);
        }
        (ColumnType::Decimal { .. } | ColumnType::Numeric, Value::Decimal(_) | Value::NumericSpecial(_))
        | (ColumnType::Uuid, Value::Uuid(_))
        | (ColumnType::TimestampTz, Value::TimestampTz(_)) => put_serialized(buffer, &value.to_text()),
        (ColumnType::Text, Value::Text(v)) | (ColumnType::Json, Value::Json(v)) => put_serialized(buffer, v),
        (ColumnType::Bytes, Value::Bytes(v)) => put_serialized(buffer, &BASE64.encode(v)),
        (ColumnType::Date, Value::Date(v)) => put_serialized(buffer, v),
        (ColumnType::Time, Value::Time(v)) | (ColumnType::Timestamp, Value::Timestamp(v)) => {
            put_serialized(buffer, v);
        }
        (ColumnType::Array(items_type), Value::Array(items)) => {
            buffer.put_u8(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    buffer.put_u8(b',');
                }
                put_value(buffer, items_type, item)?;
            }
            buffer.put_u8(b']');
        }
        (
            ColumnType::Bool
            | ColumnType::Int16
            | ColumnType::Int32
            | ColumnType::Int64
            | ColumnType::Float32
            | ColumnType::Float64
            | ColumnType::Decimal { .. }
            | ColumnType::Numeric
            | ColumnType::Text
            | ColumnType::Bytes
            | ColumnType::Date
            | ColumnType::Time
            | ColumnType::Timestamp
            | ColumnType::TimestampTz
            | ColumnType::Uuid
            | ColumnType::Json
            | ColumnType::Array(_),
            _,
        ) => return Err("value is of another type than the column"),
    }
    Ok(())
}

/// `name` with its punctuation as it stands, then the value.
fn put_field<T: serde::Serialize + ?Sized>(buffer: &mut BytesMut, name: &str, value: &T) {
    buffer.put_slice(name.as_bytes());
    put_serialized(buffer, value);
}

/// Texts, numbers and lists of them: serialising these into memory cannot fail.
fn put_serialized<T: serde::Serialize + ?Sized>(buffer: &mut BytesMut, value: &T) {
    let outcome = serde_json::to_writer(buffer.writer(), value);
    debug_assert!(outcome.is_ok(), "JSON of a plain value");
}
