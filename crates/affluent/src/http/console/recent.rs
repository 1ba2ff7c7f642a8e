//! The newest scores of record. Stores read an index from its beginning, so time is read back in windows that grow; one that has too many
//! records is halved.

use crate::http::Problem;
use crate::http::documents;
use affluent_documents::{Document, DocumentError, DocumentStore, Range, Scan};
use affluent_model::Value;
use affluent_scoring::record::COLLECTION;
use affluent_scoring::{Decision, Record};

/// Records that a sample is made of.
pub(super) const WANTED: usize = 1_000;
/// Records of one read, and reads of one window; one with more is halved.
const PAGE: usize = 1_000;
const PAGES_MAX: usize = 3;
/// The first window and how much longer the next one is; the last reaches back seven weeks.
const FIRST_US: i64 = 2_000_000;
const GROWTH: i64 = 8;
const WINDOWS: usize = 8;
/// Windows that are read, those with too many among them: enough to halve seven weeks down to a hundredth of a second.
const LOOKS_MAX: usize = 96;

/// From and to (exclusive; none: no end), microseconds UTC.
type Window = (i64, Option<i64>);

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
    let (mut found, mut ahead) = (Vec::new(), Ahead::new(now));
    for _ in 0..LOOKS_MAX {
        let Some(window) = ahead.0.pop() else { break };
        match between(store, decision, window, wanted - found.len()).await? {
            Some(newest) => found.extend(newest.iter().rev().filter_map(Record::of)),
            None => ahead.halve(window, now),
        }
        if found.len() >= wanted {
            break;
        }
    }
    Ok(found)
}

/// Windows that are still to be read, the newest last.
struct Ahead(Vec<Window>);

impl Ahead {
    fn new(now: i64) -> Self {
        let mut windows: Vec<Window> = windows(now).collect();
        windows.reverse();
        Ahead(windows)
    }

    /// Reads a window that has too many records half by half.
    fn halve(&mut self, (from, to): Window, now: i64) {
        let middle = i64::midpoint(from, to.unwrap_or(now));
        self.0.extend([(from, Some(middle)), (middle, to)]);
    }
}

/// The newest first; each begins where the one before ended. The first has no end.
fn windows(now: i64) -> impl Iterator<Item = Window> {
    let mut window = (FIRST_US, None);
    (0..WINDOWS).map(move |_| {
        let (reach, to) = window;
        let from = now.saturating_sub(reach);
        window = (reach * GROWTH, Some(from));
        (from, to)
    })
}

/// The last of a window, in the order of time; none where it has too many records to read to its end.
async fn between(
    store: &dyn DocumentStore,
    decision: Option<Decision>,
    (from, to): Window,
    wanted: usize,
) -> Result<Option<Vec<Document>>, Problem> {
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
    let mut last = Vec::new();
    for _ in 0..PAGES_MAX {
        let page = match store.scan(COLLECTION, &scan).await {
            Ok(page) => page,
            // Nothing was ever scored.
            Err(DocumentError::UnknownCollection(_)) => return Ok(Some(last)),
            Err(error) => return Err(documents::problem(error)),
        };
        last.extend(page.documents);
        last.drain(..last.len().saturating_sub(wanted));
        scan.after = page.next;
        if scan.after.is_none() {
            return Ok(Some(last));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3_600 * 1_000_000;

    #[test]
    fn the_newest_of_a_burst_are_found_within_the_looks() {
        // A hundred thousand within a second, ten days ago; nothing since.
        let now = 100 * DAY;
        let burst: Vec<i64> = (0..100_000).map(|nth| 90 * DAY + 10 * nth).collect();
        let (mut ahead, mut found) = (Ahead::new(now), None);
        for _ in 0..LOOKS_MAX {
            let Some(window) = ahead.0.pop() else { break };
            let (from, to) = (window.0, window.1.unwrap_or(i64::MAX));
            let within: Vec<i64> = burst.iter().copied().filter(|at| (from..to).contains(at)).collect();
            if within.len() > PAGE * PAGES_MAX {
                ahead.halve(window, now);
            } else if let Some(newest) = within.last() {
                found = Some(*newest);
                break;
            }
        }
        assert_eq!(found, burst.last().copied());
    }

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
