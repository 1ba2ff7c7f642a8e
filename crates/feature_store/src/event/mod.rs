//! From a row, of a topic or of the lake, to an event of the engine.
//!
//! A source of the definitions names the fields of its rows. [`Mapping`] reads them in one place for both ways: [`topic`] gives it the
//! values of a record, [`columns`] those of a row of a query. What it computes of them (currencies, places, statuses) is in `derive`,
//! by tables of [`References`] that both ways share.
//!
//! Whether an event is late is decided here, by its own times: it arrived more than the source's lateness after it happened. So it does
//! not depend on what was read before it, and topics may be read in any order ([`affluent_features::Options::any_order`]).
//!
//! Invariant: a row gives the same keys and cells whichever way it came.

mod cell;
pub mod columns;
mod derive;
mod reference;
#[cfg(test)]
mod tests;
pub mod topic;

pub use cell::Cell;
pub use reference::{ReferenceError, References};

use affluent_features::definition::{ColumnType, Definitions};
use affluent_features::event::{DAY, order_of};
use affluent_features::{Event, Key, NULL, Plan, SourceId};
use derive::Value;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Fields that rows of changes have and others have not, at the beginning of [`Mapping::fields`].
pub const OPTIONAL: [&str; 3] = ["_op", "_lsn", "_ordinal"];

/// Why a row is no event: a dead letter in the stream, counted in a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{source_name}.{field}: {problem}")]
pub struct Misfit {
    pub source_name: String,
    pub field: String,
    /// Without values of the row.
    pub problem: String,
}

/// What a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// An event to be applied.
    Event,
    /// It arrived later than the source allows: counted, not applied.
    Late,
    /// Nothing happened that the source is about: a deletion where nothing is corrected, a late change of what is known.
    Nothing,
}

/// An event as it was mapped. Kept by the caller, so that rows do not allocate.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mapped {
    pub time: i64,
    /// When it could be known, microseconds UTC.
    pub arrived: i64,
    pub order: u64,
    pub version: u64,
    pub removed: bool,
    /// Of a change of a row that had been there before.
    pub updated: bool,
    pub keys: Vec<Option<Key>>,
    pub cells: Vec<i64>,
}

impl Mapped {
    /// The event, for the engine.
    #[must_use]
    pub fn event(&self, source: SourceId) -> Event<'_> {
        let Mapped { time, order, version, removed, .. } = *self;
        Event { source, time, order, version, removed, keys: &self.keys, cells: &self.cells }
    }
}

/// How rows of one source become events.
#[derive(Debug, Clone)]
pub struct Mapping {
    name: String,
    source: SourceId,
    lateness: i64,
    corrections: bool,
    fields: Vec<String>,
    time: (String, Value),
    arrived: (String, Value),
    id: (String, Value),
    /// By entity; none where no feature is of it.
    keys: Vec<Option<(String, Value)>>,
    /// By column; none where no feature reads it.
    cells: Vec<Option<(String, ColumnType, Value)>>,
    references: Arc<References>,
}

impl Mapping {
    /// How rows of this source become events for a plan of these definitions. Columns that none of their features reads are left null.
    /// None where the plan has no such source.
    #[must_use]
    pub fn new(
        definitions: &Definitions,
        plan: &Plan,
        source: &str,
        references: &Arc<References>,
    ) -> Option<Self> {
        let id = plan.source(source)?;
        let source = definitions.sources.get(source)?;
        let mut read = BTreeSet::new();
        for feature in &definitions.features {
            if definitions.sources_of(feature) == [source.name.as_str()] {
                read.extend(feature.compute.reads());
            }
        }
        let mut fields: Vec<String> = OPTIONAL.map(str::to_owned).into();
        let mut place = |name: &str| {
            fields.iter().position(|field| field == name).unwrap_or_else(|| {
                fields.push(name.to_owned());
                fields.len() - 1
            })
        };
        let mut value = |name: &str| (name.to_owned(), Value::of(name, source.derived.get(name), &mut place));
        let (time, arrived, of_id) =
            (value(&source.event_time), value(&source.arrival_time), value(&source.id));
        let has_features = |entity: &str| plan.entity(entity).is_some();
        let keys = source.entities.iter().map(|(entity, column)| has_features(entity).then(|| value(column)));
        let keys = keys.collect();
        let cells = source.columns.iter().enumerate().map(|(nth, column)| {
            read.contains(&nth).then(|| {
                let (name, value) = value(&column.name);
                (name, column.kind, value)
            })
        });
        let cells = cells.collect();
        Some(Mapping {
            name: source.name.clone(),
            source: id,
            lateness: source.lateness,
            corrections: source.corrections,
            time,
            arrived,
            id: of_id,
            keys,
            cells,
            references: Arc::clone(references),
            fields,
        })
    }

    /// The same, reading these fields of a row too: for whoever wants to know more of it than its event.
    #[must_use]
    pub fn reading(mut self, fields: &[&str]) -> Self {
        for field in fields {
            if !self.fields.iter().any(|known| known == field) {
                self.fields.push((*field).to_owned());
            }
        }
        self
    }

    /// The name of the source.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The source in the plan.
    #[must_use]
    pub fn source(&self) -> SourceId {
        self.source
    }

    /// The fields that a row is given as, in this order. A row without one of [`OPTIONAL`] has null there.
    #[must_use]
    pub fn fields(&self) -> &[String] {
        &self.fields
    }

    /// Writes the event of a row, whose cells are in the order of [`Mapping::fields`]. With [`Fit::Nothing`], nothing is written.
    ///
    /// # Errors
    /// [`Misfit`]: which field, and why.
    pub fn event(&self, row: &[Cell<'_>], into: &mut Mapped) -> Result<Fit, Misfit> {
        let operation = row[0].text().map_err(|problem| self.misfit(OPTIONAL[0], problem))?;
        let (is_removed, is_update) = match operation.as_deref() {
            Some("t") => return Ok(Fit::Nothing),
            Some("d") if !self.corrections => return Ok(Fit::Nothing),
            Some("d") => (true, false),
            Some("u") => (false, true),
            Some(_) | None => (false, false),
        };
        (into.removed, into.updated) = (is_removed, is_update);
        into.time = self.time(row, &self.time)?;
        // When the rows of a snapshot came about is not recorded: they are the past, known when they happened.
        let is_past = operation.as_deref() == Some("r");
        into.arrived = if is_past { into.time } else { self.time(row, &self.arrived)? };
        if into.time > into.arrived.saturating_add(DAY) {
            return Err(self.misfit(&self.time.0, "more than a day after its arrival".to_owned()));
        }
        if into.arrived.saturating_sub(into.time) > self.lateness {
            // Without corrections a change of a known row says nothing new, and is never too late.
            return Ok(if is_update && !self.corrections { Fit::Nothing } else { Fit::Late });
        }
        let id = self.get(row, &self.id)?;
        let id = id.text().map_err(|problem| self.misfit(&self.id.0, problem))?;
        into.order = order_of(&id.ok_or_else(|| self.misfit(&self.id.0, "is null".to_owned()))?);
        into.version = if self.corrections { self.version(row)? } else { 0 };
        into.keys.clear();
        for key in &self.keys {
            into.keys.push(match key {
                Some(key) => self.get(row, key)?.key().map_err(|problem| self.misfit(&key.0, problem))?,
                None => None,
            });
        }
        into.cells.clear();
        for column in &self.cells {
            into.cells.push(match column {
                Some((name, kind, value)) => {
                    let cell = value.get(row, &self.references).and_then(|cell| cell.cell(*kind));
                    cell.map_err(|problem| self.misfit(name, problem))?
                }
                None => NULL,
            });
        }
        Ok(Fit::Event)
    }

    /// The key of an entity (by its place in the source) as text, in the one form that all its spellings have.
    #[must_use]
    pub fn key_text(&self, row: &[Cell<'_>], entity: usize) -> Option<String> {
        let key = self.keys.get(entity)?.as_ref()?;
        let cell = self.get(row, key).ok()?;
        let text = cell.text().ok()??;
        Some(Key::canonical(&text).into_owned())
    }

    /// The id of a row as text.
    #[must_use]
    pub fn id_text(&self, row: &[Cell<'_>]) -> Option<String> {
        let cell = self.get(row, &self.id).ok()?;
        Some(cell.text().ok()??.into_owned())
    }

    fn get<'c>(
        &'c self,
        row: &'c [Cell<'c>],
        (name, value): &(String, Value),
    ) -> Result<Cow<'c, Cell<'c>>, Misfit> {
        value.get(row, &self.references).map_err(|problem| self.misfit(name, problem))
    }

    fn time(&self, row: &[Cell<'_>], field: &(String, Value)) -> Result<i64, Misfit> {
        let time = self.get(row, field)?.time().map_err(|problem| self.misfit(&field.0, problem))?;
        time.ok_or_else(|| self.misfit(&field.0, "is null".to_owned()))
    }

    /// Position in the source's log as one number: changes lie at multiples of eight bytes; their ordinals take 16 bits.
    fn version(&self, row: &[Cell<'_>]) -> Result<u64, Misfit> {
        let number = |place: usize| match row[place] {
            Cell::Null => Ok(0),
            Cell::Int(value) => Ok(value.cast_unsigned()),
            _ => Err(self.misfit(OPTIONAL[place], "expected a whole number".to_owned())),
        };
        let (lsn, ordinal) = (number(1)?, number(2)?);
        let lsn = Some(lsn >> 3).filter(|lsn| *lsn < 1 << 48);
        let lsn = lsn.ok_or_else(|| self.misfit(OPTIONAL[1], "beyond 2 PiB of log".to_owned()))?;
        Ok(lsn << 16 | ordinal.min(0xFFFF))
    }

    fn misfit(&self, field: &str, problem: String) -> Misfit {
        Misfit { source_name: self.name.clone(), field: field.to_owned(), problem }
    }
}
