//! The functions of derived columns: from a row's cells to one more. Pure; rows of topics and of the lake go through the same ones.

use super::cell::Cell;
use super::reference::{References, minor_units};
use affluent_features::definition::{Argument, Derived, Function};
use affluent_features::event::DAY;
use std::borrow::Cow;
use url::Url;

/// 2000-01-01, microseconds: sources do not reach back further.
const CENTURY: i64 = 946_684_800_000_000;

/// Where a value comes from.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// A field of the row, by its place.
    Field(usize),
    Derived(Function, Vec<Operand>),
}

/// What a function is given.
#[derive(Debug, Clone)]
pub(super) enum Operand {
    Field(usize),
    Literal(String),
}

impl Value {
    /// The value of a name: derived, or the field itself; `field` gives each field its place.
    pub(super) fn of(name: &str, derived: Option<&Derived>, mut field: impl FnMut(&str) -> usize) -> Self {
        let Some(derived) = derived else { return Value::Field(field(name)) };
        let operand = |argument: &Argument| match argument {
            Argument::Field(name) => Operand::Field(field(name)),
            Argument::Literal(text) => Operand::Literal(text.clone()),
        };
        Value::Derived(derived.function, derived.arguments.iter().map(operand).collect())
    }

    /// The value in this row.
    ///
    /// # Errors
    /// A message: what does not fit.
    pub(super) fn get<'c>(
        &self,
        row: &'c [Cell<'c>],
        references: &'c References,
    ) -> Result<Cow<'c, Cell<'c>>, String> {
        match self {
            Value::Field(place) => Ok(Cow::Borrowed(&row[*place])),
            Value::Derived(function, operands) => {
                Given { row, operands }.compute(*function, references).map(Cow::Owned)
            }
        }
    }
}

/// The arguments of one call.
struct Given<'c, 'o> {
    row: &'c [Cell<'c>],
    operands: &'o [Operand],
}

impl<'c> Given<'c, '_> {
    fn cell(&self, nth: usize) -> Cow<'c, Cell<'c>> {
        match &self.operands[nth] {
            Operand::Field(place) => Cow::Borrowed(&self.row[*place]),
            Operand::Literal(text) => Cow::Owned(Cell::owned(text.clone())),
        }
    }

    /// Trimmed; none where nothing is left.
    fn text(&self, nth: usize) -> Result<Option<String>, String> {
        let cell = self.cell(nth);
        let text = cell.text()?;
        Ok(text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()))
    }

    fn lower(&self, nth: usize) -> Result<Option<String>, String> {
        Ok(self.text(nth)?.map(|text| text.to_lowercase()))
    }

    fn code(&self, nth: usize) -> Result<Option<String>, String> {
        Ok(self.text(nth)?.map(|text| text.to_uppercase()))
    }

    /// An exact number: unscaled, decimal places.
    fn decimal(&self, nth: usize) -> Result<Option<(i128, u32)>, String> {
        match self.cell(nth).as_ref() {
            Cell::Null => Ok(None),
            Cell::Int(value) => Ok(Some(((*value).into(), 0))),
            Cell::Decimal { unscaled, scale } => Ok(Some((*unscaled, *scale))),
            Cell::Bool(_) | Cell::Float(_) | Cell::Text(_) | Cell::Time(_) | Cell::Other(_) => {
                Err("an amount is an exact number".to_owned())
            }
        }
    }

    fn time(&self, nth: usize) -> Result<Option<i64>, String> {
        self.cell(nth).time()
    }

    /// Of an address, else of a card.
    fn country<'r>(&self, references: &'r References) -> Result<&'r str, String> {
        let (address, bin) = (self.lower(0)?, self.text(1)?);
        let address = address.as_deref().and_then(|address| address.split('/').next());
        Ok(references.country(address, bin.as_deref()))
    }

    fn compute(&self, function: Function, references: &References) -> Result<Cell<'c>, String> {
        let text = |text: Option<String>| text.map_or(Cell::Null, Cell::owned);
        let number = |number: Option<i64>| number.map_or(Cell::Null, Cell::Int);
        let degrees = |millionths: Option<i64>| {
            millionths.map_or(Cell::Null, |degrees| Cell::Decimal { unscaled: degrees.into(), scale: 6 })
        };
        Ok(match function {
            Function::Lower => text(self.lower(0)?),
            Function::Trim => text(self.text(0)?),
            Function::Address => {
                let address = self.lower(0)?;
                text(address.and_then(|a| a.split('/').next().filter(|a| !a.is_empty()).map(str::to_owned)))
            }
            Function::Path => text(self.text(0)?.and_then(|address| path(&address))),
            Function::Status => match (self.text(0)?, self.lower(1)?) {
                (Some(kind), Some(status)) => {
                    let known = references.status(&kind, &status);
                    Cell::owned(known.ok_or_else(|| format!("unknown status {status:?}"))?.to_owned())
                }
                _ => Cell::Null,
            },
            Function::MinorUnits => match (self.decimal(0)?, self.code(1)?) {
                (Some(amount), Some(currency)) => Cell::Int(minor_units(amount, &currency)?),
                _ => Cell::Null,
            },
            Function::Reporting => match (self.decimal(0)?, self.code(1)?, self.time(2)?) {
                (Some(amount), Some(currency), Some(time)) => {
                    number(references.reporting(amount, &currency, time)?)
                }
                _ => Cell::Null,
            },
            Function::Country => Cell::owned(self.country(references)?.to_owned()),
            Function::Latitude => degrees(references.place(self.country(references)?).map(|place| place.0)),
            Function::Longitude => degrees(references.place(self.country(references)?).map(|place| place.1)),
            Function::Network => Cell::owned(references.network(self.text(0)?.as_deref()).to_owned()),
            Function::Visitor => {
                let mut names = ["s:", "a:", "u:", "e:"].into_iter().enumerate();
                names
                    .find_map(|(nth, kind)| {
                        let cell = self.cell(nth);
                        let name = cell.text().ok()??;
                        (!name.is_empty()).then(|| Cell::owned(format!("{kind}{name}")))
                    })
                    .unwrap_or(Cell::Null)
            }
            Function::Occurred => match (self.time(0)?, self.time(1)?) {
                (Some(occurred), Some(received)) => {
                    let can_be = occurred >= CENTURY && occurred < received.saturating_add(DAY);
                    Cell::Time(if can_be { occurred } else { received })
                }
                (occurred, received) => received.or(occurred).map_or(Cell::Null, Cell::Time),
            },
        })
    }
}

/// From the first slash to the query, of an absolute address or of a path; as `staged.clickstream_events` has it.
fn path(address: &str) -> Option<String> {
    if let Ok(url) = Url::parse(address) {
        return url.has_host().then(|| url.path().to_owned());
    }
    let is_path = address.starts_with('/') && !address.starts_with("//");
    let base = Url::parse("http://host/").ok().filter(|_| is_path)?;
    base.join(address).ok().map(|url| url.path().to_owned())
}
