//! A set whose windows do not fit into memory at once: entity by entity, slice of keys by slice, joined by event.
//!
//! Each pass goes through history with the windows of its keys alone and keeps the vectors of the set's events in a temporary file. In
//! the end the events are gone through once more, and each takes its vectors from the files, all of which are in one order.
//!
//! Invariant: keys do not depend on one another, so a row is the one that it is with all windows in memory.

use super::collector::Collector;
use super::planned::Part;
use super::spill::{At, Spilled, Writing};
use super::{Chunks, Job, evict_daily, windows};
use crate::history::{Counted, Events, HistoryError, Kept, Keys, Range, slice_of};
use crate::offline::slices::{bytes, most_within, slices};
use affluent_features::event::DAY;
use affluent_features::replay::Row;
use affluent_features::{Engine, Options};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The parts of a set, each with the number of slices in which its windows fit into `memory_bytes`; none where all of them fit at once.
///
/// # Errors
/// [`HistoryError::Memory`]: even slices of the windows do not fit.
pub(super) async fn needed(
    job: &Job<'_>,
    memory_bytes: u64,
) -> Result<Option<Vec<(Part, u32)>>, HistoryError> {
    let range = Range { since: job.set.from.saturating_sub(job.planned.reach), until: job.set.as_of };
    let mut days: BTreeMap<String, Vec<(i64, u64)>> = BTreeMap::new();
    let mut needs: BTreeMap<String, u64> = BTreeMap::new();
    for kept in job.planned.plan.kept() {
        if !days.contains_key(&kept.source) {
            let of_source = job.history.days(job.session, &kept.source, range).await?;
            days.insert(kept.source.clone(), of_source);
        }
        let events = most_within(&days[&kept.source], kept.window.saturating_add(kept.lateness));
        let need = needs.entry(kept.entity).or_default();
        *need = need.saturating_add(bytes(events, kept.event_bytes as u64));
    }
    let all = needs.values().fold(0, |all: u64, need| all.saturating_add(*need));
    if all <= memory_bytes {
        return Ok(None);
    }
    let mut parts = Vec::new();
    for part in job.planned.parts(job.set)? {
        let bytes = needs.get(&part.entity).copied().unwrap_or(0);
        let slices = slices(bytes, memory_bytes).ok_or_else(|| HistoryError::Memory {
            what: format!("training set {}: the windows of every {}", job.set.name, part.entity),
            bytes,
            limit: memory_bytes,
        })?;
        parts.push((part, slices));
    }
    Ok(Some(parts))
}

/// Collects the rows of these parts.
pub(super) async fn joined(
    job: &Job<'_>,
    parts: &[(Part, u32)],
    collector: &mut Collector<'_>,
    chunks: &mut Chunks<'_>,
) -> Result<Counted, HistoryError> {
    let mut files: Vec<Vec<Spilled>> = Vec::new();
    for (part, slices) in parts {
        let mut of_part = Vec::new();
        for slice in 0..*slices {
            chunks.writer.permit().await?;
            tracing::debug!(
                set = job.set.name,
                entity = part.entity,
                slice,
                slices,
                "training rows in slices"
            );
            of_part.push(pass(job, part, (slice, *slices)).await?);
        }
        files.push(of_part);
    }
    let (plan, spine) = (&job.planned.plan, job.planned.spine);
    let kept = Kept { ids_of: Some(job.set.source.clone()), ..Kept::default() };
    let range = Range { since: job.set.from.saturating_sub(DAY), until: job.set.as_of };
    let (what, sources) = ((&job.planned.definitions, plan), std::slice::from_ref(&job.set.source));
    let mut feed = job.history.feed(job.session, what, sources, range, &kept).await?;
    // Without any event it tells what is computed of an event itself, and the values of a key that is null.
    let mut engine = Engine::new(Arc::clone(plan), Options::default());
    let mut row = vec![f64::NAN; plan.source_shape(spine).row.len()];
    while let Some(piece) = feed.next(range.until).await? {
        for (_, events) in piece {
            let mut order: Vec<usize> = (0..events.len()).collect();
            order.sort_by_key(|&place| at(&events, place));
            for place in order {
                if !collector.takes(&events, place) {
                    continue;
                }
                let mut exact = events.with(spine, place, |event| engine.row(event, &mut row));
                for ((part, slices), files) in parts.iter().zip(&mut files) {
                    let Some(key) = events.key(part.key, place) else { continue };
                    let found = files[slice_of(key, *slices) as usize].find(at(&events, place));
                    let Some((is_exact, values)) = found.map_err(HistoryError::Spill)? else {
                        let message = format!(
                            "training set {}: an event lacks its features of {}: this is a defect, not a matter of data",
                            job.set.name, part.entity
                        );
                        return Err(HistoryError::Definition(message));
                    };
                    exact &= is_exact;
                    for ((_, place), value) in part.places.iter().zip(values) {
                        row[*place] = *value;
                    }
                }
                collector.push(&events, Row { input: 0, event: place, exact, values: &row });
            }
        }
        chunks.after_piece(collector).await?;
    }
    Ok(feed.counted)
}

/// The vectors of the keys in one slice, of each event of the set.
async fn pass(job: &Job<'_>, part: &Part, (slice, slices): (u32, u32)) -> Result<Spilled, HistoryError> {
    let kept =
        Kept { entity: Some(part.entity.clone()), keys: Keys::Slice(slice, slices), ..Kept::default() };
    let range = Range { since: job.set.from.saturating_sub(part.reach), until: job.set.as_of };
    let what = (&part.definitions, &part.plan);
    let mut feed = job.history.feed(job.session, what, &part.sources, range, &kept).await?;
    let (mut engine, mut day) = (windows(&part.plan), i64::MIN);
    let mut file = Writing::new(part.places.len()).map_err(HistoryError::Spill)?;
    loop {
        let piece = {
            let file = &mut file;
            let mut sink = |events: &Events, row: Row<'_>| {
                if (job.set.from..job.set.to).contains(&events.time[row.event]) {
                    let values = part.places.iter().map(|(place, _)| row.values[*place]);
                    file.push(at(events, row.event), row.exact, values);
                }
            };
            feed.step(&mut engine, range.until, Some(part.spine), &mut sink).await?
        };
        let Some(piece) = piece else { break };
        evict_daily(&mut engine, &piece, &mut day);
    }
    file.finish().map_err(HistoryError::Spill)
}

fn at(events: &Events, place: usize) -> At {
    let (arrived, time) = events.instant(place);
    At { arrived, time, order: events.order[place] }
}
