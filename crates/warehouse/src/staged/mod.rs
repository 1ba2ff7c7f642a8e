//! Raw events to the staged zone: `raw.clickstream_events` to `staged.clickstream_events`, `raw.logs`
//! to `staged.logs`, every few seconds.
//!
//! Decisions are pure: what to read next ([`progress`]), what rows become ([`clicks`], [`logs`] with
//! [`agent`], [`address`] and [`geo`]), which of them came before ([`once`]). Rows stay Arrow columns from file to
//! file. [`service`] carries them out.
//!
//! Invariant: the staged table keeps, in the commit that adds the rows, how far it has read its raw
//! table. So every raw row is considered once, whatever crashes, and two processes cannot both stage it.

pub mod address;
pub mod agent;
pub mod clicks;
pub mod geo;
pub mod logs;
mod memory;
pub mod once;
mod options;
pub mod progress;
mod service;
mod table;

pub use options::StageOptions;
pub(crate) use service::ensure_clicks;
pub use service::{StageError, StageService};
pub use table::Source;
