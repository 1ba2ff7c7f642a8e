//! What was promised of the data's way: the demo measures it, the console shows it.

use affluent_console::lang::{Text, text};

/// A promise: 99 of 100 records are at this stop within so many seconds of their commit or occurrence.
pub(crate) struct Promise {
    pub(crate) id: &'static str,
    pub(crate) pipeline: &'static str,
    pub(crate) stop: &'static str,
    /// Seconds.
    pub(crate) goal: f64,
    pub(crate) what: Text,
}

pub(crate) const PROMISES: &[Promise] = &[
    promise("cdc.bus.p99", "cdc", "bus", 3.0, ["acknowledged by Kafka", "confirmé par Kafka"]),
    promise(
        "cdc.documents.p99",
        "cdc",
        "documents",
        3.0,
        ["readable in the mirror", "lisible dans le miroir"],
    ),
    promise(
        "cdc.lake_visible.p99",
        "cdc",
        "lake_visible",
        3.0,
        ["visible in the lake", "visible dans le lac"],
    ),
    promise(
        "clickstream.documents.p99",
        "clickstream",
        "documents",
        3.0,
        ["a click, readable", "un clic, lisible"],
    ),
    promise(
        "logs.documents.p99",
        "logs",
        "documents",
        2.0,
        ["a log line, readable", "une ligne de journal, lisible"],
    ),
    promise(
        "logs.lake_visible.p99",
        "logs",
        "lake_visible",
        3.0,
        ["a log line, in the lake", "une ligne de journal, dans le lac"],
    ),
    promise(
        "features.freshness.p99",
        "features",
        "online",
        3.0,
        ["features of its keys, readable", "variables de ses clés, lisibles"],
    ),
    promise("score.inference.p99", "score", "inference", 0.1, ["one payment, judged", "un paiement, jugé"]),
    promise(
        "score.end_to_end.p99",
        "score",
        "end_to_end",
        1.0,
        ["its score, recorded and sent", "son score, enregistré et envoyé"],
    ),
    promise(
        "score.oltp_updated.p99",
        "score",
        "oltp_updated",
        1.0,
        ["its score, in the database", "son score, dans la base"],
    ),
];

/// The warehouse is fresh: a change can be queried within so many seconds of its commit.
pub(crate) const FRESH_S: f64 = 900.0;

const fn promise(
    id: &'static str,
    pipeline: &'static str,
    stop: &'static str,
    goal: f64,
    [en, fr]: [&'static str; 2],
) -> Promise {
    Promise { id, pipeline, stop, goal, what: text(en, fr) }
}

/// What was promised of a stop, seconds. Of one that no promise names, the strictest of its pipeline: it lies before those that are named.
pub(crate) fn goal(pipeline: &str, stop: &str) -> f64 {
    let of_pipeline = || PROMISES.iter().filter(|promise| promise.pipeline == pipeline);
    let named = of_pipeline().find(|promise| promise.stop == stop).map(|promise| promise.goal);
    named.unwrap_or_else(|| of_pipeline().map(|promise| promise.goal).fold(f64::INFINITY, f64::min))
}
