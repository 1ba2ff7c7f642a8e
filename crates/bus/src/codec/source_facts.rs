//! The parts of Debezium's `source` block that are the same in every format.

use affluent_model::{Position, Snapshot, Source};
use std::fmt::Write as _;

pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
pub(crate) const CONNECTOR: &str = "postgresql";

/// Debezium's word.
pub(crate) fn snapshot_name(snapshot: Snapshot) -> &'static str {
    match snapshot {
        Snapshot::False => "false",
        Snapshot::True => "true",
        Snapshot::Incremental => "incremental",
    }
}

/// From Debezium's word; it says `first`, `last`, … of some rows of a snapshot.
pub(crate) fn snapshot_of(name: &str) -> Snapshot {
    match name {
        "" | "false" => Snapshot::False,
        "incremental" => Snapshot::Incremental,
        _ => Snapshot::True,
    }
}

/// `["<commit lsn>","<lsn>"]`, decimal, as Debezium writes it.
pub(crate) fn with_sequence(source: &Source, with: impl FnOnce(&str)) {
    let mut text = ShortText::default();
    let _ = write!(text, "[\"{}\",\"{}\"]", source.position.lsn.0, source.lsn);
    with(text.as_str());
}

/// The position's text form.
pub(crate) fn with_position(position: Position, with: impl FnOnce(&str)) {
    let mut text = ShortText::default();
    let _ = write!(text, "{position}");
    with(text.as_str());
}

/// Text of at most 64 bytes on the stack; both texts above are shorter at their longest (47, 38).
#[derive(Default)]
struct ShortText {
    bytes: [[u8; 32]; 2],
    length: usize,
}

impl ShortText {
    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes.as_flattened()[..self.length]).unwrap_or_default()
    }
}

impl std::fmt::Write for ShortText {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        let place = self.bytes.as_flattened_mut().get_mut(self.length..end).ok_or(std::fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}
