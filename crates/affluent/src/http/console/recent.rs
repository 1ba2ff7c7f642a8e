//! The newest scores of record. Stores read an index from its beginning, so time is read back in windows that grow.

use crate::http::Problem;
use crate::http::documents;
use affluent_documents::{DocumentError, DocumentStore, Range, Scan};
use affluent_model::Value;
use affluent_scoring::record::COLLECTION;
use affluent_scoring::{Decision, Record};
use std::collections::VecDeque;

/// Records that a sample is made of.
pub(super) const WANTED: usize = 1_000;
/// Records of one read, and reads of one window.
const PAGE: usize = 1_000;
const PAGES_MAX: usize = 20;
/// The first window and how much longer the next one is; the last reaches back seven weeks.
const FIRST_US: i64 = 2_000_000;
const GROWTH: i64 = 8;
const WINDOWS: usize = 8;

/// The records of a decision, or of all, that were made last: the newest first, at most `wanted` of them. `now` is microseconds UTC.
///
/// # Errors
/// 503 and 500 of the store.
pub(super) async fn records(
    store: &dyn DocumentStore,
    decision: Option<Decision>,
    now: i64,
    wanted: usize,
) -> Result<Vec<Record>, Problem> {
    let mut found = Vec::new();
    for (from, to) in windows(now) {
        let newest = between(store, decision, (from, to), wanted - found.len()).await?;
        found.extend(newest.into_iter().rev());
        if found.len() >= wanted {
            break;
        }
    }
    Ok(found)
}

/// From and to (exclusive), the newest first; each begins where the one before ended. The first has no end.
fn windows(now: i64) -> impl Iterator<Item = (i64, Option<i64>)> {
    let mut window = (FIRST_US, None);
    (0..WINDOWS).map(move |_| {
        let (reach, to) = window;
        let from = now.saturating_sub(reach);
        window = (reach * GROWTH, Some(from));
        (from, to)
    })
}

/// The last of a window, in the order of time.
async fn between(
    store: &dyn DocumentStore,
    decision: Option<Decision>,
    (from, to): (i64, Option<i64>),
    wanted: usize,
) -> Result<VecDeque<Record>, Problem> {
    let (index, equal) = match decision {
        Some(decision) => ("decision_scored_at", vec![Value::Text(decision.as_str().to_owned())]),
        None => ("scored_at", Vec::new()),
    };
    let range = Range::Index {
        index: index.to_owned(),
        equal,
        from: Some(Value::TimestampTz(from)),
        to: to.map(Value::TimestampTz),
    };
    let mut scan = Scan { range, limit: PAGE, after: None };
    let mut last = VecDeque::new();
    for _ in 0..PAGES_MAX {
        let page = match store.scan(COLLECTION, &scan).await {
            Ok(page) => page,
            // Nothing was ever scored.
            Err(DocumentError::UnknownCollection(_)) => break,
            Err(error) => return Err(documents::problem(error)),
        };
        last.extend(page.documents.iter().filter_map(Record::of));
        last.drain(..last.len().saturating_sub(wanted));
        scan.after = page.next;
        if scan.after.is_none() {
            break;
        }
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3_600 * 1_000_000;

    #[test]
    fn windows_tile_seven_weeks() {
        let now = 100 * DAY;
        let all: Vec<(i64, Option<i64>)> = windows(now).collect();
        assert_eq!(all[0], (now - FIRST_US, None));
        for pair in all.windows(2) {
            assert_eq!(pair[1].1, Some(pair[0].0), "{all:?}");
            assert!(pair[1].0 < pair[0].0);
        }
        let reach = now - all.last().unwrap().0;
        assert!((45 * DAY..60 * DAY).contains(&reach), "{reach}");
    }
}
