//! Reading envelopes by their plan.

use super::binary::{Malformed, Take};
use super::plan::{
    EnvelopeField, EnvelopePlan, Field, Reader, RowPlan, Scalar, ScalarKind, Skip, SourceField,
    TransactionField,
};
use crate::codec::{envelope::Envelope, numbers, text};
use affluent_model::{Transaction, Value};
use bigdecimal::num_bigint::BigInt;

type Outcome<T> = Result<T, Malformed>;

/// Reads a whole envelope; bytes after it are an error.
pub(crate) fn envelope<'a>(input: &'a [u8], plan: &EnvelopePlan) -> Outcome<Envelope<'a>> {
    let mut take = Take(input);
    let mut envelope = Envelope::default();
    for field in &plan.fields {
        match field {
            EnvelopeField::Before(null) => envelope.before = optional_row(&mut take, *null, &plan.row)?,
            EnvelopeField::After(null) => envelope.after = optional_row(&mut take, *null, &plan.row)?,
            EnvelopeField::Source(fields) => source(&mut take, fields, &mut envelope)?,
            EnvelopeField::Transaction(null, fields) => {
                envelope.transaction =
                    if is_null(&mut take, *null)? { None } else { Some(transaction(&mut take, fields)?) };
            }
            EnvelopeField::Op(plan) => envelope.op = scalar(&mut take, plan)?.text(),
            EnvelopeField::TsMs(plan) => envelope.ts_ms = scalar(&mut take, plan)?.long(),
            EnvelopeField::TsUs(plan) => envelope.ts_us = scalar(&mut take, plan)?.long(),
            EnvelopeField::Unchanged(null) => {
                if !is_null(&mut take, *null)? {
                    loop {
                        let count = take.block()?;
                        if count == 0 {
                            break;
                        }
                        for _ in 0..count {
                            envelope.unchanged.push(take.text()?);
                        }
                    }
                }
            }
            EnvelopeField::Skip(plan) => skip(&mut take, plan)?,
        }
    }
    if take.0.is_empty() { Ok(envelope) } else { Err(Malformed("bytes after the end")) }
}

fn source<'a>(
    take: &mut Take<'a>,
    fields: &[(SourceField, Scalar)],
    envelope: &mut Envelope<'a>,
) -> Outcome<()> {
    for (field, plan) in fields {
        let value = scalar(take, plan)?;
        let source = &mut envelope.source;
        match field {
            SourceField::Name => source.name = value.text(),
            SourceField::Database => source.database = value.text(),
            SourceField::Snapshot => source.snapshot = value.text(),
            SourceField::TsMs => source.ts_ms = value.long(),
            SourceField::TsUs => source.ts_us = value.long(),
            SourceField::Schema => source.schema = value.text(),
            SourceField::Table => source.table = value.text(),
            SourceField::TxId => source.tx_id = value.long(),
            SourceField::Lsn => source.lsn = value.long(),
            SourceField::Position => source.position = value.text(),
            SourceField::Other => {}
        }
    }
    Ok(())
}

fn transaction(take: &mut Take<'_>, fields: &[(TransactionField, Scalar)]) -> Outcome<Transaction> {
    let mut transaction = Transaction { id: String::new(), total_order: 0, data_collection_order: 0 };
    for (field, plan) in fields {
        let value = scalar(take, plan)?;
        match field {
            TransactionField::Id => value.text().unwrap_or_default().clone_into(&mut transaction.id),
            TransactionField::TotalOrder => {
                transaction.total_order = value.long().unwrap_or(0).cast_unsigned();
            }
            TransactionField::DataCollectionOrder => {
                transaction.data_collection_order = value.long().unwrap_or(0).cast_unsigned();
            }
            TransactionField::Other => {}
        }
    }
    Ok(transaction)
}

enum Read<'a> {
    Nothing,
    Text(&'a str),
    Long(i64),
}

impl<'a> Read<'a> {
    fn text(self) -> Option<&'a str> {
        match self {
            Read::Text(text) => Some(text),
            Read::Nothing | Read::Long(_) => None,
        }
    }

    fn long(self) -> Option<i64> {
        match self {
            Read::Long(value) => Some(value),
            Read::Nothing | Read::Text(_) => None,
        }
    }
}

fn scalar<'a>(take: &mut Take<'a>, plan: &Scalar) -> Outcome<Read<'a>> {
    if is_null(take, plan.null)? {
        return Ok(Read::Nothing);
    }
    Ok(match &plan.kind {
        ScalarKind::Text => Read::Text(take.text()?),
        ScalarKind::Long => Read::Long(take.long()?),
        ScalarKind::Skip(plan) => {
            skip(take, plan)?;
            Read::Nothing
        }
    })
}

fn is_null(take: &mut Take<'_>, null: Option<i64>) -> Outcome<bool> {
    let Some(null) = null else { return Ok(false) };
    match take.long()? {
        branch @ (0 | 1) => Ok(branch == null),
        _ => Err(Malformed("union has no such branch")),
    }
}

fn optional_row(take: &mut Take<'_>, null: Option<i64>, plan: &RowPlan) -> Outcome<Option<Vec<Value>>> {
    if is_null(take, null)? {
        return Ok(None);
    }
    let mut row = Vec::with_capacity(plan.fields.len());
    for field in &plan.fields {
        row.push(read_field(take, field)?);
    }
    Ok(Some(row))
}

fn read_field(take: &mut Take<'_>, field: &Field) -> Outcome<Value> {
    if is_null(take, field.null)? { Ok(Value::Null) } else { read_value(take, &field.reader) }
}

fn read_value(take: &mut Take<'_>, reader: &Reader) -> Outcome<Value> {
    let scaled = |value: i64, unit: i64| match value {
        // The infinities stay what they are in any unit.
        i64::MAX | i64::MIN => Ok(value),
        _ => value.checked_mul(unit).ok_or(Malformed("time out of range")),
    };
    Ok(match reader {
        Reader::Bool => Value::Bool(take.bool()?),
        Reader::Int => Value::Int(i64::from(take.int()?)),
        Reader::Long => Value::Int(take.long()?),
        Reader::Float => Value::Float(f64::from(f32::from_le_bytes(take.array()?))),
        Reader::Double => Value::Float(f64::from_le_bytes(take.array()?)),
        Reader::Decimal { scale } => decimal(take.bytes()?, *scale)?,
        Reader::DecimalFixed { scale, size } => decimal(take.raw(*size)?, *scale)?,
        Reader::VariableScale => {
            let scale = i64::from(take.int()?);
            decimal(take.bytes()?, scale)?
        }
        Reader::Text => Value::Text(take.text()?.to_owned()),
        Reader::Bytes => Value::Bytes(take.bytes()?.to_vec()),
        Reader::Fixed(size) => Value::Bytes(take.raw(*size)?.to_vec()),
        Reader::Symbol(symbols) => {
            let symbol = usize::try_from(take.int()?).ok().and_then(|index| symbols.get(index));
            Value::Text(symbol.ok_or(Malformed("enum has no such symbol"))?.clone())
        }
        Reader::Date => Value::Date(take.int()?),
        Reader::Time(unit) => Value::Time(scaled(take.long()?, *unit)?),
        Reader::Timestamp(unit) => Value::Timestamp(scaled(take.long()?, *unit)?),
        Reader::TimestampTz(unit) => Value::TimestampTz(scaled(take.long()?, *unit)?),
        Reader::ZonedText => {
            Value::TimestampTz(text::parse_zoned(take.text()?).ok_or(Malformed("not an instant"))?)
        }
        Reader::Uuid => Value::Uuid(take.text()?.parse().map_err(|_| Malformed("not a UUID"))?),
        Reader::Json => Value::Json(take.text()?.to_owned()),
        Reader::Array(item) => {
            let mut items = Vec::new();
            loop {
                let count = take.block()?;
                if count == 0 {
                    break Value::Array(items);
                }
                for _ in 0..count {
                    items.push(read_field(take, item)?);
                }
            }
        }
    })
}

fn decimal(bytes: &[u8], scale: i64) -> Outcome<Value> {
    let unscaled = match <[u8; 8]>::try_from(bytes) {
        Ok(bytes) => BigInt::from(i64::from_be_bytes(bytes)),
        Err(_) => BigInt::from_signed_bytes_be(bytes),
    };
    numbers::bounded(unscaled, scale).map(Value::Decimal).ok_or(Malformed("decimal out of bounds"))
}

fn skip(take: &mut Take<'_>, plan: &Skip) -> Outcome<()> {
    match plan {
        Skip::Nothing => {}
        Skip::Varint => {
            take.long()?;
        }
        Skip::Fixed(size) => {
            take.raw(*size)?;
        }
        Skip::Bytes => {
            take.bytes()?;
        }
        Skip::Array(items) | Skip::Map(items) => loop {
            let count = take.block()?;
            if count == 0 {
                break;
            }
            for _ in 0..count {
                if matches!(plan, Skip::Map(_)) {
                    take.bytes()?;
                }
                skip(take, items)?;
            }
        },
        Skip::Union(branches) => {
            let branch = usize::try_from(take.long()?).ok().and_then(|index| branches.get(index));
            skip(take, branch.ok_or(Malformed("union has no such branch"))?)?;
        }
        Skip::Record(fields) => {
            for field in fields {
                skip(take, field)?;
            }
        }
    }
    Ok(())
}
