//! From Kafka's acknowledgements to the position that may be saved.
//!
//! Invariant: a position is covered only when every record sent up to it is acknowledged.

use affluent_telemetry::metrics_list;
use affluent_telemetry::traces::{self, Span, SpanKind, TraceContext};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The end of a transaction whose records may still be under way.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pending {
    /// Sequence number of the last record up to here.
    sequence: u64,
    lsn: u64,
    committed: Option<Committed>,
}

/// A transaction whose latency is to be measured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Committed {
    /// Commit time, microseconds UTC.
    pub(crate) at_us: i64,
    pub(crate) changes: u64,
    /// Changes of it that are followed, each with its topic.
    pub(crate) traced: Vec<(TraceContext, Arc<str>)>,
}

/// Ends of transactions in order. Ends without records between them are kept as one, so there are
/// never more than records under way.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    pending: Mutex<VecDeque<Pending>>,
    sent: AtomicU64,
}

impl Acks {
    /// Everything up to `lsn` is in records up to `sequence`.
    pub(crate) fn push(&self, sequence: u64, lsn: u64, committed: Option<Committed>) {
        let mut pending = self.pending.lock();
        match pending.back_mut() {
            Some(last) if last.sequence == sequence && committed.is_none() => last.lsn = last.lsn.max(lsn),
            _ => pending.push_back(Pending { sequence, lsn, committed }),
        }
    }

    /// One more record was sent.
    pub(crate) fn count(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// Records sent since the last call.
    pub(crate) fn take_count(&self) -> u64 {
        self.sent.swap(0, Ordering::Relaxed)
    }

    /// The greatest position that is covered once records up to `acked` are acknowledged; none
    /// where nothing new is.
    pub(crate) fn covered(&self, acked: u64, now_us: i64) -> Option<u64> {
        let mut pending = self.pending.lock();
        let mut covered = None;
        while pending.front().is_some_and(|first| first.sequence <= acked) {
            let Some(first) = pending.pop_front() else { break };
            covered = covered.max(Some(first.lsn));
            if let Some(Committed { at_us, changes, traced }) = first.committed {
                metrics_list::pipeline_latency("cdc", "bus", (now_us - at_us) as f64 / 1e6, changes);
                let followed = traced.iter().map(|(context, _)| (*context, at_us));
                metrics_list::pipeline_exemplars("cdc", "bus", now_us, followed);
                traced.into_iter().for_each(|(context, topic)| captured(context, &topic, at_us, now_us));
            }
        }
        covered
    }
}

/// The first span of a trace: from the commit until Kafka has the change.
fn captured(context: TraceContext, topic: &str, begun_us: i64, ended_us: i64) {
    traces::finished(Span {
        context,
        parent: None,
        name: "capture",
        kind: SpanKind::Producer,
        begun_us,
        ended_us,
        attributes: vec![
            ("messaging.system", "kafka".to_owned()),
            ("messaging.destination.name", topic.to_owned()),
        ],
        error: None,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn covers_exactly_what_is_acknowledged(
            steps in prop::collection::vec((0_u64..3, any::<bool>()), 1..50), acked in 0_u64..100,
        ) {
            let acks = Acks::default();
            let (mut sequence, mut expected) = (0, None);
            for (lsn, (records, timed)) in (1..).zip(&steps) {
                sequence += records;
                acks.push(sequence, lsn, timed.then_some(Committed { changes: 1, ..Committed::default() }));
                if sequence <= acked {
                    expected = Some(lsn);
                }
            }
            prop_assert_eq!(acks.covered(acked, 0), expected);
            prop_assert_eq!(acks.covered(acked, 0), None);
        }
    }
}
