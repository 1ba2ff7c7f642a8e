//! A payment between its event and its record.

use super::Payments;
use super::progress::Offsets;
use crate::record::{Record, Times};
use crate::{Features, Judge, Row};
use affluent_bus::TopicPartition;
use affluent_documents::DocumentStore;
use affluent_feature_store::event::topic::Changes;
use affluent_feature_store::event::{Fit, Mapped};
use affluent_feature_store::stream::Followed;
use affluent_model::time::now_micros;
use affluent_telemetry::metrics_list;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the online store may take where the state has only a part of the events.
const LAST_KNOWN_LIMIT: Duration = Duration::from_millis(50);

/// One that was judged.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) partition: TopicPartition,
    pub(super) offset: i64,
    /// When it was committed, microseconds UTC.
    pub(super) begun_at: i64,
    pub(super) record: Record,
}

impl Waiting {
    /// Whether records and outputs cover it.
    pub(super) fn is_covered(&self, covered: &Offsets) -> bool {
        covered.get(&self.partition).is_some_and(|next| self.offset < *next)
    }
}

/// Judges a payment: by its row; by what is known last of its keys, where the state has only a part of the events; else by rules alone.
pub(super) async fn judged(
    followed: Followed,
    payments: &Payments,
    changes: &mut Changes,
    judge: &Judge,
    store: &dyn DocumentStore,
) -> Waiting {
    let Followed { partition, offset, change, row, is_whole, took } = followed;
    let mut cells = Vec::new();
    changes.row(payments.mapping(), &change, &mut cells);
    let facts = payments.facts(&cells);
    let names = Arc::clone(payments.names());
    let live = row.filter(|_| is_whole).map(|row| {
        let (values, is_exact) = (row.values, row.is_exact);
        Row { names, values, is_exact, as_of: facts.occurred_at }
    });
    let known = if live.is_none() && !is_whole {
        let mut mapped = Mapped::default();
        let asked = async {
            match payments.mapping().event(&cells, &mut mapped) {
                Ok(Fit::Event) => super::last_known(store, payments, &cells, &mapped).await.ok(),
                Ok(Fit::Late | Fit::Nothing) | Err(_) => None,
            }
        };
        tokio::time::timeout(LAST_KNOWN_LIMIT, asked).await.ok().flatten()
    } else {
        None
    };
    let features = match (&live, &known) {
        (Some(row), _) => Features::Live(row),
        (None, Some(row)) => Features::LastKnown(row),
        (None, None) => Features::Missing,
    };
    let begun = Instant::now();
    let judged = judge.judge(&facts, features);
    metrics_list::inference((took + begun.elapsed()).as_secs_f64());
    let begun_at = change.source.ts_us;
    let source = Some(format!("{partition}/{offset}"));
    let record = Record::new(&facts, &features, &judged, Times { begun_at, scored_at: now_micros(), source });
    Waiting { partition, offset, begun_at, record }
}
