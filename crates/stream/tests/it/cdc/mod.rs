//! Change capture against a real PostgreSQL and a real broker: what is in the topics is compared
//! with what was done in the tables.

mod gaps;
mod promotion;
mod rig;
mod secure;
mod snapshots;
mod streaming;
mod survey;
mod types;
