//! The sinks, one folder each.

pub mod documents;
pub mod lake;
