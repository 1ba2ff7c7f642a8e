//! Records of topics as the mapping reads them: cells from changes and clicks.
//!
//! The names are those of the raw zone of the lake, where the same records are: a change has the columns of its table and `_op`, `_lsn`,
//! `_ordinal`, `_commit_ts`; a click has its own.

use super::{Cell, Mapping};
use affluent_model::value::NumericSpecial;
use affluent_model::{ChangeEvent, ClickEvent, TableSchema, Value};
use bigdecimal::ToPrimitive as _;
use std::borrow::Cow;
use std::sync::Arc;

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// Where a field of the mapping is in a change.
#[derive(Debug, Clone, Copy)]
enum Place {
    Op,
    Lsn,
    Ordinal,
    CommitTime,
    Column(usize),
    Missing,
}

/// The cells of changes, whatever version of its table they are of.
#[derive(Debug, Default)]
pub struct Changes {
    /// Of the version that came last.
    known: Option<(Arc<TableSchema>, Vec<Place>)>,
}

impl Changes {
    /// Writes the cells of a change, in the order of [`Mapping::fields`]. A field that its table does not have is null.
    pub fn row<'a>(&mut self, mapping: &Mapping, change: &'a ChangeEvent, into: &mut Vec<Cell<'a>>) {
        let is_known = |(schema, _): &(Arc<TableSchema>, _)| Arc::ptr_eq(schema, &change.schema);
        if !self.known.as_ref().is_some_and(is_known) {
            let places = mapping.fields().iter().map(|name| place(name, &change.schema)).collect();
            self.known = Some((Arc::clone(&change.schema), places));
        }
        let places = self.known.as_ref().map_or(&[][..], |(_, places)| places);
        let image = change.after.as_ref().or(change.before.as_ref());
        let position = change.source.position;
        into.clear();
        into.extend(places.iter().map(|place| match *place {
            Place::Op => Cell::Text(Cow::Borrowed(change.op.code())),
            Place::Lsn => Cell::Int(position.lsn.0.cast_signed()),
            Place::Ordinal => Cell::Int(position.ordinal.cast_signed()),
            Place::CommitTime => Cell::Time(change.source.ts_us),
            Place::Column(column) => image.and_then(|row| row.get(column)).map_or(Cell::Null, cell),
            Place::Missing => Cell::Null,
        }));
    }
}

fn place(name: &str, schema: &TableSchema) -> Place {
    match name {
        "_op" => Place::Op,
        "_lsn" => Place::Lsn,
        "_ordinal" => Place::Ordinal,
        "_commit_ts" => Place::CommitTime,
        name => schema.index_of(name).map_or(Place::Missing, Place::Column),
    }
}

/// Writes the cells of a click, in the order of [`Mapping::fields`].
pub fn click<'a>(mapping: &Mapping, click: &'a ClickEvent<Cow<'a, str>>, into: &mut Vec<Cell<'a>>) {
    let optional =
        |text: &'a Option<Cow<'a, str>>| text.as_deref().map_or(Cell::Null, |text| Cell::Text(text.into()));
    into.clear();
    into.extend(mapping.fields().iter().map(|name| match name.as_str() {
        "event_id" => Cell::owned(click.event_id.to_string()),
        "user_id" => optional(&click.user_id),
        "anonymous_id" => optional(&click.anonymous_id),
        "session_id" => optional(&click.session_id),
        "event_type" => Cell::Text(click.event_type.as_ref().into()),
        "occurred_at" => Cell::Time(click.occurred_at),
        "received_at" => Cell::Time(click.received_at),
        "url" => optional(&click.url),
        "referrer" => optional(&click.referrer),
        "device" => optional(&click.device),
        "ip" => optional(&click.ip),
        "user_agent" => optional(&click.user_agent),
        "is_bot" => Cell::Bool(click.is_bot),
        "is_late" => Cell::Bool(click.is_late),
        "properties" => Cell::Text(click.properties.as_ref().into()),
        _ => Cell::Null,
    }));
}

/// One value of the bus.
#[must_use]
pub fn cell(value: &Value) -> Cell<'_> {
    match value {
        Value::Null => Cell::Null,
        Value::Bool(value) => Cell::Bool(*value),
        Value::Int(value) => Cell::Int(*value),
        Value::Float(value) => Cell::Float(*value),
        Value::Decimal(value) => {
            let (unscaled, scale) = value.as_bigint_and_exponent();
            let places = u32::try_from(scale.max(0)).ok();
            let shift = u32::try_from((-scale).max(0)).ok().and_then(|zeros| 10i128.checked_pow(zeros));
            let unscaled =
                unscaled.to_i128().zip(shift).and_then(|(number, shift)| number.checked_mul(shift));
            match unscaled.zip(places) {
                Some((unscaled, scale)) => Cell::Decimal { unscaled, scale },
                None => Cell::Other("a number beyond 128 bits"),
            }
        }
        Value::NumericSpecial(
            NumericSpecial::NaN | NumericSpecial::Infinity | NumericSpecial::NegativeInfinity,
        ) => Cell::Other("a number that is none"),
        Value::Text(text) | Value::Json(text) => Cell::Text(Cow::Borrowed(text)),
        Value::Uuid(id) => Cell::owned(id.to_string()),
        Value::Timestamp(micros) | Value::TimestampTz(micros) => Cell::Time(*micros),
        Value::Date(days) => Cell::Time(i64::from(*days).saturating_mul(DAY)),
        Value::Time(_) => Cell::Other("a time of day"),
        Value::Bytes(_) => Cell::Other("bytes"),
        Value::Array(_) => Cell::Other("a list"),
    }
}
