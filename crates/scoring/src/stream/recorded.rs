//! The record of a payment: the first document that was stored of it.

use super::waiting::Waiting;
use crate::record::{COLLECTION, Record};
use affluent_documents::{Document, DocumentError, DocumentStore, Inserts};
use affluent_telemetry::metrics_list;
use std::collections::HashMap;
use std::sync::Arc;

/// Stores the records of all that wait. What was recorded before stays, and takes the place of what was judged now; true where that was of
/// another appearance of the payment in its topic, and so is sent already.
///
/// # Errors
/// As the store.
pub(super) async fn record_all(
    waiting: &mut [Waiting],
    store: &dyn DocumentStore,
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
        // Without a place it was judged over HTTP, before it was in the database: it is sent now.
        *is_repeat = record.source.is_some() && record.source != waiting.record.source;
        waiting.record = record;
    }
    Ok(repeats)
}
