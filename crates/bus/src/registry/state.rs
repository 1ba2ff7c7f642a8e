//! The registry in memory.
