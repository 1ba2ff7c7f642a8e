//! Every metric the platform exports: name, kind, labels, meaning and bound in one table, and a function for each that records it.
//!
//! Adding a metric is one line in [`table`](METRICS) and one function: in `flow` for what happens, in `state` for what is looked at
//! now and then. `affluent metrics` shows the table.

mod exemplars;
mod flow;
mod labels;
mod open_metrics;
mod state;
mod table;
#[cfg(test)]
mod tests;

pub use flow::*;
pub use metrics_exporter_prometheus::PrometheusHandle;
pub use state::*;
pub use table::{Kind, METRICS, Metric, markdown};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder};

/// Histogram by pipeline and stop, seconds; see [`pipeline_latency`].
pub const PIPELINE_LATENCY: &str = table::PIPELINE_LATENCY.name;
/// Counter by pipeline and reason; see [`dead_letter`].
pub const DEAD_LETTERS: &str = table::DEAD_LETTERS.name;
/// Histogram, seconds; see [`inference`].
pub const INFERENCE: &str = table::INFERENCE.name;
/// Gauge by consumergroup, topic, partition; see [`consumer_lag`].
pub const CONSUMER_LAG: &str = table::CONSUMER_LAG.name;
/// Gauge by slot; see [`slot_retained`].
pub const SLOT_RETAINED: &str = table::SLOT_RETAINED.name;
/// Gauge by feature; see [`feature_skew`].
pub const FEATURE_SKEW: &str = table::FEATURE_SKEW.name;

/// Installs the process-wide recorder; the handle renders the Prometheus text format.
///
/// # Errors
/// When a recorder is installed already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = builder()?.install_recorder()?;
    describe();
    Ok(handle)
}

/// Everything as OpenMetrics, with the exemplars of the latency histograms.
#[must_use]
pub fn open_metrics(handle: &PrometheusHandle) -> String {
    // Taken before the samples: what they are of is counted by then.
    let exemplars = exemplars::kept();
    open_metrics::open_metrics(&handle.render(), &exemplars)
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for metric in METRICS.iter().filter(|metric| metric.kind == Kind::Histogram) {
        builder = builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), metric.buckets)?;
    }
    Ok(builder)
}

fn describe() {
    for Metric { name, kind, help, .. } in METRICS {
        match kind {
            Kind::Counter => metrics::describe_counter!(*name, *help),
            Kind::Gauge => metrics::describe_gauge!(*name, *help),
            Kind::Histogram => metrics::describe_histogram!(*name, *help),
        }
    }
}
