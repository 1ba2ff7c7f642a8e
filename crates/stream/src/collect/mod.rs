//! The collector: clicks of app and web, log lines of services, over HTTP into the bus.
//!
//! The way of a request: `http` -> `access` (tokens, origins) -> `body` (limits, decompression) ->
//! `split` (items) -> `event`, `log` or `otlp` (pure parsing; `json`, `proto`, `moment`, `visitor` below
//! them) -> `encode` -> `outbox` (the bus) -> answer. `intake` holds a request together, `service` is the
//! role. axum is named here and nowhere else in this crate.
//!
//! Invariant: what was answered as accepted is durable in the bus; what was not accepted is told, item
//! by item, with a stable code ([`RejectReason`]).

mod access;
mod body;
mod encode;
mod event;
mod http;
mod intake;
mod json;
mod log;
mod moment;
mod options;
pub mod otlp;
mod outbox;
mod proto;
mod reason;
mod refusal;
mod service;
mod split;
#[cfg(test)]
mod tests;
mod visitor;

pub use event::{Arrival, Content, EventParser};
pub use log::{LogArrival, LogParser};
pub use options::{CollectOptions, CollectToken, IpPolicy, PartitionBy};
pub use reason::{Reject, RejectReason};
pub use service::{CollectError, Collector};
