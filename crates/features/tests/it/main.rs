//! The engine against an oracle, definitions against mistakes, state against damage.

mod definitions;
mod handbook;
mod history;
mod oracle;
mod parity;
mod snapshots;
