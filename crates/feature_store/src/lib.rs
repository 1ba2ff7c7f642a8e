//! Features where they are kept and used. The engine that computes them is `features`'; here are its inputs and outputs.
//!
//! [`event`] is the one way from a row, of a topic or of the lake, to an event of the engine. [`stream`] keeps the engine's state
//! up with the topics, [`online`] the newest values by key. [`history`] reads the events of the past from the lake, [`offline`] keeps
//! the vectors of the past, [`jobs`] makes them on schedule, [`training`] rows to learn from; [`parity`] computes a sample of what
//! the stream has served once more.
//!
//! Invariant: a row means the same cells whichever way it came, so that values computed from the topics and from the lake agree bit for bit.

pub mod event;
pub mod history;
pub mod jobs;
pub mod offline;
pub mod online;
pub mod parity;
pub mod stream;
pub mod training;
