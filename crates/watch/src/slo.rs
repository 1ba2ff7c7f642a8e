//! What is promised of latency: so many of a hundred records reach a stop within a bound.

/// The part of the records that reach their stop in time.
pub const OBJECTIVE: f64 = 0.99;

/// A promise. The bound is one of the histogram's, so that nothing has to be interpolated.
#[derive(Debug)]
pub struct Slo {
    pub id: &'static str,
    /// The histogram, without `_bucket`.
    pub metric: &'static str,
    pub labels: &'static [(&'static str, &'static str)],
    /// Seconds.
    pub bound: f64,
}

/// A stop of a pipeline.
const fn stop(id: &'static str, labels: &'static [(&'static str, &'static str)], bound: f64) -> Slo {
    Slo { id, metric: "affluent_pipeline_latency_seconds", labels, bound }
}

/// Every promise.
pub const SLOS: &[Slo] = &[
    stop("cdc_bus", &[("pipeline", "cdc"), ("stop", "bus")], 3.0),
    stop("cdc_documents", &[("pipeline", "cdc"), ("stop", "documents")], 3.0),
    stop("cdc_lake_visible", &[("pipeline", "cdc"), ("stop", "lake_visible")], 3.0),
    stop("clickstream_documents", &[("pipeline", "clickstream"), ("stop", "documents")], 3.0),
    stop("logs_documents", &[("pipeline", "logs"), ("stop", "documents")], 2.0),
    stop("logs_lake_visible", &[("pipeline", "logs"), ("stop", "lake_visible")], 3.0),
    stop("features_online", &[("pipeline", "features"), ("stop", "online")], 3.0),
    stop("score_end_to_end", &[("pipeline", "score"), ("stop", "end_to_end")], 1.0),
    stop("score_oltp_updated", &[("pipeline", "score"), ("stop", "oltp_updated")], 1.0),
    Slo { id: "score_inference", metric: "affluent_inference_seconds", labels: &[], bound: 0.1 },
];
