//! The demo's verdict: every goal with what was measured, and the comparison of the stores.

use super::events::EventsSent;
use super::features::Computed;
use super::learning::Learned;
use super::scoring::{self, Alert, Found};
use super::warehouse::Warehouse;
use crate::bench;
use crate::output;
use crate::promises::{FRESH_S, PROMISES};
use crate::verify;
use affluent_console::lang::Lang;
use affluent_telemetry::latency::Latency;
use affluent_testkit::payments::Progress;
use serde::Serialize;
use std::time::Duration;

/// What may be missing of a rate: the collector's last answers come after the end of the load.
const RATE_TOLERANCE: f64 = 0.02;

/// Which part of the planted fraud is reviewed or declined. The first payments at a compromised terminal look like any other.
const CAUGHT: f64 = 0.5;

/// So many features have a value of some key.
const FEATURES: f64 = 40.0;

/// A question that was asked of the warehouse.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    pub(super) question: String,
    /// For people: columns under each other, the first rows.
    pub(super) table: String,
}

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
    #[serde(skip)]
    rates: String,
    answers: Vec<Answer>,
    /// The last alerts, the newest last.
    alerts: Vec<Alert>,
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
            figures.at_most(promise.id, promise.goal, measured.map_or(f64::INFINITY, |l| l.p99), "s");
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
            rates: String::new(),
            answers: Vec::new(),
            alerts: Vec::new(),
            lost: compared.lost,
            duplicated: compared.duplicated,
            reconciliation: compared.reconciliation,
            figures,
            latencies: found,
        }
    }

    /// Adds the rate at which clicks were accepted, and what clicks and log lines came to.
    pub(super) fn rate(&mut self, events: &EventsSent) {
        let offered = f64::from(events.clicks.rate);
        let accepted = events.clicks.per_second();
        self.figures.at_least("clickstream.rate", offered * (1.0 - RATE_TOLERANCE), accepted, "events/s");
        for sent in [&events.clicks, &events.logs] {
            self.figures.note(sent.describe());
        }
        let verdict = if accepted >= offered * (1.0 - RATE_TOLERANCE) { "met" } else { "MISSED" };
        self.rates = format!("clickstream.rate: {accepted:.1} of {offered} clicks/s accepted, {verdict}\n");
    }

    /// Adds how much of the planted fraud was caught, and the last alerts.
    pub(super) fn fraud(&mut self, found: Found) {
        let share = found.caught_share();
        self.figures.at_least("fraud.caught_share", CAUGHT, share, "of what was planted");
        let verdict = if share >= CAUGHT { "met" } else { "MISSED" };
        let patterns: Vec<String> = found
            .caught
            .iter()
            .map(|(pattern, (caught, planted))| format!("{} {caught} of {planted}", pattern.as_str()))
            .collect();
        self.rates += &format!(
            "fraud.caught_share: {share:.2} of the planted fraud was reviewed or declined ({}), goal {CAUGHT}, {verdict}; \
             {} alerts on {} payments\n",
            patterns.join(", "),
            found.alerts,
            found.scored
        );
        self.alerts = found.last;
    }

    /// Adds how fresh the warehouse was, whether its money is that of the database and its tables those of a rebuild,
    /// and what it answered.
    pub(super) fn warehouse(&mut self, found: Warehouse) {
        let fresh = found.freshness.worst_s.unwrap_or(f64::INFINITY);
        self.figures.at_most("batch.freshness", FRESH_S, fresh, "s");
        let wire = found.freshness_wire.worst_s.unwrap_or(f64::INFINITY);
        self.figures.at_most("batch.balance", 0.0, found.unbalanced.len() as f64, "currencies that differ");
        self.figures.at_most("batch.rebuild_equal", 0.0, found.different.len() as f64, "tables that differ");
        self.figures.at_most("bi.freshness", FRESH_S, wire, "s");
        let verdict = |good: bool| if good { "met" } else { "MISSED" };
        self.rates += &format!(
            "batch.freshness: at most {fresh:.1} s from commit to `affluent sql` (goal {FRESH_S} s), {} runs beside the load, \
             the longest {:.1} s, {}\n\
             batch.balance: payments and money of the warehouse by currency as in the database, {}\n\
             batch.rebuild_equal: {} rows computed again in {:.1} s equal the increments, {}\n\
             bi.freshness: at most {wire:.1} s from commit to an answer over the PostgreSQL protocol (goal {FRESH_S} s), {}\n",
            found.runs,
            found.longest_s,
            verdict(fresh <= FRESH_S),
            verdict(found.unbalanced.is_empty()),
            found.compared,
            found.rebuild_s,
            verdict(found.different.is_empty()),
            verdict(wire <= FRESH_S),
        );
        for difference in found.unbalanced.into_iter().chain(found.different) {
            self.rates += &format!("  {difference}\n");
            self.note(difference);
        }
        self.answers = found.answers;
    }

    /// Adds how many features have values, from how many sources, and whether the lake gives again what was served.
    pub(super) fn features(&mut self, found: &Computed) {
        let Computed { features, sources, rows, seconds, parity } = found;
        let counted = sources.values().filter(|source| source.counted).count();
        // Nothing compared is a goal missed.
        let differ = if parity.vectors == 0 { f64::INFINITY } else { parity.mismatches as f64 };
        self.figures.at_least("features.computed", FEATURES, *features as f64, "features");
        self.figures.at_least("features.sources", sources.len() as f64, counted as f64, "sources");
        self.figures.at_most("features.parity", 0.0, differ, "values that differ");
        let verdict = |good: bool| if good { "met" } else { "MISSED" };
        let of: Vec<String> =
            sources.iter().map(|(name, source)| format!("{} of {name}", source.features)).collect();
        self.rates += &format!(
            "features.computed: {features} features have values (goal {FEATURES}; {}), {rows} rows by the pipelines in \
             {seconds:.1} s, {}\n\
             features.sources: events of {counted} of {} sources are in values, {}\n\
             features.parity: {} of {} served values of {} vectors are otherwise in the lake, {}\n",
            of.join(", "),
            verdict(*features as f64 >= FEATURES),
            sources.len(),
            verdict(counted >= sources.len()),
            parity.mismatches,
            parity.values,
            parity.vectors,
            verdict(differ <= 0.0),
        );
        for (name, source) in sources.iter().filter(|(_, source)| !source.counted) {
            self.note(format!(
                "no event of {name} is in a value; {} of its features have one",
                source.features
            ));
        }
        if parity.waiting > 0 {
            self.note(format!("{} served vectors have events that the lake has not yet", parity.waiting));
        }
        for (name, compared) in parity.features.iter().filter(|(_, compared)| compared.mismatches > 0) {
            self.note(format!(
                "{name}: {} of {} values differ, such as {:?}",
                compared.mismatches,
                compared.values,
                compared.examples.first()
            ));
        }
    }

    /// Adds how much better than the baseline the fraud model is, and whether other amounts were noticed.
    pub(super) fn learned(&mut self, found: Learned) {
        // Nothing measured is a goal missed.
        let lift = found.lift.unwrap_or(f64::NEG_INFINITY);
        let detected = f64::from(u8::from(found.detected));
        self.figures.at_least("train.fraud.ap_lift_over_baseline", 0.0, lift, "average precision");
        self.figures.at_least("drift.detected_injected", 1.0, detected, "shifted weeks found");
        let verdict = |good: bool| if good { "met" } else { "MISSED" };
        self.rates += &format!(
            "train.fraud.ap_lift_over_baseline: {lift:+.3} average precision over the logistic regression, {}\n\
             drift.detected_injected: other amounts raise the alarm, a usual week does not, {}; models in {:.1} s\n",
            verdict(lift >= 0.0),
            verdict(found.detected),
            found.seconds,
        );
        for note in found.notes {
            self.rates += &format!("  {note}\n");
            self.note(note);
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
                    Lang::En.say(promise.what).to_owned(),
                    format!("{} s", slo.goal),
                    seconds(|l| l.p50),
                    seconds(|l| l.p99),
                    seconds(|l| l.max),
                    latency.as_ref().map_or(0, |l| l.records).to_string(),
                    if slo.met { "met" } else { "MISSED" }.to_owned(),
                ]
            });
        let head = ["", "from commit or occurrence until", "goal (p99)", "p50", "p99", "max", "measured", ""];
        let figures = &self.figures;
        let mut text = format!("\n{} · affluent {} · {}\n\n", figures.name, figures.version, figures.machine);
        text.push_str(&output::table(&head, rows));
        text.push_str(&self.rates);
        if let Some(load) = figures.notes.first() {
            text.push_str(&format!("{load}\n"));
        }
        text.push('\n');
        text.push_str(&self.compared);
        if !self.alerts.is_empty() {
            text.push_str(&format!("\nThe last alerts:\n\n{}", scoring::table(&self.alerts)));
        }
        for Answer { question, table } in &self.answers {
            text.push_str(&format!("\n{question}\n\n{table}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(latencies: &[Latency]) -> DemoReport {
        DemoReport::new(verify::Report::default(), latencies, &Progress::default(), Duration::from_secs(1))
    }

    fn latency(pipeline: &'static str, stop: &'static str, p99: f64) -> Latency {
        Latency { pipeline, stop, records: 10, p50: 0.1, p99, max: p99 }
    }

    #[test]
    fn a_goal_without_a_measurement_is_missed() {
        let mut all: Vec<Latency> = PROMISES.iter().map(|p| latency(p.pipeline, p.stop, p.goal)).collect();
        assert!(report(&all).is_good());
        assert!(!report(&all[..all.len() - 1]).is_good());
        all[4].p99 = 2.5;
        assert!(!report(&all).is_good(), "log lines have less time than the rest");
    }

    #[test]
    fn models_that_were_not_trained_and_drift_that_was_not_found_are_goals_missed() {
        let all: Vec<Latency> = PROMISES.iter().map(|p| latency(p.pipeline, p.stop, p.goal)).collect();
        let good = |lift, detected| {
            let mut report = report(&all);
            report.learned(Learned { lift, detected, ..Learned::default() });
            report.is_good()
        };
        assert!(good(Some(0.1), true));
        assert!(!good(None, true) && !good(Some(-0.1), true) && !good(Some(0.1), false));
    }

    #[test]
    fn features_without_a_source_and_a_differing_value_are_missed() {
        use crate::demo::features::OfSource;
        use affluent_feature_store::parity::Parity;
        let all: Vec<Latency> = PROMISES.iter().map(|p| latency(p.pipeline, p.stop, p.goal)).collect();
        let judge = |features, counted, (vectors, mismatches)| {
            let sources = [("clickstream", true), ("refunds", counted)];
            let mut report = report(&all);
            report.features(&Computed {
                features,
                sources: sources
                    .map(|(name, counted)| (name.to_owned(), OfSource { features: 3, counted }))
                    .into(),
                parity: Parity { vectors, values: 10 * vectors, mismatches, ..Parity::default() },
                ..Computed::default()
            });
            (report.is_good(), report.text())
        };
        let (good, text) = judge(40, true, (7, 0));
        assert!(good && text.contains("0 of 70 served values of 7 vectors"), "{text}");
        for (features, counted, parity) in
            [(39, true, (7, 0)), (40, false, (7, 0)), (40, true, (7, 1)), (40, true, (0, 0))]
        {
            let (good, text) = judge(features, counted, parity);
            assert!(!good && text.contains("MISSED"), "{text}");
        }
    }

    #[test]
    fn the_report_has_the_shape_of_the_contract() {
        let report = report(&[latency("cdc", "bus", 0.25)]);
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
