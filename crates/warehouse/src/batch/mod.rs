//! The batch pipeline: raw rows to the staged zone, from there to `curated` and `dwh`, checked and published.
//!
//! - [`Models`]: what is computed, from SQL files; order, lineage.
//! - [`Batch`]: computes it: new raw rows (`clean`), what changed since (`compute`), all of it again and compared
//!   (`full`), `checks`, published versions (`publish`).
//! - [`RawToDwh`]: the tasks of the pipelines, as the scheduler calls them.
//!
//! Decisions are pure: what a commit takes in ([`window`]), what differs (`digest`), what depends on what
//! (`model`). Invariant: a table keeps, in the commit that changes its rows, up to which staged records it has
//! been computed; so whatever is killed, the next run goes on from what is there, and nothing counts twice.

mod builtin;
mod changed;
mod checks;
mod clean;
mod columns;
mod compute;
mod digest;
mod error;
mod fence;
mod frontier;
mod full;
mod model;
mod newest;
mod options;
mod publish;
mod refused;
mod row_set;
mod row_versions;
mod rows;
mod seeds;
mod sql;
mod tables;
mod units;
pub mod window;
mod work;

pub(crate) use builtin::IMPORTS;
pub use builtin::QUESTIONS;
pub use checks::CheckResult;
pub(crate) use columns::{CHANGES, of_named};
pub use error::BatchError;
pub use fence::{Fence, Unfenced};
pub use full::Difference;
pub use model::{Balance, Header, Model, Models, Rule, Severity, Strategy, Task, Test};
pub use options::BatchOptions;
pub use publish::{VERSIONS, Version, published_pins, versions};
pub use seeds::Seeds;
pub use tables::{Batch, Done};
pub use work::{RawToDwh, TASKS};
