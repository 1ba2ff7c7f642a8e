//! An envelope as it was read, before it is a change: every format fills this, one place checks it.

use super::{CodecError, source_facts};
use affluent_model::{ChangeEvent, Op, Position, Row, Source, TableSchema, Transaction, Value};
use std::sync::Arc;

/// What Debezium writes where PostgreSQL did not send a column that did not change. Source: Debezium,
/// `unavailable.value.placeholder`.
const UNAVAILABLE: &str = "__debezium_unavailable_value";

#[derive(Debug, Default)]
pub(crate) struct Envelope<'a> {
    pub(crate) before: Option<Row>,
    pub(crate) after: Option<Row>,
    pub(crate) source: SourceFields<'a>,
    pub(crate) transaction: Option<Transaction>,
    pub(crate) op: Option<&'a str>,
    pub(crate) ts_ms: Option<i64>,
    pub(crate) ts_us: Option<i64>,
    /// Names of columns.
    pub(crate) unchanged: Vec<&'a str>,
}

#[derive(Debug, Default)]
pub(crate) struct SourceFields<'a> {
    pub(crate) name: Option<&'a str>,
    pub(crate) database: Option<&'a str>,
    pub(crate) snapshot: Option<&'a str>,
    pub(crate) ts_ms: Option<i64>,
    pub(crate) ts_us: Option<i64>,
    pub(crate) schema: Option<&'a str>,
    pub(crate) table: Option<&'a str>,
    pub(crate) tx_id: Option<i64>,
    pub(crate) lsn: Option<i64>,
    pub(crate) position: Option<&'a str>,
}

/// The last source and database seen; nearly every record has the same.
#[derive(Debug, Default)]
pub(crate) struct Names {
    source: Arc<str>,
    database: Arc<str>,
}

fn intern(last: &mut Arc<str>, name: &str) -> Arc<str> {
    if &**last != name {
        *last = name.into();
    }
    Arc::clone(last)
}

impl Envelope<'_> {
    /// The change, if everything that it needs is there.
    pub(crate) fn into_change(
        mut self,
        schema: Arc<TableSchema>,
        names: &mut Names,
    ) -> Result<ChangeEvent, CodecError> {
        let missing = |what: &str| CodecError::Undecodable(format!("envelope without a valid {what}"));
        let op = self.op.and_then(Op::from_code).ok_or_else(|| missing("op"))?;
        let lsn = self.source.lsn.map(i64::cast_unsigned);
        let position = match self.source.position {
            Some(text) => text.parse().map_err(|_| missing("source.position"))?,
            // Debezium's own envelopes: the LSN of the change record.
            None => Position::new(lsn.ok_or_else(|| missing("source.lsn"))?, 0),
        };
        let micros =
            |us: Option<i64>, ms: Option<i64>| us.or_else(|| ms.and_then(|ms| ms.checked_mul(1_000)));
        let ts_us = micros(self.source.ts_us, self.source.ts_ms).ok_or_else(|| missing("source.ts_ms"))?;
        let mut unchanged = Vec::with_capacity(self.unchanged.len());
        for name in &self.unchanged {
            unchanged.push(schema.index_of(name).ok_or_else(|| missing("unchanged"))?);
        }
        if self.source.position.is_none() {
            for (index, value) in self.after.iter_mut().flatten().enumerate() {
                if is_unavailable(value) {
                    *value = Value::Null;
                    unchanged.push(index);
                }
            }
        }
        if self.after.is_none() && matches!(op, Op::Create | Op::Update | Op::Read) {
            return Err(missing("after"));
        }
        let tx_id = self.source.tx_id.map(u32::try_from).transpose().map_err(|_| missing("source.txId"))?;
        Ok(ChangeEvent {
            op,
            before: self.before,
            after: self.after,
            unchanged,
            source: Source {
                name: intern(&mut names.source, self.source.name.unwrap_or_default()),
                database: intern(&mut names.database, self.source.database.unwrap_or_default()),
                position,
                lsn: lsn.unwrap_or(position.lsn.0),
                tx_id,
                ts_us,
                snapshot: source_facts::snapshot_of(self.source.snapshot.unwrap_or_default()),
            },
            ts_us: micros(self.ts_us, self.ts_ms).unwrap_or(ts_us),
            transaction: self.transaction,
            schema,
        })
    }
}

/// Whether Debezium put its placeholder here: as it is, as bytes, or as the only item of an array.
fn is_unavailable(value: &Value) -> bool {
    match value {
        Value::Text(text) | Value::Json(text) => text == UNAVAILABLE,
        Value::Bytes(bytes) => bytes == UNAVAILABLE.as_bytes(),
        Value::Array(items) => matches!(items.as_slice(), [item] if is_unavailable(item)),
        Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::Decimal(_)
        | Value::NumericSpecial(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::Timestamp(_)
        | Value::TimestampTz(_)
        | Value::Uuid(_) => false,
    }
}
