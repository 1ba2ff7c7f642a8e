//! What a process tells of itself, beside the work of its roles: metrics of what is looked at now and then, traces, its own log lines.
//!
//! Everything here is best effort: a receiver that is away, a store that does not answer, cost a warning and a gap, never a record.

mod groups;
mod options;
mod own_logs;
mod process;
mod stores;
mod traces;

pub(crate) use options::TelemetryOptions;
pub(crate) use process::{resident_bytes, sample};

use crate::platform::{Platform, recorder};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// Metrics are folded this often, so that samples between two scrapes take bounded memory.
const UPKEEP: Duration = Duration::from_secs(1);
/// How often the process looks at itself; a scrape does, too.
const SAMPLE: Duration = Duration::from_secs(10);

/// What has to be known before the first change is read.
pub(crate) fn start(options: &TelemetryOptions) {
    if options.is_traced() {
        affluent_telemetry::traces::start(options.sample);
    }
}

/// Observes until it is dropped; `roles` are those that this process plays.
pub(crate) async fn run(platform: Arc<Platform>, roles: Vec<&'static str>) {
    tokio::join!(
        keep_metrics_small(),
        look_at_process(&platform),
        Box::pin(stores::run(&platform, &roles)),
        Box::pin(groups::run(&platform, &roles)),
        Box::pin(traces::run(&platform)),
        Box::pin(own_logs::run(&platform)),
    );
}

async fn keep_metrics_small() {
    let mut tick = ticks(UPKEEP);
    loop {
        tick.tick().await;
        if let Some(recorder) = recorder() {
            recorder.run_upkeep();
        }
    }
}

async fn look_at_process(platform: &Platform) {
    let mut tick = ticks(SAMPLE);
    loop {
        tick.tick().await;
        sample(platform);
    }
}

/// A tick that was missed is left out.
fn ticks(period: Duration) -> tokio::time::Interval {
    let mut tick = tokio::time::interval(period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}
