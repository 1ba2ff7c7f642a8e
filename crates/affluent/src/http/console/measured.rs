//! What the process measures of itself, read from its own metrics every few seconds and kept for a day.

use crate::http::health::samples;
use crate::platform::Platform;
use affluent_console::history::{Buckets, History, Reading, Stop};
use affluent_model::time::now_micros;
use affluent_telemetry::metrics_list;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

/// Between two readings: what is live is so old at most.
const EVERY: Duration = Duration::from_secs(2);
/// The bus is asked for the number of dead letters no more often.
const LETTERS_EVERY: Duration = Duration::from_secs(20);
/// Nor before so many times what the answer took: counting reads all of them, where there are new ones.
const LETTERS_PAUSE: u32 = 100;
/// Where there was no answer, after twice the time each time, as often as this: ten minutes.
const DOUBLED_MAX: u32 = 5;

/// The last day, and word of each reading.
pub(super) struct Measured {
    pub(super) history: Mutex<History>,
    dead_letters: Mutex<Option<u64>>,
    ticks: watch::Sender<u64>,
}

impl Default for Measured {
    fn default() -> Self {
        Measured { history: Mutex::default(), dead_letters: Mutex::default(), ticks: watch::Sender::new(0) }
    }
}

impl Measured {
    /// Changes with each reading.
    pub(super) fn ticks(&self) -> watch::Receiver<u64> {
        self.ticks.subscribe()
    }

    /// Dead letters that wait; none where that is not known.
    pub(super) fn dead_letters(&self) -> Option<u64> {
        *self.dead_letters.lock()
    }

    /// Reads again and again. Without an end.
    pub(super) async fn keep(&self, platform: &Platform) {
        let mut timer = tokio::time::interval(EVERY);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut due, mut failures) = (Instant::now(), 0_u32);
        loop {
            timer.tick().await;
            let reading = reading(&platform.metrics(), now_micros());
            self.history.lock().take(reading);
            let now = Instant::now();
            if now >= due {
                let count = platform.dead_letters_count().await;
                *self.dead_letters.lock() = count;
                failures = if count.is_some() { 0 } else { failures.saturating_add(1) };
                due = now + pause(now.elapsed(), failures);
            }
            self.ticks.send_modify(|ticks| *ticks += 1);
        }
    }
}

/// From one question for the number of dead letters to the next, where its answer took so long, or `failures` times did not come.
fn pause(took: Duration, failures: u32) -> Duration {
    match failures {
        0 => LETTERS_EVERY.max(took * LETTERS_PAUSE),
        // The bus may only just have begun.
        _ => LETTERS_EVERY * 2_u32.pow((failures - 1).min(DOUBLED_MAX)),
    }
}

/// What the metrics say at this moment (microseconds UTC).
fn reading(rendered: &str, at_us: i64) -> Reading {
    let mut reading = Reading { at_us, ..Reading::default() };
    let text = |labels: &BTreeMap<String, String>, name: &str| labels.get(name).cloned().unwrap_or_default();
    for (metric, stop) in [
        (metrics_list::PIPELINE_LATENCY, None),
        (metrics_list::INFERENCE, Some(Stop::new("score", "inference"))),
    ] {
        let metric = format!("{metric}_bucket");
        for (labels, count) in samples(rendered, &metric) {
            let Ok(bound) = text(&labels, "le").parse() else { continue };
            let stop =
                stop.clone().unwrap_or_else(|| Stop::new(&text(&labels, "pipeline"), &text(&labels, "stop")));
            reading.latencies.entry(stop).or_default().0.push((bound, count));
        }
    }
    for Buckets(bounds) in reading.latencies.values_mut() {
        bounds.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    }
    for (labels, count) in samples(rendered, metrics_list::DEAD_LETTERS) {
        *reading.refused.entry(text(&labels, "pipeline")).or_default() += count;
    }
    for (labels, records) in samples(rendered, metrics_list::CONSUMER_LAG) {
        *reading.lag.entry(text(&labels, "consumergroup")).or_default() += records;
    }
    reading
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_takes_a_small_part_of_the_time() {
        for (took_ms, failures, seconds) in
            [(1, 0, 20), (2_000, 0, 200), (2_000, 1, 20), (2_000, 2, 40), (2_000, 99, 640)]
        {
            assert_eq!(pause(Duration::from_millis(took_ms), failures), Duration::from_secs(seconds));
        }
    }

    #[test]
    fn metrics_are_read_as_they_are_written() {
        let text = format!(
            "{latency}_bucket{{pipeline=\"cdc\",stop=\"bus\",le=\"+Inf\"}} 9\n\
             {latency}_bucket{{pipeline=\"cdc\",stop=\"bus\",le=\"0.5\"}} 4\n\
             {latency}_sum{{pipeline=\"cdc\",stop=\"bus\"}} 3.5\n\
             {inference}_bucket{{le=\"0.1\"}} 2\n\
             {letters}{{pipeline=\"cdc\",reason=\"a\"}} 1\n{letters}{{pipeline=\"cdc\",reason=\"b\"}} 2\n\
             {lag}{{consumergroup=\"g\",topic=\"t\",partition=\"0\"}} 5\n{lag}{{consumergroup=\"g\",topic=\"t\",partition=\"1\"}} 6\n",
            latency = metrics_list::PIPELINE_LATENCY,
            inference = metrics_list::INFERENCE,
            letters = metrics_list::DEAD_LETTERS,
            lag = metrics_list::CONSUMER_LAG,
        );
        let reading = reading(&text, 7);
        assert_eq!(reading.latencies[&Stop::new("cdc", "bus")].0, [(0.5, 4.0), (f64::INFINITY, 9.0)]);
        assert_eq!(reading.latencies[&Stop::new("score", "inference")].0, [(0.1, 2.0)]);
        assert_eq!((reading.at_us, reading.refused["cdc"], reading.lag["g"]), (7, 3.0, 11.0));
    }
}
