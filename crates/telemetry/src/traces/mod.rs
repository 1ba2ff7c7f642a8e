//! Traces: one change followed from its commit to the stores and to its score, by the header `traceparent` of its records.
//!
//! The decision is taken once, where a trace begins, from its number alone: a change that is sent twice is one trace, or none. What
//! is sampled is told by the header's flag; nobody after it decides again. Ids are computed rather than drawn, so that a repetition
//! has the spans that it had. Finished spans wait in a bounded queue until [`take`]; [`otlp`] is what a receiver is told.
//!
//! Nothing is done while no receiver is configured: every question is one relaxed load then.

mod context;
pub mod otlp;

pub use context::TraceContext;

use crate::metrics_list;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The header of W3C Trace Context (<https://www.w3.org/TR/trace-context/#traceparent-header>).
pub const HEADER_TRACE: &str = "traceparent";

/// Spans that wait; what comes on top is dropped and counted.
const QUEUE_MAX: usize = 8_192;

static IS_ON: AtomicBool = AtomicBool::new(false);
/// Traces with a lower number are sampled.
static THRESHOLD: AtomicU64 = AtomicU64::new(0);
static FINISHED: Mutex<VecDeque<Span>> = Mutex::new(VecDeque::new());

/// What a span is to its neighbours (<https://opentelemetry.io/docs/specs/otel/trace/api/#spankind>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    Internal,
    /// Another system is asked.
    Client,
    /// Into a topic.
    Producer,
    /// Out of a topic.
    Consumer,
}

/// A piece of work that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    pub context: TraceContext,
    /// None where the trace begins.
    pub parent: Option<TraceContext>,
    pub name: &'static str,
    pub kind: SpanKind,
    /// Microseconds UTC.
    pub begun_us: i64,
    pub ended_us: i64,
    /// Names of OpenTelemetry's conventions where there are some.
    pub attributes: Vec<(&'static str, String)>,
    /// Why it failed, where it did.
    pub error: Option<String>,
}

/// Traces from now on; `sample` is the part of the changes that are followed, 0 to 1.
pub fn start(sample: f64) {
    // All of them at 1: the conversion saturates.
    THRESHOLD.store((sample.clamp(0.0, 1.0) * u64::MAX as f64) as u64, Ordering::Relaxed);
    IS_ON.store(true, Ordering::Relaxed);
}

/// Whether spans are kept.
#[must_use]
pub fn is_on() -> bool {
    IS_ON.load(Ordering::Relaxed)
}

pub(crate) fn is_sampled(number: u64) -> bool {
    number <= THRESHOLD.load(Ordering::Relaxed)
}

/// Keeps a span that has ended until it is taken.
pub fn finished(span: Span) {
    if !is_on() {
        return;
    }
    let mut queue = FINISHED.lock();
    if queue.len() < QUEUE_MAX {
        queue.push_back(span);
    } else {
        metrics_list::trace_spans("dropped", 1);
    }
}

/// The oldest spans that wait, at most `count`.
#[must_use]
pub fn take(count: usize) -> Vec<Span> {
    let mut queue = FINISHED.lock();
    let count = count.min(queue.len());
    queue.drain(..count).collect()
}
