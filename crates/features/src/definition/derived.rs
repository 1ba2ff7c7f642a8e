//! How a column comes about that rows do not hold as such: `amount = "reporting(amount, currency, created_at)"`.
//!
//! A source says it once, for rows of its topic and of its query alike, so that both mean the same. Here is what may be written;
//! what the functions compute is the feature store's, which has the rates and the networks.

use super::keys;
use std::fmt;

/// What is computed of a row. Text is trimmed, and empty text is null, in all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// Text in lower case.
    Lower,
    /// Text without blanks around it.
    Trim,
    /// An IP address without the length of its network.
    Address,
    /// The path of a web address.
    Path,
    /// A status in canonical words: kind of row (a literal), status. Unknown ones are refused.
    Status,
    /// Minor units: amount, currency. Nothing is rounded.
    MinorUnits,
    /// Minor units of the reporting currency: amount, currency, time; at the rate of its day, rounded half to even.
    Reporting,
    /// The country of an address, else of a card: address, BIN.
    Country,
    /// The middle of that country, degrees north; null where it is not known.
    Latitude,
    /// The same, degrees east.
    Longitude,
    /// The network of a card: BIN.
    Network,
    /// Whose session it is: session, anonymous visitor, user, event.
    Visitor,
    /// When it happened, if that can be, else when it was received: both times.
    Occurred,
}

/// Name as it is written, function, and how many arguments it takes.
const FUNCTIONS: &[(&str, Function, usize)] = &[
    ("lower", Function::Lower, 1),
    ("trim", Function::Trim, 1),
    ("address", Function::Address, 1),
    ("path", Function::Path, 1),
    ("status", Function::Status, 2),
    ("minor_units", Function::MinorUnits, 2),
    ("reporting", Function::Reporting, 3),
    ("country", Function::Country, 2),
    ("latitude", Function::Latitude, 2),
    ("longitude", Function::Longitude, 2),
    ("network", Function::Network, 1),
    ("visitor", Function::Visitor, 4),
    ("occurred", Function::Occurred, 2),
];

/// What a function is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// A field of the row.
    Field(String),
    /// The text itself: `'transactions'`.
    Literal(String),
}

/// A derived column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derived {
    pub function: Function,
    pub arguments: Vec<Argument>,
}

impl Derived {
    /// Reads `function(field, 'literal', ...)`.
    ///
    /// # Errors
    /// A message: what is wrong, and the nearest known function.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let parts = text.trim().strip_suffix(')').and_then(|open| open.split_once('('));
        let Some((name, arguments)) = parts else {
            return Err(format!("{text:?}: expected function(field, ...)"));
        };
        let name = name.trim();
        let Some(&(_, function, arity)) = FUNCTIONS.iter().find(|(known, ..)| *known == name) else {
            let near = keys::nearest(name, FUNCTIONS.iter().map(|(known, ..)| *known));
            return Err(format!("there is no function {name}{near}"));
        };
        let arguments: Vec<Argument> = arguments.split(',').map(argument).collect::<Result<_, _>>()?;
        if arguments.len() != arity {
            return Err(format!("{name} takes {arity} arguments, found {}", arguments.len()));
        }
        Ok(Derived { function, arguments })
    }
}

impl fmt::Display for Derived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = FUNCTIONS.iter().find(|(_, function, _)| *function == self.function);
        let arguments = self.arguments.iter().map(|argument| match argument {
            Argument::Field(name) => name.clone(),
            Argument::Literal(text) => format!("'{text}'"),
        });
        write!(f, "{}({})", name.map_or("", |(name, ..)| name), arguments.collect::<Vec<_>>().join(", "))
    }
}

fn argument(text: &str) -> Result<Argument, String> {
    let text = text.trim();
    if let Some(literal) = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        return Ok(Argument::Literal(literal.to_owned()));
    }
    let is_name = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_name { Ok(Argument::Field(text.to_owned())) } else { Err(format!("{text:?} is no field")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_or_refused() {
        let parsed = Derived::parse("status('transactions', status)").unwrap();
        let arguments = [Argument::Literal("transactions".into()), Argument::Field("status".into())];
        assert_eq!(parsed.to_string(), "status('transactions', status)");
        assert_eq!(parsed, Derived { function: Function::Status, arguments: arguments.into() });
        for (text, message) in [
            ("lowr(a)", "there is no function lowr; did you mean lower?"),
            ("lower(a, b)", "lower takes 1 arguments, found 2"),
            ("lower(a b)", "\"a b\" is no field"),
            ("lower", "\"lower\": expected function(field, ...)"),
        ] {
            assert_eq!(Derived::parse(text).unwrap_err(), message, "{text}");
        }
    }
}
