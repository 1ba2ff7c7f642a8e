//! Features: one definition of each, one implementation, the same value in stream, batch and training.
//!
//! [`definition`] reads and checks the files that say what a feature is, [`plan`] decides what has to be kept
//! to compute them, [`engine`] keeps it and answers, [`replay`] drives the same engine over history.
//! [`transform`] turns vectors into what a model reads. Stores, jobs and Kafka are not here: this crate does no I/O
//! but the reading of a directory of definitions.
//!
//! Invariant: a value is a pure function of the events in its window. Sums are exact whole numbers; a float
//! arises once, in [`aggregate::finish`], in one fixed order of operations. So however the events came, the bits are the same.

pub mod aggregate;
pub mod definition;
pub mod engine;
pub mod event;
pub mod plan;
pub mod replay;
pub mod request;
pub mod transform;

pub use definition::{DefinitionError, Definitions};
pub use engine::{Engine, Options};
pub use event::{At, Event, Key, NULL};
pub use plan::{Plan, SourceId};
