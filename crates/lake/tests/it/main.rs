//! The lake as others see it: read by pyiceberg, raced by a second writer, cut off between steps.

mod append;
mod crashes;
mod python;
mod races;
mod tables;
mod upkeep;
