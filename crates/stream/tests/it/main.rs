//! Tests of the sources and sinks against real services.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod broker;
mod cdc;
mod changes;
mod collect;
mod documents_sink;
mod error_groups;
mod events_sink;
mod lake_sink;
mod store;

use broker::broker;
