//! What is staged changes the state, and goes to who follows.

use super::super::follow::Followed;
use super::super::live::LiveRow;
use super::super::sources::Occurred;
use super::holes::before;
use super::{FeaturesSink, NAME};
use affluent_bus::TopicPartition;
use affluent_features::engine::Counters;
use affluent_model::ChangeEvent;
use affluent_stream::sinks::SinkError;
use affluent_telemetry::metrics_list;
use parking_lot::MutexGuard;
use std::time::{Duration, Instant};

/// Events that are applied before others get the state.
const EVENTS_LOCKED: usize = 64;
/// So many latencies are measured between two writes.
const BEGUN_MAX: usize = 1 << 17;

impl FeaturesSink {
    /// Applies what is staged to the state, and hands on what is followed.
    pub(super) fn apply(&mut self) -> Result<(), SinkError> {
        let (mut counters, mut late) = (Counters::default(), 0);
        for (partition, staged) in std::mem::take(&mut self.staged) {
            if let Some((_, first)) = staged.events.first() {
                self.live.with(|state| state.bound_hole(&partition, first.source, before(first)));
            }
            let mut events = staged.events.into_iter().peekable();
            while events.peek().is_some() {
                self.apply_some(&partition, events.by_ref().take(EVENTS_LOCKED), &mut counters)?;
            }
            // No other row depends on them: their order among the others means nothing.
            for (offset, change) in staged.late_rows {
                self.hand_on(&partition, offset, change, None);
            }
            late += staged.late;
            self.read.insert(partition.clone(), staged.progress.next);
            self.live.with(|state| state.advance(partition, staged.progress));
            self.is_changed = true;
        }
        // What nobody has taken, nobody takes.
        self.traced.clear();
        self.set_current();
        count(counters, late);
        Ok(())
    }

    /// A few events of a partition, while nobody else has the state.
    fn apply_some(
        &mut self,
        partition: &TopicPartition,
        events: impl Iterator<Item = (i64, Occurred)>,
        counters: &mut Counters,
    ) -> Result<(), SinkError> {
        let mut followed = Vec::new();
        let mut guard = self.live.lock();
        let Some(state) = guard.as_mut() else {
            return Err(SinkError::Fenced("the state is gone".to_owned()));
        };
        for (offset, mut occurred) in events {
            if occurred.is_past {
                self.past_read = Instant::now();
            }
            let event = occurred.mapped.event(occurred.source);
            let applied = state.engine.apply(&event);
            let applied = applied.map_err(|error| SinkError::Fatal(error.to_string()))?;
            counters.add(applied);
            if let Some(change) = occurred.inserted.take() {
                let begun = Instant::now();
                let mut values = vec![f64::NAN; self.plan.source_shape(event.source).row.len()];
                let is_exact = state.engine.row(&event, &mut values);
                followed.push((offset, change, LiveRow { values, is_exact }, begun.elapsed()));
            }
            let Some(values) = &mut self.values else { continue };
            // A repeat changes no value.
            if applied.new + applied.corrected == 0 {
                continue;
            }
            if self.begun_us.len() < BEGUN_MAX {
                self.begun_us.extend(occurred.begun_us);
            }
            for (entity, key, text) in occurred.entities {
                if let Some(key) = occurred.mapped.keys[key] {
                    values.change(entity, key, text);
                }
            }
        }
        MutexGuard::unlock_fair(guard);
        for (offset, change, row, took) in followed {
            self.hand_on(partition, offset, change, Some((row, took)));
        }
        Ok(())
    }

    /// Hands on a row to who follows, unless it was taken before.
    fn hand_on(
        &mut self,
        partition: &TopicPartition,
        offset: i64,
        change: Box<ChangeEvent>,
        row: Option<(LiveRow, Duration)>,
    ) {
        let is_whole = self.is_whole;
        if let Some(follower) = &mut self.follower
            && follower.next(partition).is_some_and(|next| offset >= next)
        {
            let (row, took) = row.map_or((None, Duration::ZERO), |(row, took)| (Some(row), took));
            let partition = partition.clone();
            let is_traced = !self.traced.is_empty();
            let trace = is_traced.then(|| self.traced.remove(&(partition.clone(), offset))).flatten();
            follower.take(Followed { partition, offset, change, row, is_whole, took, trace });
        }
    }
}

/// Tells what became of events.
pub(super) fn count(counters: Counters, late: u64) {
    for (outcome, count) in [
        ("ok", counters.new),
        ("corrected", counters.corrected),
        ("duplicate", counters.duplicates),
        ("late", late + counters.late),
        ("refused", counters.refused),
        ("shortened", counters.shortened),
    ] {
        metrics_list::records(NAME, "state", outcome, count);
    }
}
