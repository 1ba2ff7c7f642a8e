//! The demo's verdict: every goal with what was measured, and the comparison of the stores.

use crate::bench;
use crate::output;
use crate::verify;
use affluent_telemetry::latency::Latency;
use affluent_testkit::payments::Progress;
use serde::Serialize;
use std::time::Duration;

/// A promise: 99 of 100 changes are at this stop within so many seconds of their commit.
struct Promise {
    id: &'static str,
    pipeline: &'static str,
    stop: &'static str,
    what: &'static str,
}

/// Goal of every stop, seconds.
const GOAL: f64 = 3.0;

const PROMISES: &[Promise] = &[
    Promise { id: "cdc.bus.p99", pipeline: "cdc", stop: "bus", what: "acknowledged by Kafka" },
    Promise { id: "cdc.documents.p99", pipeline: "cdc", stop: "documents", what: "readable in the mirror" },
    Promise {
        id: "cdc.lake_visible.p99",
        pipeline: "cdc",
        stop: "lake_visible",
        what: "visible in the lake",
    },
];

/// What `--report` writes and `--format json` prints.
#[derive(Debug, Serialize)]
pub(super) struct DemoReport {
    #[serde(flatten)]
    figures: bench::Report,
    reconciliation: Vec<verify::Reconciled>,
    lost: u64,
    duplicated: u64,
    #[serde(skip)]
    exact: bool,
    #[serde(skip)]
    latencies: Vec<Option<Latency>>,
    #[serde(skip)]
    compared: String,
}

impl DemoReport {
    pub(super) fn new(
        compared: verify::Report,
        latencies: &[Latency],
        progress: &Progress,
        loaded: Duration,
    ) -> Self {
        let mut figures = bench::Report::new("demo");
        let mut found = Vec::new();
        for promise in PROMISES {
            let measured =
                latencies.iter().find(|l| l.pipeline == promise.pipeline && l.stop == promise.stop);
            // Nothing measured is a goal missed.
            figures.at_most(promise.id, GOAL, measured.map_or(f64::INFINITY, |l| l.p99), "s");
            found.push(measured.copied());
        }
        let rate = progress.changes() as f64 / loaded.as_secs_f64();
        figures.note(format!(
            "{} row changes in {} transactions over {:.1} s: {rate:.0} changes/s",
            progress.changes(),
            progress.commits(),
            loaded.as_secs_f64(),
        ));
        compared.notes.iter().for_each(|note| figures.note(note.clone()));
        DemoReport {
            exact: compared.is_exact(),
            compared: compared.text(),
            lost: compared.lost,
            duplicated: compared.duplicated,
            reconciliation: compared.reconciliation,
            figures,
            latencies: found,
        }
    }

    pub(super) fn note(&mut self, text: String) {
        self.figures.note(text);
    }

    /// All goals met, nothing lost, nothing duplicated, every store equal.
    pub(super) fn is_good(&self) -> bool {
        self.figures.met() && self.exact
    }

    /// The report for people.
    pub(super) fn text(&self) -> String {
        let rows =
            PROMISES.iter().zip(&self.latencies).zip(&self.figures.slos).map(|((promise, latency), slo)| {
                let seconds = |of: fn(&Latency) -> f64| {
                    latency.as_ref().map_or("-".to_owned(), |l| format!("{:.3} s", of(l)))
                };
                vec![
                    promise.id.to_owned(),
                    promise.what.to_owned(),
                    format!("{} s", slo.goal),
                    seconds(|l| l.p50),
                    seconds(|l| l.p99),
                    seconds(|l| l.max),
                    latency.as_ref().map_or(0, |l| l.records).to_string(),
                    if slo.met { "met" } else { "MISSED" }.to_owned(),
                ]
            });
        let head = ["", "from commit until", "goal (p99)", "p50", "p99", "max", "measured", ""];
        let figures = &self.figures;
        let mut text = format!("\n{} · affluent {} · {}\n\n", figures.name, figures.version, figures.machine);
        text.push_str(&output::table(&head, rows));
        if let Some(load) = figures.notes.first() {
            text.push_str(&format!("{load}\n"));
        }
        text.push('\n');
        text.push_str(&self.compared);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(latencies: &[Latency]) -> DemoReport {
        DemoReport::new(verify::Report::default(), latencies, &Progress::default(), Duration::from_secs(1))
    }

    fn latency(stop: &'static str, p99: f64) -> Latency {
        Latency { pipeline: "cdc", stop, records: 10, p50: 0.1, p99, max: p99 }
    }

    #[test]
    fn a_goal_without_a_measurement_is_missed() {
        let all = [latency("bus", 0.1), latency("documents", 0.2), latency("lake_visible", 1.0)];
        assert!(report(&all).is_good());
        assert!(!report(&all[..2]).is_good());
        assert!(!report(&[all[0], all[1], latency("lake_visible", 3.5)]).is_good());
    }

    #[test]
    fn the_report_has_the_shape_of_the_contract() {
        let report = report(&[latency("bus", 0.25)]);
        let json = serde_json::to_value(&report).expect("a report has a JSON form");
        let slo = &json["slos"][0];
        assert_eq!((slo["id"].as_str(), slo["unit"].as_str()), (Some("cdc.bus.p99"), Some("s")));
        assert_eq!((slo["goal"].as_f64(), slo["measured"].as_f64()), (Some(3.0), Some(0.25)));
        assert_eq!(slo["met"].as_bool(), Some(true));
        for key in ["name", "machine", "version", "slos", "notes", "reconciliation", "lost", "duplicated"] {
            assert!(json.get(key).is_some(), "{key}");
        }
    }
}
