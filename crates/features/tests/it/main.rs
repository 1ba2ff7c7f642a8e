//! The engine against an oracle, definitions against mistakes, state against damage.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod any_order;
mod definitions;
mod handbook;
mod history;
mod oracle;
mod parity;
mod preview;
mod snapshots;
