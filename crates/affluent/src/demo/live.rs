//! What the demo shows while it runs: a bar on a terminal, plain lines elsewhere; on standard error.

use super::events::EventLoad;
use crate::output;
use affluent_telemetry::latency::{self, Latency};
use affluent_testkit::payments::Progress;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::Write as _;
use std::time::Duration;

const BAR_PAUSE: Duration = Duration::from_millis(250);
const LINE_PAUSE: Duration = Duration::from_secs(5);

pub(super) struct Live {
    bar: Option<ProgressBar>,
    seconds: u64,
    rate: u32,
}

impl Live {
    pub(super) fn new(seconds: u64, rate: u32) -> Self {
        let bar = output::is_terminal().then(|| {
            let bar = ProgressBar::new(seconds);
            let style = ProgressStyle::with_template("{bar:24} {pos:>3}/{len} s  {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Live { bar, seconds, rate }
    }

    /// Between two ticks.
    pub(super) fn pause(&self) -> Duration {
        if self.bar.is_some() { BAR_PAUSE } else { LINE_PAUSE }
    }

    /// What begins now.
    pub(super) fn say(&self, what: &str) {
        match &self.bar {
            Some(bar) => bar.println(what),
            None => line(what),
        }
    }

    /// How the load is doing.
    pub(super) fn tick(&mut self, elapsed: Duration, progress: &Progress, events: &EventLoad) {
        let rate = progress.changes() as f64 / elapsed.as_secs_f64().max(1e-3);
        let wanted = if self.rate == 0 { String::new() } else { format!(" of {}", self.rate) };
        let shown = |latency: &&Latency| latency.stop != "bus";
        let p99: Vec<String> = latency::latencies().iter().filter(shown).map(stop).collect();
        let (clicks, logs) = events.accepted();
        let text = format!(
            "{} changes, {rate:.0}/s{wanted}, {clicks} clicks, {logs} log lines  p99 {}",
            progress.changes(),
            p99.join(" ")
        );
        match &self.bar {
            Some(bar) => {
                bar.set_position(elapsed.as_secs());
                bar.set_message(text);
            }
            None => line(&format!("{:>3}/{} s  {text}", elapsed.as_secs(), self.seconds)),
        }
    }

    pub(super) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn stop(latency: &Latency) -> String {
    format!("{}.{} {:.3} s", latency.pipeline, latency.stop, latency.p99)
}

fn line(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
