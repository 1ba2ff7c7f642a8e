//! Features of the request itself: what the event that asks says on its own, without any history.

use crate::aggregate::finish;
use crate::definition::ColumnType;
use crate::event::{self, NULL};

/// Hours of the night: from this one to before the next, UTC.
pub const NIGHT: (i64, i64) = (0, 6);

/// What is computed of the current event. Columns are positions in the source, places their decimals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    Value {
        column: usize,
        places: u8,
    },
    /// Natural logarithm of one more than the value; nothing below minus one.
    Log1p {
        column: usize,
        places: u8,
    },
    Hour,
    Weekday,
    /// 1 on Saturday and Sunday, else 0.
    Weekend,
    /// 1 from 0 to 6 o'clock, else 0.
    Night,
    /// Kilometres between two places: latitude and longitude of each.
    Distance {
        from: (usize, usize),
        to: (usize, usize),
    },
}

impl Request {
    /// The feature of this name over these columns.
    ///
    /// # Errors
    /// A message: which names there are, which columns each takes.
    pub(crate) fn checked(name: &str, columns: &[(usize, ColumnType)]) -> Result<Self, String> {
        let number = || match columns {
            &[(column, kind)] if kind != ColumnType::Text => Ok((column, kind.places())),
            _ => Err(format!("{name} needs one column that is no text")),
        };
        let without = |request| match columns {
            [] => Ok(request),
            _ => Err(format!("{name} has no column")),
        };
        match name {
            "value" => number().map(|(column, places)| Request::Value { column, places }),
            "log1p" => number().map(|(column, places)| Request::Log1p { column, places }),
            "hour" => without(Request::Hour),
            "weekday" => without(Request::Weekday),
            "weekend" => without(Request::Weekend),
            "night" => without(Request::Night),
            "distance" => match columns {
                &[a, b, c, d] if columns.iter().all(|(_, kind)| *kind == ColumnType::Degrees) => {
                    Ok(Request::Distance { from: (a.0, b.0), to: (c.0, d.0) })
                }
                _ => {
                    Err("distance needs columns = [latitude, longitude, latitude, longitude] of type degrees"
                        .to_owned())
                }
            },
            _ => {
                let known = ["value", "log1p", "hour", "weekday", "weekend", "night", "distance"];
                Err(format!("unknown aggregate {name}: for a request there are {}", known.join(", ")))
            }
        }
    }

    /// The columns it reads.
    #[must_use]
    pub fn columns(&self) -> Vec<usize> {
        match self {
            Request::Value { column, .. } | Request::Log1p { column, .. } => vec![*column],
            Request::Hour | Request::Weekday | Request::Weekend | Request::Night => Vec::new(),
            Request::Distance { from, to } => vec![from.0, from.1, to.0, to.1],
        }
    }

    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Request::Value { .. } => "value",
            Request::Log1p { .. } => "log1p",
            Request::Hour => "hour",
            Request::Weekday => "weekday",
            Request::Weekend => "weekend",
            Request::Night => "night",
            Request::Distance { .. } => "distance",
        }
    }

    /// The value of an event; NaN where a column is null.
    #[must_use]
    pub fn value(&self, time: i64, cells: &[i64]) -> f64 {
        let truth = |holds: bool| f64::from(u8::from(holds));
        match *self {
            Request::Value { column, places } => number(cells[column], places),
            Request::Log1p { column, places } => {
                let value = number(cells[column], places);
                if value > -1.0 { value.ln_1p() } else { f64::NAN }
            }
            Request::Hour => event::hour(time) as f64,
            Request::Weekday => event::weekday(time) as f64,
            Request::Weekend => truth(event::weekday(time) >= 6),
            Request::Night => truth((NIGHT.0..NIGHT.1).contains(&event::hour(time))),
            Request::Distance { from, to } => {
                let of = [from.0, from.1, to.0, to.1].map(|column| cells[column]);
                if of.contains(&NULL) { f64::NAN } else { event::distance_km((of[0], of[1]), (of[2], of[3])) }
            }
        }
    }
}

fn number(cell: i64, places: u8) -> f64 {
    if cell == NULL { f64::NAN } else { finish::scaled(cell as f64, places) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_computed_of_their_event() {
        let money = [(0, ColumnType::Money)];
        let log = Request::checked("log1p", &money).unwrap();
        assert_eq!(log.value(0, &[99]), 100f64.ln());
        assert!(log.value(0, &[-1]).is_nan() && log.value(0, &[NULL]).is_nan());
        let at =
            |name: &str, hours: i64| Request::checked(name, &[]).unwrap().value(hours * event::HOUR, &[]);
        // The epoch was a Thursday.
        assert_eq!(
            (at("night", 5), at("night", 6), at("weekend", 47), at("weekend", 48)),
            (1.0, 0.0, 0.0, 1.0)
        );
        Request::checked("hour", &money).unwrap_err();
        Request::checked("distance", &money).unwrap_err();
    }
}
