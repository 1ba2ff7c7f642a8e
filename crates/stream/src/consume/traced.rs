//! Records of sampled traces among those that are staged: each becomes a span from its arrival here until it is durable.
//!
//! Where nothing is traced, nothing is looked at and nothing is kept.

use crate::sinks::Rejected;
use affluent_bus::Incoming;
use affluent_model::time::now_micros;
use affluent_telemetry::traces::{self, HEADER_TRACE, Span, SpanKind, TraceContext};
use std::collections::HashMap;
use std::sync::Arc;

/// A record that is followed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Traced {
    context: TraceContext,
    topic: Arc<str>,
    partition: i32,
    offset: i64,
    /// Microseconds UTC.
    arrived_us: i64,
    /// Why it was quarantined, where it was.
    refused: Option<&'static str>,
}

/// The context that a record brings, where it is sampled and this process traces.
pub(crate) fn context(record: &Incoming) -> Option<TraceContext> {
    if !traces::is_on() {
        return None;
    }
    TraceContext::of_header(record.header(HEADER_TRACE)?)
}

/// Those among `records` that are followed.
pub(super) fn among(records: &[Incoming], rejected: &[Rejected]) -> Vec<Traced> {
    if !traces::is_on() {
        return Vec::new();
    }
    let arrived_us = now_micros();
    let refused: HashMap<usize, &'static str> =
        rejected.iter().map(|refused| (refused.index, refused.reason.code())).collect();
    let traced = |(index, record): (usize, &Incoming)| {
        Some(Traced {
            context: context(record)?,
            topic: Arc::clone(&record.topic),
            partition: record.partition,
            offset: record.offset,
            arrived_us,
            refused: refused.get(&index).copied(),
        })
    };
    records.iter().enumerate().filter_map(traced).collect()
}

/// They are durable in the sink of `role`, or in the dead letters.
pub(super) fn stored(role: &'static str, traced: Vec<Traced>) {
    if traced.is_empty() {
        return;
    }
    let ended_us = now_micros();
    for Traced { context, topic, partition, offset, arrived_us, refused } in traced {
        traces::finished(Span {
            context: context.child(role),
            parent: Some(context),
            name: role,
            kind: SpanKind::Consumer,
            begun_us: arrived_us,
            ended_us,
            attributes: vec![
                ("messaging.system", "kafka".to_owned()),
                ("messaging.destination.name", topic.to_string()),
                ("messaging.destination.partition.id", partition.to_string()),
                ("messaging.kafka.offset", offset.to_string()),
            ],
            error: refused.map(str::to_owned),
        });
    }
}
