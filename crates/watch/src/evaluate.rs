//! From samples to what each rule measures. Keeps the windows; decides nothing.

use crate::rules::{Counter, Measure, RULES, Rule};
use crate::slo::{OBJECTIVE, SLOS, Slo};
use crate::text::{Labels, Snapshot};
use crate::window::Window;
use std::collections::{BTreeMap, BTreeSet};

/// The short window of a burn rate is this part of the long one.
const SHORT: u32 = 12;
/// Windows at most; the metrics' own bounds keep far below.
const WINDOWS_MAX: usize = 20_000;
const US: f64 = 1e6;

/// What a rule measures now, of one set of labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    pub rule: &'static str,
    pub labels: Labels,
    pub value: f64,
}

/// The series that a window is about: rule, which of its windows, labels.
type Series = (&'static str, &'static str, Labels);

/// Measures the rules from look to look.
#[derive(Debug)]
pub struct Evaluator {
    scale: f64,
    roles: Vec<&'static str>,
    windows: BTreeMap<Series, Window>,
}

impl Evaluator {
    /// For a process that plays `roles` and has just begun; `scale` is a factor on every window.
    #[must_use]
    pub fn new(scale: f64, roles: Vec<&'static str>) -> Self {
        Evaluator { scale, roles, windows: BTreeMap::new() }
    }

    /// The metrics that [`Evaluator::observe`] looks at.
    #[must_use]
    pub fn wanted() -> BTreeSet<String> {
        let mut wanted = BTreeSet::new();
        for slo in SLOS {
            wanted.extend(["bucket", "count"].map(|part| format!("{}_{part}", slo.metric)));
        }
        for rule in RULES {
            let metrics = match rule.measure {
                Measure::Value { metric }
                | Measure::Since { metric }
                | Measure::Until { metric }
                | Measure::Growth { metric, .. }
                | Measure::Increase { metric, .. }
                | Measure::Absent { metric, .. } => vec![metric],
                Measure::Ratio { metric, of } => vec![metric, of],
                Measure::Share { part, whole, .. } => {
                    std::iter::once(&part).chain(whole).map(|counter| counter.metric).collect()
                }
                Measure::Burn { .. } => Vec::new(),
            };
            wanted.extend(metrics.into_iter().map(str::to_owned));
            wanted.extend(rule.given.map(|(metric, _, _)| metric.to_owned()));
        }
        wanted
    }

    /// What every rule measures at `now` (microseconds UTC), where there is something to measure.
    pub fn observe(&mut self, now: i64, snapshot: &Snapshot) -> Vec<Reading> {
        let mut readings = Vec::new();
        for rule in RULES {
            let measured = self.measure(rule, now, snapshot);
            if !is_given(rule, snapshot) {
                // What happens meanwhile does not count once it is given.
                let windows = self.windows.iter_mut().filter(|((name, _, _), _)| *name == rule.name);
                windows.for_each(|(_, window)| window.restart());
                continue;
            }
            let measured = measured.into_iter().filter(|(_, value)| value.is_finite());
            readings.extend(measured.map(|(labels, value)| Reading { rule: rule.name, labels, value }));
        }
        readings
    }

    fn measure(&mut self, rule: &Rule, now: i64, snapshot: &Snapshot) -> Vec<(Labels, f64)> {
        let now_s = now as f64 / US;
        match rule.measure {
            Measure::Value { metric } => worst(rule, snapshot, metric, |_, value| Some(value.abs())),
            Measure::Since { metric } => worst(rule, snapshot, metric, |_, value| Some(now_s - value)),
            Measure::Until { metric } => worst(rule, snapshot, metric, |_, value| Some(value - now_s)),
            Measure::Ratio { metric, of } => worst(rule, snapshot, metric, |labels, value| {
                let (_, of) = snapshot.of(of).iter().find(|(other, of)| other == labels && *of > 0.0)?;
                Some(value / of)
            }),
            Measure::Growth { metric, window } => {
                let sums = sums(rule, snapshot, Counter { metric, labels: &[] });
                let grown = |(labels, sum): (Labels, f64)| {
                    let change = self.change((rule.name, "", labels.clone()), window, now, sum, sum);
                    (labels, change)
                };
                sums.into_iter().map(grown).collect()
            }
            Measure::Increase { metric, window } => {
                let counter = Counter { metric, labels: &[] };
                self.increases(rule, "", counter, window, now, snapshot).into_iter().collect()
            }
            Measure::Share { part, whole, window } => {
                let parts = self.increases(rule, "part", part, window, now, snapshot);
                let mut all: BTreeMap<Labels, f64> = BTreeMap::new();
                for (name, counter) in ["first", "second"].into_iter().zip(whole) {
                    for (labels, value) in self.increases(rule, name, *counter, window, now, snapshot) {
                        *all.entry(labels).or_default() += value;
                    }
                }
                let share = |(labels, part): (Labels, f64)| {
                    let whole = all.get(&labels).copied().unwrap_or_default();
                    let share = if whole > 0.0 { part / whole } else { 0.0 };
                    (labels, share)
                };
                parts.into_iter().map(share).collect()
            }
            Measure::Burn { window } => {
                SLOS.iter().filter_map(|slo| self.burn(rule, slo, window, now, snapshot)).collect()
            }
            Measure::Absent { metric, role } => {
                let is_absent = self.roles.contains(&role) && snapshot.of(metric).is_empty();
                vec![(Labels::new(), f64::from(u8::from(is_absent)))]
            }
        }
    }

    /// How fast the budget of a promise is used up; none of a stop that no record has reached.
    fn burn(
        &mut self,
        rule: &Rule,
        slo: &Slo,
        window: u32,
        now: i64,
        snapshot: &Snapshot,
    ) -> Option<(Labels, f64)> {
        let of_slo =
            |labels: &Labels| slo.labels.iter().all(|(k, v)| labels.get(*k).is_some_and(|found| found == v));
        let in_time = |labels: &Labels| labels.get("le").and_then(|le| le.parse().ok()) == Some(slo.bound);
        let sum = |part: &str, counts: &dyn Fn(&Labels) -> bool| -> f64 {
            let samples = snapshot.of(&format!("{}_{part}", slo.metric)).iter();
            samples.filter(|(labels, _)| of_slo(labels) && counts(labels)).map(|(_, value)| value).sum()
        };
        let (all, good) = (sum("count", &|_| true), sum("bucket", &in_time));
        if all <= 0.0 {
            return None;
        }
        let labels = Labels::from([("slo".to_owned(), slo.id.to_owned())]);
        let rates = [("long", window), ("short", window / SHORT)].map(|(name, window)| {
            let mut series = labels.clone();
            series.insert("window".to_owned(), name.to_owned());
            let all = self.change((rule.name, "all", series.clone()), window, now, all, 0.0);
            let good = self.change((rule.name, "good", series), window, now, good, 0.0);
            if all > 0.0 { (1.0 - good / all) / (1.0 - OBJECTIVE) } else { 0.0 }
        });
        Some((labels, rates[0].min(rates[1])))
    }

    /// How much a counter has grown, by the labels of the rule.
    fn increases(
        &mut self,
        rule: &Rule,
        name: &'static str,
        counter: Counter,
        window: u32,
        now: i64,
        snapshot: &Snapshot,
    ) -> BTreeMap<Labels, f64> {
        let increase = |(labels, sum): (Labels, f64)| {
            let change = self.change((rule.name, name, labels.clone()), window, now, sum, 0.0);
            (labels, change)
        };
        sums(rule, snapshot, counter).into_iter().map(increase).collect()
    }

    /// What a series has changed in a window of so many seconds; it was `begun` before it was known.
    fn change(&mut self, series: Series, window: u32, now: i64, value: f64, begun: f64) -> f64 {
        if self.windows.len() >= WINDOWS_MAX && !self.windows.contains_key(&series) {
            return 0.0;
        }
        let span = (f64::from(window) * self.scale * US) as i64;
        self.windows.entry(series).or_insert_with(|| Window::new(span, now, begun)).change(now, value)
    }
}

fn is_given(rule: &Rule, snapshot: &Snapshot) -> bool {
    rule.given.is_none_or(|(metric, label, value)| {
        let has = |labels: &Labels| labels.get(label).is_some_and(|found| found == value);
        snapshot.of(metric).iter().any(|(labels, sample)| *sample > 0.0 && has(labels))
    })
}

fn counts(rule: &Rule, labels: &Labels) -> bool {
    rule.only
        .iter()
        .all(|(label, values)| labels.get(*label).is_some_and(|value| values.contains(&value.as_str())))
}

/// The labels that the rule's alerts have.
fn group(rule: &Rule, labels: &Labels) -> Labels {
    let kept = rule.by.iter().filter_map(|&label| Some((label.to_owned(), labels.get(label)?.clone())));
    kept.collect()
}

/// The worst value of each group.
fn worst(
    rule: &Rule,
    snapshot: &Snapshot,
    metric: &str,
    value: impl Fn(&Labels, f64) -> Option<f64>,
) -> Vec<(Labels, f64)> {
    let mut groups: BTreeMap<Labels, f64> = BTreeMap::new();
    for (labels, sample) in snapshot.of(metric).iter().filter(|(labels, _)| counts(rule, labels)) {
        if let Some(value) = value(labels, *sample) {
            let group = groups.entry(group(rule, labels)).or_insert(value);
            *group = rule.limit.worse(*group, value);
        }
    }
    groups.into_iter().collect()
}

/// The sum of each group.
fn sums(rule: &Rule, snapshot: &Snapshot, counter: Counter) -> BTreeMap<Labels, f64> {
    let mut groups: BTreeMap<Labels, f64> = BTreeMap::new();
    let has =
        |labels: &Labels| counter.labels.iter().all(|(k, v)| labels.get(*k).is_some_and(|found| found == v));
    let samples = snapshot.of(counter.metric).iter();
    for (labels, value) in samples.filter(|(labels, _)| counts(rule, labels) && has(labels)) {
        *groups.entry(group(rule, labels)).or_default() += value;
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000;

    /// An evaluator that is shown texts at minutes, and what one rule reads of each.
    fn read(rule: &str, looks: &[(i64, &str)]) -> Vec<Vec<f64>> {
        let mut evaluator = Evaluator::new(1.0, vec!["schedule"]);
        let wanted = Evaluator::wanted();
        let read = |(minute, text): &(i64, &str)| {
            let readings = evaluator.observe(minute * MINUTE, &Snapshot::read(text, &wanted));
            readings.into_iter().filter(|reading| reading.rule == rule).map(|reading| reading.value).collect()
        };
        looks.iter().map(read).collect()
    }

    #[test]
    fn gauges_are_read_by_their_worst_value() {
        let text = "affluent_disk_free_bytes{volume=\"data\"} 10\naffluent_disk_size_bytes{volume=\"data\"} 100\n\
            affluent_disk_free_bytes{volume=\"lake\"} 90\naffluent_disk_size_bytes{volume=\"lake\"} 100\n\
            affluent_disk_free_bytes{volume=\"odd\"} 90\n\
            kafka_consumergroup_group_lag_seconds{consumergroup=\"g\",topic=\"t\",partition=\"0\"} 5\n\
            kafka_consumergroup_group_lag_seconds{consumergroup=\"g\",topic=\"t\",partition=\"1\"} 70\n\
            affluent_certificate_expiry_timestamp_seconds{certificate=\"http\"} 660\n\
            affluent_batch_done_timestamp_seconds{pipeline=\"rebuild\"} 0\n\
            affluent_batch_done_timestamp_seconds{pipeline=\"raw-to-dwh\"} 540\n\
            affluent_reconcile_difference{table=\"t\",measure=\"rows\"} -3\n\
            drift_score{model=\"m\",feature=\"f\",test=\"ks\"} 9\n";
        for (rule, expected) in [
            ("AffluentDiskLow", &[0.1, 0.9][..]),
            ("AffluentLagHigh", &[70.0]),
            ("AffluentCertificateExpiry", &[60.0]),
            ("AffluentWarehouseStale", &[60.0]),
            ("AffluentReconcileDifference", &[3.0]),
            ("AffluentDrift", &[]),
            ("AffluentBatchAbsent", &[1.0]),
        ] {
            assert_eq!(read(rule, &[(10, text)]), [expected], "{rule}");
        }
    }

    #[test]
    fn counters_are_read_by_what_they_grew_in_the_window() {
        let letters = |count: u32| {
            format!("affluent_dead_letters_total{{pipeline=\"cdc\",reason=\"decode\"}} {count}\n")
        };
        let (five, six) = (letters(5), letters(6));
        let (five, six) = (five.as_str(), six.as_str());
        let looks = [(0, ""), (1, five), (2, five), (13, five), (14, six), (40, six)];
        let expected: [&[f64]; 6] = [&[], &[5.0], &[5.0], &[0.0], &[1.0], &[0.0]];
        assert_eq!(read("AffluentDeadLetters", &looks), expected);
    }

    #[test]
    fn a_share_is_of_what_grew() {
        let text = |bad: u32, good: u32| {
            format!(
                "affluent_collect_rejected_total{{pipeline=\"logs\",reason=\"json\"}} {bad}\n\
                 affluent_records_total{{pipeline=\"logs\",stage=\"collect\",outcome=\"ok\"}} {good}\n\
                 affluent_records_total{{pipeline=\"logs\",stage=\"lake\",outcome=\"ok\"}} 999\n"
            )
        };
        let (first, second) = (text(1, 3), text(4, 3));
        let looks = [(0, first.as_str()), (1, first.as_str()), (12, second.as_str())];
        assert_eq!(read("AffluentEventsRejected", &looks), [[0.25], [0.25], [1.0]]);
    }

    #[test]
    fn nobody_falls_back_who_has_no_champion() {
        let scores = "affluent_scores_total{model=\"none\",decision=\"approve\"} 5\naffluent_scores_total{model=\"fraud\",decision=\"approve\"} 15\n";
        let champion = format!("{scores}affluent_model_version{{model=\"fraud\",alias=\"champion\"}} 1\n");
        let none: &[f64] = &[];
        assert_eq!(read("AffluentModelFallback", &[(0, scores)]), [none]);
        assert_eq!(read("AffluentModelFallback", &[(0, champion.as_str())]), [[0.25]]);
        // The first champion after a time of rules alone: that time is none in which anybody fell back. And it is taken away again.
        let later = champion.replace("} 15", "} 18").replace("} 5", "} 6");
        let withdrawn = later.replace("} 1\n", "} 0\n");
        let looks =
            [(0, scores), (1, scores), (2, champion.as_str()), (3, later.as_str()), (4, withdrawn.as_str())];
        let expected: [&[f64]; 5] = [&[], &[], &[0.0], &[0.25], &[]];
        assert_eq!(read("AffluentModelFallback", &looks), expected);
    }

    #[test]
    fn lag_that_is_high_but_falls_does_not_grow() {
        let lag = |a: u32, b: u32| {
            let line = |partition: u32, records: u32| {
                format!(
                    "kafka_consumergroup_lag{{consumergroup=\"g\",topic=\"t\",partition=\"{partition}\"}} {records}\n"
                )
            };
            line(0, a) + &line(1, b)
        };
        let (high, higher, lower) = (lag(5000, 5000), lag(6000, 7000), lag(10, 0));
        let looks = [(0, high.as_str()), (10, higher.as_str()), (20, lower.as_str())];
        assert_eq!(read("AffluentLagGrowing", &looks), [[0.0], [3000.0], [-12_990.0]]);
    }

    #[test]
    fn a_budget_burns_only_while_records_are_slow_of_late() {
        let text = |all: u32, good: u32| {
            format!(
                "affluent_pipeline_latency_seconds_bucket{{pipeline=\"cdc\",stop=\"documents\",le=\"2\"}} 0\n\
                 affluent_pipeline_latency_seconds_bucket{{pipeline=\"cdc\",stop=\"documents\",le=\"3\"}} {good}\n\
                 affluent_pipeline_latency_seconds_count{{pipeline=\"cdc\",stop=\"documents\"}} {all}\n"
            )
        };
        let texts = [text(100, 100), text(200, 150), text(300, 250), text(400, 350)];
        let [a, b, c, d] = &texts;
        let looks = [(0, a.as_str()), (1, b.as_str()), (7, c.as_str()), (100, d.as_str())];
        let found: Vec<f64> = read("AffluentSloBurnFast", &looks).concat();
        let expected = [0.0, 25.0, 0.0, 0.0];
        assert!(
            found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-9),
            "{found:?}"
        );
        assert_eq!(found.len(), expected.len());
    }
}
