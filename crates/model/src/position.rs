//! Where a change stands in the source's log.
//!
//! Invariant: a position is never an LSN alone. Several row events share one LSN; (commit LSN,
//! ordinal in the transaction) is unique and orders all changes of a source.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A byte address in PostgreSQL's write-ahead log; text form `16/B374D848`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// The text is not of the form `HEX/HEX`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid position {0:?}: expected the form 16/B374D848")]
pub struct ParseError(pub String);

impl FromStr for Lsn {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = |part: &str| u64::from(u32::from_str_radix(part, 16).unwrap_or_default());
        let valid = |part: &str| u32::from_str_radix(part, 16).is_ok() && !part.starts_with('+');
        match text.split_once('/') {
            Some((high, low)) if valid(high) && valid(low) => Ok(Lsn(parse(high) << 32 | parse(low))),
            _ => Err(ParseError(text.to_owned())),
        }
    }
}

/// Commit LSN and the ordinal of the change in its transaction (from 1).
///
/// Rows of a snapshot carry the LSN at which the stream starts and ordinal 0: any change that the
/// snapshot may or may not have seen is streamed again with a greater position, so a store that
/// applies only newer positions converges, in whatever order the two arrive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    pub lsn: Lsn,
    pub ordinal: u64,
}

impl Position {
    /// A position from its parts.
    #[must_use]
    pub fn new(lsn: u64, ordinal: u64) -> Self {
        Position { lsn: Lsn(lsn), ordinal }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.lsn, self.ordinal)
    }
}

impl FromStr for Position {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseError(text.to_owned());
        let (lsn, ordinal) = text.split_once('+').ok_or_else(error)?;
        Ok(Position { lsn: lsn.parse()?, ordinal: ordinal.parse().map_err(|_| error())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_round_trips(lsn: u64, ordinal: u64) {
            let position = Position::new(lsn, ordinal);
            prop_assert_eq!(position.to_string().parse::<Position>(), Ok(position));
        }

        #[test]
        fn any_text_parses_or_is_refused(text in ".{0,24}") {
            if let Ok(position) = text.parse::<Position>() {
                prop_assert_eq!(position.to_string().parse::<Position>(), Ok(position));
            }
        }
    }
}
