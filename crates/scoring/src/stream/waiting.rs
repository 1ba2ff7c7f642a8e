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
use affluent_telemetry::traces::{self, Span, SpanKind, TraceContext};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the online store may take where the state has only a part of the events.
const LAST_KNOWN_LIMIT: Duration = Duration::from_millis(50);

/// The name of the span.
const SPAN: &str = "score";

/// One that was judged.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) partition: TopicPartition,
    pub(super) offset: i64,
    /// When it was committed, microseconds UTC.
    pub(super) begun_at: i64,
    pub(super) record: Record,
    /// Its span, and when it began, where the payment is followed.
    pub(super) trace: Option<Judged>,
}

/// The span of a judgement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Judged {
    parent: TraceContext,
    pub(super) context: TraceContext,
    /// Microseconds UTC.
    begun_us: i64,
}

impl Judged {
    fn new(parent: TraceContext) -> Self {
        Judged { parent, context: parent.child(SPAN), begun_us: now_micros() }
    }

    /// The score is recorded and sent.
    pub(super) fn finished(&self, record: &Record) {
        let decision = ("affluent.decision", record.decision.as_str().to_owned());
        let model = record
            .model
            .as_ref()
            .map(|model| ("affluent.model", format!("{}/{}", model.name, model.version)));
        traces::finished(Span {
            context: self.context,
            parent: Some(self.parent),
            name: SPAN,
            kind: SpanKind::Internal,
            begun_us: self.begun_us,
            ended_us: now_micros(),
            attributes: std::iter::once(decision).chain(model).collect(),
            error: None,
        });
    }
}

impl Waiting {
    /// Its trace and when it was committed, where it is followed.
    pub(super) fn followed(&self) -> Option<(TraceContext, i64)> {
        self.trace.map(|trace| (trace.context, self.begun_at))
    }

    /// Whether records and outputs cover it.
    pub(super) fn is_covered(&self, covered: &Offsets) -> bool {
        covered.get(&self.partition).is_some_and(|next| self.offset < *next)
    }
}

/// Judges a payment: by its row; by what is known last of its keys, where the state has only a part of the events; else by rules alone.
///
/// A store that does not answer in time `is_slow`: it is not waited for again, so that many payments wait no longer than one.
pub(super) async fn judged(
    followed: Followed,
    payments: &Payments,
    changes: &mut Changes,
    judge: &Judge,
    store: &dyn DocumentStore,
    is_slow: &mut bool,
) -> Waiting {
    let Followed { partition, offset, change, row, is_whole, took, trace } = followed;
    let trace = trace.map(Judged::new);
    let mut cells = Vec::new();
    changes.row(payments.mapping(), &change, &mut cells);
    let facts = payments.facts(&cells);
    let names = Arc::clone(payments.names());
    let live = row.filter(|_| is_whole).map(|row| {
        let (values, is_exact) = (row.values, row.is_exact);
        Row { names, values, is_exact, as_of: facts.occurred_at }
    });
    let known = if live.is_none() && !is_whole && !*is_slow {
        let mut mapped = Mapped::default();
        let asked = async {
            match payments.mapping().event(&cells, &mut mapped) {
                Ok(Fit::Event) => super::last_known(store, payments, &cells, &mapped).await.ok(),
                Ok(Fit::Late | Fit::Nothing) | Err(_) => None,
            }
        };
        let answered = tokio::time::timeout(LAST_KNOWN_LIMIT, asked).await;
        *is_slow = answered.is_err();
        answered.ok().flatten()
    } else {
        None
    };
    let features = match (&live, &known) {
        (Some(row), _) => Features::Live(row),
        (None, Some(known)) => Features::LastKnown(&known.row),
        (None, None) => Features::Missing,
    };
    let begun = Instant::now();
    let judged = judge.judge(&facts, features);
    let seconds = (took + begun.elapsed()).as_secs_f64();
    metrics_list::inference(seconds);
    if let Some(trace) = &trace {
        metrics_list::inference_exemplar(seconds, &trace.context);
    }
    let begun_at = change.source.ts_us;
    let source = Some(format!("{partition}/{offset}"));
    let record = Record::new(&facts, &features, &judged, Times { begun_at, scored_at: now_micros(), source });
    Waiting { partition, offset, begun_at, record, trace }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Degraded, JudgeOptions, Vocabulary};
    use affluent_documents::{
        ApplyOutcome, Document, DocumentError, InsertOutcome, Inserts, Page, Scan, VersionedWrite,
    };
    use affluent_feature_store::stream::Streamed;
    use affluent_features::Definitions;
    use affluent_model::{
        ChangeEvent, Column, ColumnType, Op, Position, Snapshot, Source, TableId, TableSchema, Value,
    };
    use async_trait::async_trait;
    use std::future::pending;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A store that never answers, and counts who asks.
    #[derive(Default)]
    struct Silent(AtomicU32);

    #[async_trait]
    impl DocumentStore for Silent {
        async fn ensure(&self, _: &affluent_documents::CollectionSpec) -> Result<(), DocumentError> {
            pending().await
        }

        fn admit(&self, _: &VersionedWrite) -> Result<(), DocumentError> {
            Ok(())
        }

        async fn insert_if_absent(
            &self,
            _: &str,
            _: &[Arc<Inserts>],
        ) -> Result<InsertOutcome, DocumentError> {
            pending().await
        }

        async fn apply(&self, _: &str, _: Vec<VersionedWrite>) -> Result<ApplyOutcome, DocumentError> {
            pending().await
        }

        async fn truncate(&self, _: &str, _: Position) -> Result<(), DocumentError> {
            pending().await
        }

        async fn get(&self, _: &str, _: &[String]) -> Result<Vec<Document>, DocumentError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            pending().await
        }

        async fn scan(&self, _: &str, _: &Scan) -> Result<Page, DocumentError> {
            pending().await
        }

        async fn count(&self, _: &str) -> Result<u64, DocumentError> {
            pending().await
        }

        async fn expire(&self, _: i64) -> Result<u64, DocumentError> {
            pending().await
        }
    }

    /// A payment that was inserted, where the state has only a part of the events.
    fn followed(offset: i64) -> Followed {
        let columns = [
            ("id", ColumnType::Text, Value::Text(offset.to_string())),
            ("created_at", ColumnType::TimestampTz, Value::TimestampTz(now_micros())),
            ("customer_id", ColumnType::Int64, Value::Int(7)),
            (
                "amount",
                ColumnType::Decimal { precision: 18, scale: 4 },
                Value::Decimal("5.00".parse().unwrap()),
            ),
            ("currency", ColumnType::Text, Value::Text("EUR".to_owned())),
        ];
        let (columns, row): (Vec<Column>, Vec<Value>) = columns
            .into_iter()
            .map(|(name, column_type, value)| {
                (Column { name: name.to_owned(), column_type, nullable: true }, value)
            })
            .unzip();
        let schema = TableSchema { table: TableId::new("public", "transactions"), columns, key: vec![0] };
        let change = ChangeEvent {
            schema: Arc::new(schema),
            op: Op::Create,
            before: None,
            after: Some(row),
            unchanged: Vec::new(),
            source: Source {
                name: "oltp".into(),
                database: "shop".into(),
                position: Position::new(1, 1),
                lsn: 1,
                tx_id: None,
                ts_us: now_micros(),
                snapshot: Snapshot::False,
            },
            ts_us: now_micros(),
            transaction: None,
        };
        let (partition, change) = (TopicPartition::new("t", 0), Box::new(change));
        Followed { partition, offset, change, row: None, is_whole: false, took: Duration::ZERO, trace: None }
    }

    #[tokio::test]
    async fn a_store_that_does_not_answer_is_waited_for_once() {
        let streamed = Streamed::new(&Definitions::load(None).unwrap(), Arc::default()).unwrap();
        let payments = Payments::new(&streamed).unwrap();
        let vocabulary = Vocabulary::new(&streamed.definitions, Arc::clone(payments.names())).unwrap();
        let judge = Judge::new(vocabulary, JudgeOptions::default());
        let (store, mut changes, mut is_slow) = (Silent::default(), Changes::default(), false);
        for offset in 0..100 {
            let judged =
                judged(followed(offset), &payments, &mut changes, &judge, &store, &mut is_slow).await;
            assert_eq!(judged.record.degraded, Some(Degraded::NoFeatures));
            assert!(is_slow);
        }
        assert_eq!(store.0.load(Ordering::Relaxed), 1);
    }
}
