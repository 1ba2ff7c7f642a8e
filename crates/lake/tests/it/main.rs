//! The lake as others see it: read by pyiceberg, raced by a second writer, cut off between steps,
//! on disk and, where `AFFLUENT_TEST_S3` names a server, in a bucket.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod append;
mod crashes;
mod edit;
mod lookup;
mod merge;
mod oracle;
mod overwrite;
mod python;
mod races;
mod s3;
mod sorted;
mod sql;
mod tables;
mod upkeep;
mod upsert;
