//! Records that are not there any more, and records that come again.

use super::super::sources::Occurred;
use super::{FeaturesSink, NAME};
use affluent_bus::TopicPartition;
use affluent_features::event::DAY;
use affluent_model::time::now_micros;
use affluent_stream::sinks::SinkError;
use affluent_telemetry::metrics_list;

impl FeaturesSink {
    /// Goes on at the first record that a partition holds. What lies before, and was not in the lake either, is missing: that is said.
    pub(super) fn skip(&mut self, partition: &TopicPartition, first: i64, is_empty: bool) {
        let missing = self.live.with(|state| state.skip(partition, first));
        if missing == 0 {
            return;
        }
        tracing::warn!(%partition, missing, first, "records are neither in the topic any more nor in the lake: values that reach back to them are not exact");
        metrics_list::records(NAME, "state", "missing", missing);
        self.is_changed = true;
        // Where no record follows soon, all that is known is that they had happened by now.
        if let Some(source) = self.sources.source(&partition.topic).filter(|_| is_empty) {
            self.live.with(|state| state.bound_hole(partition, source, now_micros()));
        }
    }

    /// Records from before what is read next are repeats, unless their partition ends before that: then its topic was made anew while it was read.
    pub(super) async fn check_repeats(&self, partition: &TopicPartition) -> Result<(), SinkError> {
        let watermarks = self.admin.watermarks(partition).await;
        let (_, end) = watermarks.map_err(|error| SinkError::Passing(error.to_string()))?;
        if end < self.next(partition) {
            return Err(SinkError::Fenced(format!("{partition} ends before what was read of it")));
        }
        Ok(())
    }
}

/// By when whatever stands before this event in its partition had happened, microseconds UTC: nothing happens later than a day after its arrival. Rows of
/// a snapshot come in no order of time.
pub(super) fn before(event: &Occurred) -> i64 {
    if event.is_past { now_micros() } else { event.mapped.arrived.saturating_add(DAY) }
}
