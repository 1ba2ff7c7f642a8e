//! The record of a payment: the first document that was stored of it.

use super::waiting::Waiting;
use crate::record::{COLLECTION, Record};
use affluent_bus::TopicPartition;
use affluent_documents::{Document, DocumentError, DocumentStore, Inserts};
use affluent_telemetry::metrics_list;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Of partitions that ended before what was scored of them, since their topic was made anew or has lost its end: up to which offset records were sent, and
/// when that was noticed, microseconds UTC.
pub(super) type Before = BTreeMap<TopicPartition, (i64, i64)>;

/// Stores the records of all that wait. What was recorded before stays, and takes the place of what was judged now; true where that was of
/// another appearance of the payment in its topic, or of one from `before`, and so is sent already.
///
/// # Errors
/// As the store.
pub(super) async fn record_all(
    waiting: &mut [Waiting],
    store: &dyn DocumentStore,
    before: &Before,
) -> Result<Vec<bool>, DocumentError> {
    let mut repeats = vec![false; waiting.len()];
    if waiting.is_empty() {
        return Ok(repeats);
    }
    let mut inserts = Inserts::default();
    waiting.iter().for_each(|waiting| waiting.record.push(&mut inserts));
    let outcome = store.insert_if_absent(COLLECTION, &[Arc::new(inserts)]).await?;
    metrics_list::records("score", "record", "ok", outcome.inserted);
    metrics_list::records("score", "record", "duplicate", outcome.duplicates);
    if outcome.duplicates == 0 {
        return Ok(repeats);
    }
    let mut ids: Vec<String> = waiting.iter().map(|waiting| waiting.record.transaction_id.clone()).collect();
    ids.sort_unstable();
    ids.dedup();
    let stored = store.get(COLLECTION, &ids).await?;
    let stored: HashMap<&str, &Document> =
        stored.iter().map(|document| (document.id.as_str(), document)).collect();
    for (waiting, is_repeat) in waiting.iter_mut().zip(&mut repeats) {
        let document = stored.get(waiting.record.transaction_id.as_str());
        let Some(record) = document.and_then(|document| Record::of(document)) else {
            tracing::warn!(id = waiting.record.transaction_id, "its record cannot be read: nothing is sent");
            *is_repeat = true;
            continue;
        };
        *is_repeat = was_sent(waiting, &record, before);
        waiting.record = record;
    }
    Ok(repeats)
}

/// Whether what is recorded of a payment was sent when it appeared before.
fn was_sent(waiting: &Waiting, record: &Record, before: &Before) -> bool {
    // Without a place it was judged over HTTP, before it was in the database: it is sent now.
    if record.source.is_none() {
        return false;
    }
    let is_before = |&(next, noticed): &(i64, i64)| waiting.offset < next && record.scored_at < noticed;
    record.source != waiting.record.source || before.get(&waiting.partition).is_some_and(is_before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Facts;
    use crate::record::Times;
    use crate::{Features, Judge, JudgeOptions, Vocabulary};

    fn record(source: Option<&str>, scored_at: i64) -> Record {
        let judge = Judge::new(Vocabulary::of(Vec::new()), JudgeOptions::default());
        let facts = Facts::new("1".to_owned(), 0);
        let judged = judge.judge(&facts, Features::Missing);
        let times = Times { begun_at: 0, scored_at, source: source.map(str::to_owned) };
        Record::new(&facts, &Features::Missing, &judged, times)
    }

    #[test]
    fn a_payment_that_is_read_again_is_sent_once() {
        let partition = TopicPartition::new("t", 0);
        let waiting = |offset| Waiting {
            partition: partition.clone(),
            offset,
            begun_at: 0,
            record: record(Some("t/0/7"), 100),
            trace: None,
        };
        let none = Before::new();
        assert!(!was_sent(&waiting(7), &record(None, 1), &none), "over HTTP");
        assert!(was_sent(&waiting(7), &record(Some("t/0/3"), 1), &none), "where it appeared before");
        assert!(
            !was_sent(&waiting(7), &record(Some("t/0/7"), 1), &none),
            "recorded, and nothing more is known"
        );
        let before = Before::from([(partition.clone(), (8, 50))]);
        assert!(
            was_sent(&waiting(7), &record(Some("t/0/7"), 49), &before),
            "sent before the topic lost its end"
        );
        assert!(!was_sent(&waiting(7), &record(Some("t/0/7"), 50), &before), "recorded since");
        assert!(!was_sent(&waiting(8), &record(Some("t/0/7"), 49), &before), "recorded, but not sent");
    }
}
