//! Models: from features and labels to a fitted, judged and registered model.
//!
//! [`dataset`] is what a model learns from, [`split`] who of it is for learning and who for judging, [`fit`] learns ([`forest`] reads what others learned), [`decide`] turns
//! scores into decisions, [`evaluate`] judges, [`gate`] says whether a model may be promoted, [`drift`] whether the world has changed,
//! [`report`] shows it, [`registry`] keeps it. Features are computed elsewhere (`affluent-features`); reading files and tables is the binary's.
//!
//! Invariant: nothing is learned from rows that are later than, or labelled later than, what is judged.

pub mod dataset;
pub mod decide;
pub mod drift;
pub mod evaluate;
pub mod fit;
pub mod forest;
pub mod gate;
pub mod registry;
pub mod report;
mod shapley;
pub mod split;
pub mod train;

/// Microseconds of a day, by which periods, delays and reviews are counted.
pub const DAY: i64 = 24 * 3_600 * 1_000_000;
