//! Features where they are kept and used. The engine that computes them is `features`'; here are its inputs and outputs.
//!
//! [`event`] is the one way from a row, of a topic or of the lake, to an event of the engine. [`stream`] keeps the engine's state
//! up with the topics, [`online`] the newest values by key.
//!
//! Invariant: a row means the same cells whichever way it came, so that values computed from the topics and from the lake agree bit for bit.

pub mod event;
pub mod online;
pub mod stream;
