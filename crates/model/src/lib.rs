//! The nouns of the platform: values, schemas, change events, positions, money, events, scores, alerts, names.
//!
//! Nothing here does I/O or waits. What two crates must agree on is defined here once.

pub mod alert;
pub mod change;
pub mod event;
pub mod money;
pub mod names;
pub mod position;
pub mod quarantine;
pub mod schema;
pub mod score;
pub mod time;
pub mod value;

pub use alert::{Alert, AlertState, Severity};
pub use change::{ChangeEvent, Op, Snapshot, Source, Transaction};
pub use event::{ClickEvent, EventKind, LogEvent, LogKind};
pub use money::{Currency, Money, MoneyError};
pub use position::{Lsn, Position};
pub use quarantine::{DeadLetter, Reason};
pub use schema::{Column, ColumnType, TableId, TableSchema};
pub use score::ScoreEvent;
pub use value::{Row, Value};
