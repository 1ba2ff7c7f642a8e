//! Which events are marked, as it was known the label's delay after each of them.

use super::Job;
use crate::history::{HistoryError, Kept, Range};
use std::collections::HashSet;

/// Bytes that a marked event takes in a set of them that has just grown.
const MARK_BYTES: u64 = 40;

/// Time and order of the events that are marked. A mark that came more than the label's delay after its event counts for nothing: others of its
/// age count as good by then, so it would be known of some rows alone, and not when the rows after the delay are judged.
pub(super) async fn marked(job: &Job<'_>, memory_bytes: u64) -> Result<HashSet<(i64, u64)>, HistoryError> {
    let set = job.set;
    let mut marked = HashSet::new();
    let Some(label) = &set.label else { return Ok(marked) };
    let range = Range { since: set.from, until: set.as_of };
    let what = (&job.planned.definitions, &job.planned.plan);
    let sources = std::slice::from_ref(&label.source);
    let mut feed = job.history.feed(job.session, what, sources, range, &Kept::default()).await?;
    while let Some(piece) = feed.next(set.as_of).await? {
        for (_, events) in piece {
            for place in 0..events.len() {
                let (arrived, time) = events.instant(place);
                if (set.from..set.to).contains(&time) && arrived <= time.saturating_add(label.delay) {
                    marked.insert((time, events.order[place]));
                }
            }
        }
        let bytes = marked.len() as u64 * MARK_BYTES;
        if bytes > memory_bytes {
            let what = format!("training set {}: a part of the marked events", set.name);
            return Err(HistoryError::Memory { what, bytes, limit: memory_bytes });
        }
    }
    Ok(marked)
}
