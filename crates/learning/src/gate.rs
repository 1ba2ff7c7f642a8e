//! Gates: what a model has to show before it may be promoted. A gate that fails says by how much; one alone stops promotion.
//!
//! Decisions over measured facts; what measures them is [`crate::train`].

use crate::evaluate::value::ValueSegment;
use crate::evaluate::{Evaluation, Interval};
use serde::{Deserialize, Serialize};

/// What is asked of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GateOptions {
    /// Metrics of a segment may be so much worse than the baseline's, as a part of them.
    pub segment_fall: f64,
    /// A single feature that ranks better than this carries the label.
    pub feature_auc: f64,
    /// How far from a half the area may be once rows are shuffled.
    pub chance: f64,
    /// Microseconds in which a row is scored, at the 99th percentile.
    pub latency_us: f64,
    /// Features by which the mean score must not fall when they rise, where the model has them.
    pub rising: Vec<String>,
}

impl Default for GateOptions {
    fn default() -> Self {
        GateOptions {
            segment_fall: 0.5,
            feature_auc: 0.98,
            chance: 0.1,
            latency_us: 2_000.0,
            rising: ["card_customer_amount_to_mean_30d", "customer_amount_to_mean"]
                .map(str::to_owned)
                .to_vec(),
        }
    }
}

/// What one gate found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    pub name: String,
    pub passed: bool,
    /// What was measured and what is asked, in words.
    pub finding: String,
}

/// Facts beside the evaluation. An area is the part of pairs of rows that are in the right order: that under the ROC curve, or (1 + rank
/// correlation) / 2 where a number is predicted; a half is chance.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// The best that one feature alone ranks, either way around, and which it is.
    pub best_feature: String,
    pub best_feature_auc: f64,
    /// The area of the baseline where all outcomes are those of other times: it learns from shuffled ones and is judged by shuffled ones.
    pub shuffled_auc: f64,
    /// The area of scores from the features that another card has later.
    pub future_auc: f64,
    /// How far from a half areas of so few rows lie by chance (standard error).
    pub chance_error: f64,
    /// The largest difference of a score when rows come in another order, and when what the model does not read is changed.
    pub order_difference: f64,
    pub irrelevant_difference: f64,
    pub latency_us_p99: f64,
    /// Of each rising feature the model has, the mean score at its value, at twice and at four times it.
    pub rising: Vec<(String, [f64; 3])>,
}

/// The gate of a model against the one that serves.
const CHAMPION: &str = "better_than_champion";
/// The gate that stands in its place where the one that serves cannot be scored on these rows.
pub const COMPARABLE: &str = "comparable";

/// Standard errors that a thing at chance may be away from it.
const ERRORS: f64 = 3.0;

/// All gates but that against the champion, which [`against_champion`] is.
#[must_use]
pub fn gates(
    evaluation: &Evaluation,
    baseline: &Evaluation,
    gain: Interval,
    facts: &Facts,
    options: &GateOptions,
) -> Vec<Gate> {
    let mut gates = vec![better("better_than_baseline", "average precision", gain)];
    gates.push(segments(evaluation, baseline, options.segment_fall));
    gates.extend(of_facts(facts, options));
    gates
}

/// The same of a model of a number. The intervals are those of the gain in R².
#[must_use]
pub fn value_gates(
    segments: &[ValueSegment],
    baseline: &[ValueSegment],
    gain: Interval,
    facts: &Facts,
    options: &GateOptions,
) -> Vec<Gate> {
    let mut gates = vec![better("better_than_baseline", "R²", gain)];
    gates.push(value_segments(segments, baseline, options.segment_fall));
    gates.extend(of_facts(facts, options));
    gates
}

/// Better or equal passes. `metric` is what gains.
#[must_use]
pub fn against_champion(metric: &str, gain: Interval) -> Gate {
    better(CHAMPION, metric, gain)
}

/// Failed: nobody knows whether the model is better than the one that serves.
#[must_use]
pub fn not_comparable(why: &str) -> Gate {
    gate(COMPARABLE, false, format!("the champion cannot be scored on these rows: {why}"))
}

/// Whether a gate is about the champion, so that it is not judged with the others.
#[must_use]
pub fn is_of_champion(gate: &Gate) -> bool {
    gate.name == CHAMPION || gate.name == COMPARABLE
}

fn of_facts(facts: &Facts, options: &GateOptions) -> Vec<Gate> {
    let mut gates = vec![gate(
        "no_feature_carries_the_label",
        facts.best_feature_auc <= options.feature_auc,
        format!(
            "{} alone has an area of {:.3}, at most {:.3} is allowed",
            facts.best_feature, facts.best_feature_auc, options.feature_auc
        ),
    )];
    let allowed = options.chance.max(ERRORS * facts.chance_error);
    for (name, what, area) in [
        ("shuffled_time_at_chance", "what was learned from shuffled outcomes", facts.shuffled_auc),
        ("future_features_at_chance", "features of another card's future", facts.future_auc),
    ] {
        gates.push(gate(
            name,
            (area - 0.5).abs() <= allowed,
            format!("{what} have an area of {area:.3}, allowed is 0.5 ± {allowed:.3}"),
        ));
    }
    for (name, what, difference) in [
        ("row_order", "rows come in another order", facts.order_difference),
        ("irrelevant_fields", "what it does not read is changed", facts.irrelevant_difference),
    ] {
        let finding = format!("scores differ by up to {difference:e} when {what}, nought is asked");
        gates.push(gate(name, difference == 0.0, finding));
    }
    gates.push(gate(
        "latency",
        facts.latency_us_p99 <= options.latency_us,
        format!("a row takes {:.0} µs (p99), {:.0} are allowed", facts.latency_us_p99, options.latency_us),
    ));
    gates.extend(facts.rising.iter().map(|(name, [at, twice, four])| {
        gate(
            &format!("rises_with_{name}"),
            at <= twice && twice <= four,
            format!("the mean score is {at:.5}, at twice the value {twice:.5}, at four times {four:.5}"),
        )
    }));
    gates
}

fn gate(name: &str, passed: bool, finding: String) -> Gate {
    Gate { name: name.to_owned(), passed, finding }
}

/// Better or equal passes; an interval that holds nought is equal.
fn better(name: &str, metric: &str, gain: Interval) -> Gate {
    let verdict = if gain.low > 0.0 {
        "better"
    } else if gain.high < 0.0 {
        "worse"
    } else {
        "equal"
    };
    let finding = format!("{verdict}: the gain in {metric} lies in {:.3} to {:.3}", gain.low, gain.high);
    gate(name, verdict != "worse" && gain.low.is_finite(), finding)
}

/// A metric of a segment, and the baseline's.
struct Held<'a> {
    segment: (&'a str, &'a str),
    metric: &'static str,
    now: f64,
    base: f64,
    /// The least, or of errors the most, that is let pass.
    asked: f64,
    is_error: bool,
}

impl Held<'_> {
    /// How much there is to spare, as a part of what is asked.
    fn margin(&self) -> f64 {
        let margin = if self.is_error { self.asked - self.now } else { self.now - self.asked };
        margin / self.asked.abs().max(f64::MIN_POSITIVE)
    }
}

/// The metric of a segment that has least to spare.
fn none_collapses(held: Vec<Held>, enough: &str) -> Gate {
    let worst = held.iter().min_by(|a, b| a.margin().total_cmp(&b.margin()));
    let Some(worst) = worst else {
        return gate("no_segment_collapses", true, format!("no segment has enough {enough} to be judged"));
    };
    let &Held { segment: (by, value), metric, now, base, asked, is_error } = worst;
    let bound = if is_error { "most" } else { "least" };
    let finding = format!(
        "worst is {by} {value}: {metric} {now:.3}, the baseline's is {base:.3}, at {bound} {asked:.3} is asked"
    );
    gate("no_segment_collapses", worst.margin() >= 0.0, finding)
}

/// Ranking and decisions in segments that have enough fraud. Of the area what is above chance counts; it and the recall, which is a count of few, may be three
/// standard errors lower than the part that is asked.
fn segments(evaluation: &Evaluation, baseline: &Evaluation, fall: f64) -> Gate {
    let mut held = Vec::new();
    for segment in evaluation.segments.iter().filter(|s| s.positives >= crate::evaluate::SEGMENT_MIN) {
        let same = |s: &&crate::evaluate::Segment| s.by == segment.by && s.value == segment.value;
        let Some(of_base) = baseline.segments.iter().find(same) else { continue };
        let positives = segment.positives as f64;
        let kept = |base: f64| base * (1.0 - fall);
        let above_chance = |base: f64| {
            let error = (1.0 / (12.0 * positives)).sqrt();
            (0.5 + kept(base - 0.5) - ERRORS * error).min(base)
        };
        let found = |base: f64| kept(base) - ERRORS * (base * (1.0 - base) / positives).sqrt();
        let metrics: [(&str, Option<f64>, Option<f64>, Asked<'_>); 3] = [
            ("average precision", segment.average_precision, of_base.average_precision, &kept),
            ("area under ROC", segment.auc_roc, of_base.auc_roc, &above_chance),
            ("recall", segment.recall, of_base.recall, &found),
        ];
        for (metric, now, base, asked) in metrics {
            if let (Some(now), Some(base)) = (now, base) {
                let segment = (segment.by.as_str(), segment.value.as_str());
                held.push(Held { segment, metric, now, base, asked: asked(base), is_error: false });
            }
        }
    }
    none_collapses(held, "fraud")
}

/// What is asked of a metric, of the baseline's.
type Asked<'a> = &'a dyn Fn(f64) -> f64;

/// Errors and order in segments with enough rows. An error may be so much larger than the baseline's, a squared one by the square of it.
fn value_segments(segments: &[ValueSegment], baseline: &[ValueSegment], fall: f64) -> Gate {
    let mut held = Vec::new();
    for segment in segments.iter().filter(|s| s.rows >= crate::evaluate::SEGMENT_MIN) {
        let same = |s: &&ValueSegment| s.by == segment.by && s.value == segment.value;
        let Some(of_base) = baseline.iter().find(same) else { continue };
        let name = (segment.by.as_str(), segment.value.as_str());
        let mut hold = |metric, now, base, asked, is_error| {
            held.push(Held { segment: name, metric, now, base, asked, is_error });
        };
        hold("mean error", segment.mae, of_base.mae, of_base.mae * (1.0 + fall), true);
        if let (Some(now), Some(base)) = (segment.r2, of_base.r2) {
            hold("R²", now, base, 1.0 - (1.0 - base) * (1.0 + fall).powi(2), false);
        }
        if let (Some(now), Some(base)) = (segment.rank_correlation, of_base.rank_correlation) {
            let error = 1.0 / ((segment.rows.max(2) - 1) as f64).sqrt();
            hold("rank correlation", now, base, (base * (1.0 - fall) - ERRORS * error).min(base), false);
        }
    }
    none_collapses(held, "rows")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Rows;
    use crate::decide::Costs;
    use crate::evaluate::{CardScore, Judged, evaluate};

    fn facts() -> Facts {
        Facts {
            best_feature: "a".to_owned(),
            best_feature_auc: 0.8,
            shuffled_auc: 0.52,
            future_auc: 0.47,
            chance_error: 0.01,
            order_difference: 0.0,
            irrelevant_difference: 0.0,
            latency_us_p99: 50.0,
            rising: vec![("a".to_owned(), [0.1, 0.2, 0.2])],
        }
    }

    fn evaluation(good: bool) -> Evaluation {
        let rows = Rows {
            time: (0..400).collect(),
            card: (0..400).collect(),
            amount: vec![1_000; 400],
            label: (0..400).map(|n| n % 4 == 0).collect(),
            pattern: vec![0; 400],
            ..Rows::default()
        };
        let places: Vec<usize> = (0..400).collect();
        let scores: Vec<f64> = (0..400).map(|n| if good == (n % 4 == 0) { 0.9 } else { 0.1 }).collect();
        let judged =
            Judged { scores: &scores, probabilities: &scores, any: &scores, rows: &rows, places: &places };
        evaluate(judged, 0.5, &Costs::default(), CardScore::Max)
    }

    fn failed(found: &[Gate]) -> Vec<&str> {
        found.iter().filter(|gate| !gate.passed).map(|gate| gate.name.as_str()).collect()
    }

    #[test]
    fn each_gate_fails_by_its_own_fact() {
        let (good, poor) = (evaluation(true), evaluation(false));
        let gain = Interval { low: 0.1, high: 0.2 };
        let options = GateOptions::default();
        let of = |facts: &Facts| gates(&good, &good, gain, facts, &options);
        assert_eq!(failed(&of(&facts())), [""; 0]);
        assert_eq!(
            failed(&of(&Facts { best_feature_auc: 0.99, ..facts() })),
            ["no_feature_carries_the_label"]
        );
        assert_eq!(failed(&of(&Facts { shuffled_auc: 0.7, ..facts() })), ["shuffled_time_at_chance"]);
        assert_eq!(failed(&of(&Facts { future_auc: 0.3, ..facts() })), ["future_features_at_chance"]);
        // Of few rows a like area is chance.
        assert_eq!(failed(&of(&Facts { future_auc: 0.3, chance_error: 0.07, ..facts() })), [""; 0]);
        assert_eq!(failed(&of(&Facts { order_difference: 1e-17, ..facts() })), ["row_order"]);
        assert_eq!(failed(&of(&Facts { irrelevant_difference: 1e-17, ..facts() })), ["irrelevant_fields"]);
        assert_eq!(failed(&of(&Facts { latency_us_p99: 9e9, ..facts() })), ["latency"]);
        let falls = Facts { rising: vec![("a".to_owned(), [0.3, 0.2, 0.4])], ..facts() };
        assert_eq!(failed(&of(&falls)), ["rises_with_a"]);
        assert_eq!(failed(&gates(&poor, &good, gain, &facts(), &options)), ["no_segment_collapses"]);
        let worse = against_champion("R²", Interval { low: -0.2, high: -0.1 });
        assert!(!worse.passed && worse.name == CHAMPION && worse.finding.contains("in R²"), "{worse:?}");
        let equal = Interval { low: -0.1, high: 0.1 };
        assert!(gates(&good, &good, equal, &facts(), &options)[0].finding.starts_with("equal"));
        let part = |mae, r2, rank_correlation| ValueSegment {
            by: "country".to_owned(),
            value: "DE".to_owned(),
            rows: 401,
            mae,
            bias: 0.0,
            r2: Some(r2),
            rank_correlation: Some(rank_correlation),
        };
        let base = [part(2.0, 0.6, 0.8)];
        let of = |mae, r2, order| value_gates(&[part(mae, r2, order)], &base, gain, &facts(), &options);
        assert_eq!(failed(&of(2.9, 0.2, 0.3)), [""; 0]);
        for (mae, r2, order, metric) in
            [(3.1, 0.6, 0.8, "mean error"), (2.0, 0.0, 0.8, "R²"), (2.0, 0.6, 0.2, "rank correlation")]
        {
            let gates = of(mae, r2, order);
            assert_eq!(failed(&gates), ["no_segment_collapses"]);
            assert!(gates[1].finding.contains(metric), "{}", gates[1].finding);
        }
    }

    #[test]
    fn every_metric_of_a_segment_has_to_hold() {
        let base = |auc_roc, average_precision, recall| {
            let mut baseline = evaluation(true);
            baseline.segments.truncate(1);
            (baseline.segments[0].auc_roc, baseline.segments[0].average_precision) =
                (Some(auc_roc), Some(average_precision));
            baseline.segments[0].recall = Some(recall);
            baseline
        };
        let against = |now: (f64, f64, f64)| {
            let mut evaluation = base(now.0, now.1, now.2);
            evaluation.segments[0].positives = 100;
            segments(&evaluation, &base(0.9, 0.6, 0.6), 0.5)
        };
        assert!(against((0.9, 0.6, 0.6)).passed && against((0.75, 0.4, 0.4)).passed);
        for (now, metric) in [
            ((0.55, 0.6, 0.6), "area under ROC"),
            ((0.9, 0.2, 0.6), "average precision"),
            ((0.9, 0.6, 0.1), "recall"),
        ] {
            let gate = against(now);
            assert!(!gate.passed && gate.finding.contains(metric), "{}", gate.finding);
        }
    }
}
