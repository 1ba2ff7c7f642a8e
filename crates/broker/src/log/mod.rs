//! The log of one partition: record batches as producers sent them, in segment files.
//!
//! `batch` reads the 61-byte header, `segment` is one file with its sparse index, `partition` appends
//! and reads, `recovery` opens what a crash left, `retention` and `compaction` shrink.
//! Nothing here knows of connections or requests.

pub(crate) mod batch;
mod compaction;
mod index;
mod partition;
pub(crate) mod records;
mod recovery;
mod retention;
mod segment;

pub(crate) use partition::{AppendError, Appended, LogConfig, PartitionLog, ReadError};

#[cfg(test)]
mod log_tests;
