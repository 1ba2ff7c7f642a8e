//! The rules: what is measured, from where on it needs a person, and how soon.

use Limit::{Above, Below};
use Severity::{Critical, Warning};
use affluent_model::Severity;

/// What a rule measures. Windows in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Measure {
    /// The newest value of a gauge, without its sign.
    Value { metric: &'static str },
    /// A gauge as a part of another one that has the same labels.
    Ratio { metric: &'static str, of: &'static str },
    /// Seconds since the moment that a gauge names.
    Since { metric: &'static str },
    /// Seconds until the moment that a gauge names.
    Until { metric: &'static str },
    /// How much a gauge, summed up, is higher than it was so long ago.
    Growth { metric: &'static str, window: u32 },
    /// How much a counter has grown in the window.
    Increase { metric: &'static str, window: u32 },
    /// What a counter has grown by as a part of the growth of it and others together.
    Share { part: Counter, whole: &'static [Counter], window: u32 },
    /// How many times faster than allowed the budget of each promise of latency is used up, over the window and over a twelfth of it: the
    /// lower of both.
    Burn { window: u32 },
    /// 1 where the process plays the role, and has no sample of the metric.
    Absent { metric: &'static str, role: &'static str },
}

/// The series of a counter that have these labels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Counter {
    pub metric: &'static str,
    pub labels: &'static [(&'static str, &'static str)],
}

/// From where on a value needs a person.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    Above(f64),
    Below(f64),
}

impl Limit {
    pub(crate) fn is_broken(self, value: f64) -> bool {
        match self {
            Limit::Above(limit) => value > limit,
            Limit::Below(limit) => value < limit,
        }
    }

    /// Whether a value is so far on the good side that an alert may end: a tenth of the limit away from it.
    pub(crate) fn is_kept(self, value: f64) -> bool {
        match self {
            Limit::Above(limit) => value <= limit * 0.9,
            Limit::Below(limit) => value >= limit * 1.1,
        }
    }

    /// The worse of two values.
    pub(crate) fn worse(self, a: f64, b: f64) -> f64 {
        match self {
            Limit::Above(_) => a.max(b),
            Limit::Below(_) => a.min(b),
        }
    }
}

/// What is watched. Times in seconds.
#[derive(Debug)]
pub struct Rule {
    /// The name of its alert, of its page in the runbook, and of the alert in the rules for Prometheus.
    pub name: &'static str,
    pub severity: Severity,
    pub measure: Measure,
    /// Only samples with one of these values of a label count.
    pub only: &'static [(&'static str, &'static [&'static str])],
    /// One alert for each of their values.
    pub by: &'static [&'static str],
    pub limit: Limit,
    /// Only where a metric has a sample above zero with this value of a label; what happens before counts for nothing.
    pub given: Option<(&'static str, &'static str, &'static str)>,
    /// So long the limit is broken before somebody is told.
    pub hold: u32,
    /// So long it is kept before the alert is over.
    pub rest: u32,
    /// What is told.
    pub summary: &'static str,
}

/// A rule about every sample of `measure`, told at once.
const fn rule(
    name: &'static str,
    severity: Severity,
    measure: Measure,
    limit: Limit,
    summary: &'static str,
) -> Rule {
    Rule { name, severity, measure, only: &[], by: &[], limit, given: None, hold: 0, rest: 60, summary }
}

impl Rule {
    const fn by(self, by: &'static [&'static str]) -> Self {
        Rule { by, ..self }
    }

    const fn only(self, only: &'static [(&'static str, &'static [&'static str])]) -> Self {
        Rule { only, ..self }
    }

    const fn given(self, metric: &'static str, label: &'static str, value: &'static str) -> Self {
        Rule { given: Some((metric, label, value)), ..self }
    }

    const fn held(self, hold: u32) -> Self {
        Rule { hold, ..self }
    }
}

const fn value(metric: &'static str) -> Measure {
    Measure::Value { metric }
}

const LAG: &str = "kafka_consumergroup_lag";
const DISK_FREE: Measure =
    Measure::Ratio { metric: "affluent_disk_free_bytes", of: "affluent_disk_size_bytes" };
const REJECTED: Counter = Counter { metric: "affluent_collect_rejected_total", labels: &[] };
const ACCEPTED: Counter =
    Counter { metric: "affluent_records_total", labels: &[("stage", "collect"), ("outcome", "ok")] };
const UNJUDGED: Counter = Counter { metric: "affluent_scores_total", labels: &[("model", "none")] };
const SCORED: Counter = Counter { metric: "affluent_scores_total", labels: &[] };

/// Every rule. That a process is away altogether can only be seen from outside: `AffluentDown` is Prometheus's alone.
pub const RULES: &[Rule] = &[
    rule(
        "AffluentSloBurnFast",
        Critical,
        Measure::Burn { window: 3600 },
        Above(14.4),
        "latency over its bound, fast",
    )
    .by(&["slo"]),
    rule(
        "AffluentSloBurnSlow",
        Critical,
        Measure::Burn { window: 21_600 },
        Above(6.0),
        "latency over its bound for hours",
    )
    .by(&["slo"]),
    rule(
        "AffluentSloBurnLong",
        Warning,
        Measure::Burn { window: 259_200 },
        Above(1.0),
        "latency over its bound for days",
    )
    .by(&["slo"]),
    rule(
        "AffluentRoleNotReady",
        Critical,
        value("affluent_role_ready"),
        Below(0.5),
        "a role does not do its work",
    )
    .by(&["role"])
    .held(300),
    rule("AffluentDiskLow", Warning, DISK_FREE, Below(0.15), "little of the disk is free")
        .by(&["volume"])
        .held(300),
    rule("AffluentDiskFull", Critical, DISK_FREE, Below(0.05), "the disk is nearly full")
        .by(&["volume"])
        .held(60),
    rule(
        "AffluentCertificateExpiry",
        Warning,
        Measure::Until { metric: "affluent_certificate_expiry_timestamp_seconds" },
        Below(1_814_400.0),
        "seconds until a certificate ends",
    )
    .by(&["certificate"]),
    rule(
        "AffluentLagHigh",
        Critical,
        value("kafka_consumergroup_group_lag_seconds"),
        Above(60.0),
        "seconds that a group is behind its topic",
    )
    .by(&["consumergroup", "topic"])
    .held(120),
    rule(
        "AffluentLagGrowing",
        Warning,
        Measure::Growth { metric: LAG, window: 600 },
        Above(1000.0),
        "a group falls behind",
    )
    .by(&["consumergroup", "topic"])
    .held(300),
    rule(
        "AffluentDeadLetters",
        Warning,
        Measure::Increase { metric: "affluent_dead_letters_total", window: 600 },
        Above(0.0),
        "records are set aside",
    )
    .by(&["pipeline", "reason"]),
    rule(
        "AffluentEventsRejected",
        Warning,
        Measure::Share { part: REJECTED, whole: &[REJECTED, ACCEPTED], window: 600 },
        Above(0.05),
        "a part of the items sent to the collector is refused",
    )
    .by(&["pipeline"]),
    rule(
        "AffluentSlotRetention",
        Critical,
        Measure::Ratio {
            metric: "affluent_replication_slot_retained_bytes",
            of: "affluent_replication_slot_limit_bytes",
        },
        Above(1.0),
        "a slot keeps more log on the source than it should",
    )
    .by(&["slot"])
    .held(60),
    rule(
        "AffluentWarehouseStale",
        Critical,
        Measure::Since { metric: "affluent_batch_done_timestamp_seconds" },
        Above(2700.0),
        "seconds since the warehouse was brought up to date",
    )
    .only(&[("pipeline", &["raw-to-dwh"])])
    .by(&["pipeline"])
    .held(60),
    rule(
        "AffluentBatchLate",
        Warning,
        value("affluent_batch_overdue_seconds"),
        Above(0.0),
        "a pipeline is past its deadline",
    )
    .by(&["pipeline"])
    .held(60),
    rule(
        "AffluentBatchFailed",
        Critical,
        Measure::Increase { metric: "affluent_batch_alerts_total", window: 3600 },
        Above(0.0),
        "an interval of a pipeline was missed or given up",
    )
    .only(&[("kind", &["missed", "given_up", "left_out"])])
    .by(&["pipeline"]),
    rule(
        "AffluentBatchAbsent",
        Critical,
        Measure::Absent { metric: "affluent_batch_overdue_seconds", role: "schedule" },
        Above(0.0),
        "the batch pipelines do not run",
    )
    .held(600),
    rule(
        "AffluentReconcileDifference",
        Critical,
        value("affluent_reconcile_difference"),
        Above(0.0),
        "a table is not what it should be",
    )
    .by(&["table", "measure"]),
    rule("AffluentDrift", Warning, value("drift_score"), Above(0.25), "what a model sees has moved")
        .only(&[("test", &["psi"])])
        .by(&["model", "feature"])
        .held(60),
    rule(
        "AffluentFeatureSkew",
        Warning,
        value("feature_skew_ratio"),
        Above(0.01),
        "served values are not what the lake recomputes",
    )
    .by(&["feature"])
    .held(60),
    rule(
        "AffluentModelFallback",
        Critical,
        Measure::Share { part: UNJUDGED, whole: &[SCORED], window: 600 },
        Above(0.05),
        "payments are judged by rules alone although there is a champion",
    )
    .given("affluent_model_version", "alias", "champion")
    .held(60),
    rule(
        "AffluentModelStale",
        Warning,
        value("affluent_scoring_stale"),
        Above(0.0),
        "payments are judged by an older version, because the newer one is refused",
    )
    .by(&["what"])
    .held(300),
];
