//! Errors among log lines, counted in the embedded store: exact under any cut, replay and repetition.

use crate::store::FaultyStore;
use affluent_bus::Incoming;
use affluent_documents::{Document, DocumentStore, Range, Scan};
use affluent_model::names::{COLLECTION_ERROR_GROUPS, COLLECTION_LOGS, TOPIC_LOGS};
use affluent_model::{Value, time::format_micros};
use affluent_stream::sinks::events::{EventOptions, EventsSink};
use affluent_stream::sinks::{Sink, SinkError};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use uuid::Uuid;

/// 2026-11-22, so that no document is past its lifetime.
const BEGIN_US: i64 = 1_795_305_600_000_000;

/// A line of a service's log. Services are in a partition of their own.
#[derive(Debug, Clone)]
struct Line {
    service: i32,
    event: u32,
    /// The kind of error; `None` is no error.
    error: Option<u8>,
    occurred_us: i64,
}

impl Line {
    fn id(&self) -> Uuid {
        Uuid::from_u128(1 << 100 | (self.service as u128) << 64 | u128::from(self.event))
    }

    fn record(&self, offset: i64) -> Incoming {
        let (severity, message) = match self.error {
            Some(error) => {
                (17, format!("failure {} in step {}", self.event, ["a", "b", "c"][usize::from(error)]))
            }
            None => (9, "all is well".to_owned()),
        };
        let value = serde_json::json!({
            "event_id": self.id().to_string(), "service": format!("service-{}", self.service),
            "occurred_at": format_micros(self.occurred_us, true), "received_at": format_micros(BEGIN_US, true),
            "severity": severity, "kind": "app", "message": message,
        });
        Incoming {
            topic: TOPIC_LOGS.into(),
            partition: self.service,
            offset,
            timestamp_ms: 0,
            key: None,
            value: Some(value.to_string().into()),
            headers: Vec::new(),
        }
    }
}

/// Count, first and last seen, example: by service and pattern.
type Groups = BTreeMap<(String, String), (i64, i64, i64, String)>;

/// What the lines come to, each event once.
fn expected(lines: &[Line]) -> Groups {
    let (mut seen, mut groups) = (HashSet::new(), Groups::new());
    for line in lines {
        let Some(error) = line.error.filter(|_| seen.insert(line.id())) else { continue };
        let step = ["a", "b", "c"][usize::from(error)];
        let key = (format!("service-{}", line.service), format!("failure <n> in step {step}"));
        let new = (0, i64::MAX, i64::MIN, line.id().to_string());
        let group = groups.entry(key).or_insert(new);
        *group = (group.0 + 1, group.1.min(line.occurred_us), group.2.max(line.occurred_us), group.3.clone());
    }
    groups
}

async fn stored(store: &dyn DocumentStore) -> Groups {
    let page = store.scan(COLLECTION_ERROR_GROUPS, &Scan::all(1_000)).await.unwrap();
    let group = |document: Document| {
        let text = |name: &str| match document.field(name) {
            Some(Value::Text(text)) => text.clone(),
            other => panic!("{name}: {other:?}"),
        };
        let number = |name: &str| match document.field(name) {
            Some(Value::Int(number) | Value::TimestampTz(number)) => *number,
            other => panic!("{name}: {other:?}"),
        };
        let facts = (number("count"), number("first_seen"), number("last_seen"), text("example_event_id"));
        ((text("service"), text("pattern")), facts)
    };
    page.documents.into_iter().map(group).collect()
}

fn sink(store: &Arc<FaultyStore>) -> EventsSink {
    EventsSink::new(Arc::clone(store) as Arc<dyn DocumentStore>, None, EventOptions::default())
}

fn lines() -> impl Strategy<Value = Vec<Line>> {
    let line = (0..2_i32, 0..12_u32, prop::option::weighted(0.8, 0..3_u8), 0..1_000_000_i64);
    prop::collection::vec(line, 1..40).prop_map(|lines| {
        // An event that a client sends again is the same in everything.
        let mut first: BTreeMap<(i32, u32), Line> = BTreeMap::new();
        let lines = lines.into_iter().map(|(service, event, error, after)| {
            let fresh = Line { service, event, error, occurred_us: BEGIN_US + after };
            first.entry((service, event)).or_insert(fresh).clone()
        });
        lines.collect()
    })
}

/// Reads `length` records after going back by `back`; a crash may come before the counting.
fn steps() -> impl Strategy<Value = Vec<(usize, usize, bool)>> {
    prop::collection::vec(
        (prop_oneof![2 => Just(0), 1 => 0..40_usize], 1..15_usize, prop::bool::weighted(0.3)),
        0..10,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_cut_and_replay_counts_each_error_once(lines in lines(), steps in steps()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let store = FaultyStore::open(&directory).await;
            let mut next = BTreeMap::<i32, i64>::new();
            let records: Vec<Incoming> = lines
                .iter()
                .map(|line| {
                    let offset = next.entry(line.service).or_default();
                    *offset += 1;
                    line.record(*offset - 1)
                })
                .collect();
            let (mut at, mut running) = (0_usize, sink(&store));
            for (back, length, crash) in steps.into_iter().chain([(40, 40, false)]) {
                let start = at.saturating_sub(back);
                let end = records.len().min(start + length);
                assert!(running.prepare(&records[start..end]).await.unwrap().is_empty());
                store.crash.store(crash, Ordering::Relaxed);
                match running.commit().await {
                    Ok(()) => at = end,
                    Err(SinkError::Passing(_)) if back % 2 == 0 => {
                        // Another process takes over and reads from the last committed offset.
                        running = sink(&store);
                        at = start;
                    }
                    // Or this one tries again.
                    Err(SinkError::Passing(_)) => {
                        running.commit().await.unwrap();
                        at = end;
                    }
                    Err(error) => panic!("{error}"),
                }
                store.crash.store(false, Ordering::Relaxed);
            }
            assert!(running.prepare(&records[at..]).await.unwrap().is_empty());
            running.commit().await.unwrap();
            assert_eq!(stored(store.as_ref()).await, expected(&lines));
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_are_found_by_service_and_when_they_were_last_seen() {
    let directory = tempfile::tempdir().unwrap();
    let store = FaultyStore::open(&directory).await;
    let mut running = sink(&store);
    let line = |service, event, error, after| Line { service, event, error, occurred_us: BEGIN_US + after };
    let lines = [line(1, 1, Some(0), 5), line(1, 2, Some(1), 9), line(1, 3, None, 8), line(2, 4, Some(0), 7)];
    let records: Vec<Incoming> =
        lines.iter().zip([0, 1, 2, 0]).map(|(line, offset)| line.record(offset)).collect();
    running.prepare(&records).await.unwrap();
    running.commit().await.unwrap();
    let range = Range::Index {
        index: "service_last_seen".to_owned(),
        equal: vec![Value::Text("service-1".to_owned())],
        from: Some(Value::TimestampTz(BEGIN_US + 6)),
        to: None,
    };
    let page = store.scan(COLLECTION_ERROR_GROUPS, &Scan { range, limit: 10, after: None }).await.unwrap();
    let [group] = page.documents.as_slice() else { panic!("{page:?}") };
    assert!(group.id.starts_with("service-1/") && group.id.ends_with("/logs.events/1"), "{}", group.id);
    assert_eq!(group.field("pattern"), Some(&Value::Text("failure <n> in step b".to_owned())));
    assert_eq!(group.field("example_message"), Some(&Value::Text("failure 2 in step b".to_owned())));
    // Only errors carry the place of their record.
    let logs = store.scan(COLLECTION_LOGS, &Scan::all(10)).await.unwrap().documents;
    assert_eq!(logs.iter().filter(|document| document.field("origin").is_some()).count(), 3);
}
