//! The exporter's text as OpenMetrics 1.0 (<https://prometheus.io/docs/specs/om/open_metrics_spec/>): the same samples, with exemplars.
//!
//! Differences: a counter's family has its name without `_total`, bounds of buckets are floats, there are no empty lines, and the
//! text ends with `# EOF`.

use super::exemplars::{Exemplar, Exemplars};
use std::fmt::Write as _;

/// `plain`: all metrics in Prometheus' text format.
pub(super) fn open_metrics(plain: &str, exemplars: &Exemplars) -> String {
    let mut text = String::with_capacity(plain.len() + plain.len() / 8);
    for line in plain.lines().filter(|line| !line.is_empty()) {
        if let Some(about) = line.strip_prefix("# ") {
            text.push_str(&family(about));
        } else if let Some(bucket) = Bucket::of(line) {
            bucket.write(&mut text, exemplars);
        } else {
            text.push_str(line);
        }
        text.push('\n');
    }
    text.push_str("# EOF\n");
    text
}

/// `HELP name words` or `TYPE name kind`, with the name of the family.
fn family(about: &str) -> String {
    let mut words = about.splitn(3, ' ');
    let (what, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let rest = words.next().unwrap_or_default();
    // Only counters are called so: a test of the table holds that.
    format!("# {what} {} {rest}", name.strip_suffix("_total").unwrap_or(name))
}

/// `name_bucket{labels,le="bound"} count`.
struct Bucket<'a> {
    name: &'a str,
    /// Without `le`.
    labels: &'a str,
    bound: &'a str,
    count: &'a str,
}

impl<'a> Bucket<'a> {
    /// None where the line is something else.
    fn of(line: &'a str) -> Option<Self> {
        let (name, rest) = line.split_once("_bucket{").filter(|(name, _)| !name.contains('{'))?;
        // The exporter writes the bound last.
        let (labels, rest) = rest.rsplit_once("le=\"")?;
        let (bound, count) = rest.split_once("\"} ")?;
        Some(Bucket { name, labels: labels.trim_end_matches(','), bound, count })
    }

    fn write(&self, text: &mut String, exemplars: &Exemplars) {
        let Bucket { name, labels, bound, count } = self;
        let comma = if labels.is_empty() { "" } else { "," };
        let is_whole = bound.bytes().all(|byte| byte.is_ascii_digit());
        let point = if is_whole { ".0" } else { "" };
        // Writing to a text does not fail.
        let _ = write!(text, "{name}_bucket{{{labels}{comma}le=\"{bound}{point}\"}} {count}");
        if let Some(Exemplar { trace, seconds, at_us }) = self.exemplar(exemplars) {
            let at = *at_us as f64 / 1e6;
            let _ = write!(text, " # {{trace_id=\"{trace}\"}} {seconds} {at:.3}");
        }
    }

    fn exemplar<'e>(&self, exemplars: &'e Exemplars) -> Option<&'e Exemplar> {
        let metric = super::METRICS.iter().find(|metric| metric.name == self.name)?;
        let bound: f64 = self.bound.parse().ok()?;
        let place = metric.buckets.partition_point(|known| *known < bound);
        exemplars.get(&(metric.name, self.labels.to_owned()))?.get(place)?.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, METRICS};
    use super::*;
    use std::collections::BTreeSet;

    const PLAIN: &str = "# HELP affluent_records_total Records\n# TYPE affluent_records_total counter\n\
        affluent_records_total{pipeline=\"cdc\"} 7\n\n\
        # TYPE affluent_pipeline_latency_seconds histogram\n\
        affluent_pipeline_latency_seconds_bucket{pipeline=\"cdc\",stop=\"bus\",le=\"0.5\"} 1\n\
        affluent_pipeline_latency_seconds_bucket{pipeline=\"cdc\",stop=\"bus\",le=\"1\"} 2\n\
        affluent_pipeline_latency_seconds_bucket{pipeline=\"cdc\",stop=\"bus\",le=\"+Inf\"} 3\n\
        affluent_pipeline_latency_seconds_sum{pipeline=\"cdc\",stop=\"bus\"} 70.5\n\
        affluent_inference_seconds_bucket{le=\"+Inf\"} 0\n\n";

    #[test]
    fn the_same_samples_with_exemplars() {
        let exemplar = |trace: &str, seconds| {
            Some(Exemplar { trace: trace.to_owned(), seconds, at_us: 1_700_000_000_123_000 })
        };
        let metric = METRICS.iter().find(|m| m.name == "affluent_pipeline_latency_seconds").unwrap();
        let mut places = vec![None; metric.buckets.len() + 1];
        let place = metric.buckets.iter().position(|bound| *bound == 1.0).unwrap();
        places[place] = exemplar("ab", 0.75);
        places[metric.buckets.len()] = exemplar("cd", 69.0);
        let exemplars =
            Exemplars::from([((metric.name, "pipeline=\"cdc\",stop=\"bus\"".to_owned()), places)]);
        let expected = "# HELP affluent_records Records\n# TYPE affluent_records counter\n\
            affluent_records_total{pipeline=\"cdc\"} 7\n\
            # TYPE affluent_pipeline_latency_seconds histogram\n\
            affluent_pipeline_latency_seconds_bucket{pipeline=\"cdc\",stop=\"bus\",le=\"0.5\"} 1\n\
            affluent_pipeline_latency_seconds_bucket{pipeline=\"cdc\",stop=\"bus\",le=\"1.0\"} 2 # {trace_id=\"ab\"} 0.75 1700000000.123\n\
            affluent_pipeline_latency_seconds_bucket{pipeline=\"cdc\",stop=\"bus\",le=\"+Inf\"} 3 # {trace_id=\"cd\"} 69 1700000000.123\n\
            affluent_pipeline_latency_seconds_sum{pipeline=\"cdc\",stop=\"bus\"} 70.5\n\
            affluent_inference_seconds_bucket{le=\"+Inf\"} 0\n\
            # EOF\n";
        assert_eq!(open_metrics(PLAIN, &exemplars), expected);
    }

    /// Two families may not have one name.
    #[test]
    fn counters_without_their_ending_are_nothing_else() {
        let names: BTreeSet<&str> =
            METRICS.iter().map(|metric| metric.name.strip_suffix("_total").unwrap_or(metric.name)).collect();
        assert_eq!(names.len(), METRICS.len());
        assert!(METRICS.iter().all(|m| m.kind == Kind::Counter || !m.name.ends_with("_total")));
    }
}
