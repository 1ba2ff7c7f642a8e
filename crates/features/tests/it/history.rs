//! Random histories: payments and labels of a few customers, out of order, repeated, corrected and removed.

use affluent_features::definition::Definitions;
use affluent_features::event::{DAY, HOUR, SECOND};
use affluent_features::{At, Event, Key, NULL, Plan};
use proptest::prelude::*;
use std::sync::Arc;

/// Lateness of both sources in the definitions below.
pub(crate) const LATENESS: i64 = 2 * HOUR;
const TEN_MINUTES: i64 = 600 * SECOND;

const PAYMENTS: &str = r#"
description = "Payments."
event_time = "t"
arrival_time = "a"
id = "id"
lateness = "2h"
corrections = true
entities = { customer = "customer_id" }
columns = { amount = "decimal(2)", kind = "text", fraud = "bool", lat = "degrees", lon = "degrees" }
"#;

const LABELS: &str = r#"
description = "Labels."
event_time = "t"
arrival_time = "a"
id = "id"
lateness = "2h"
entities = { customer = "customer_id" }
columns = { weight = "integer" }
"#;

const VIEW: &str = r#"
entity = "customer"
source = "payments"
owner = "test"
freshness = "stream"
description = "Every aggregate, over every kind of window."
"#;

/// Aggregate, the rest of its definition.
const AGGREGATES: &[(&str, &str)] = &[
    ("count", ""),
    ("sum", "column = 'amount'"),
    ("mean", "column = 'amount'"),
    ("min", "column = 'amount'"),
    ("max", "column = 'amount'"),
    ("stddev", "column = 'amount'"),
    ("distinct", "column = 'kind'"),
    ("entropy", "column = 'kind'"),
    ("share", "share = \"kind = 'k1'\""),
    ("share_same", "column = 'kind'"),
    ("last", "column = 'amount'\nn = 2"),
    ("first", "column = 'amount'\nn = 2"),
    ("since_last", ""),
    ("duration", ""),
    ("is_new", "column = 'kind'"),
    ("to_mean", "column = 'amount'"),
    ("zscore", "column = 'amount'"),
    ("speed", "columns = ['lat', 'lon']"),
];

/// Every aggregate over sliding, calendar, session and delayed windows, with and without filter and current event.
pub(crate) fn definitions() -> Definitions {
    let mut view = VIEW.to_owned();
    let mut add = |name: String, aggregate: &str, rest: &str| {
        view += &format!(
            "[[features]]\nname = '{name}'\nversion = 1\ndescription = 'd'\naggregate = '{aggregate}'\n{rest}\n"
        );
    };
    let windows = "windows = ['1h', '8h', 'day', 'session 30m']";
    for (aggregate, rest) in AGGREGATES {
        add(format!("plain_{aggregate}"), aggregate, &format!("{rest}\n{windows}"));
        let filter = "filter = \"amount > 0.5 or kind in ('k1', 'k2')\"";
        add(
            format!("part_{aggregate}"),
            aggregate,
            &format!("{rest}\n{filter}\nwindow = '5h'\ndefault = -1.5"),
        );
        if !["since_last", "is_new", "to_mean", "zscore", "speed"].contains(aggregate) {
            add(
                format!("before_{aggregate}"),
                aggregate,
                &format!("{rest}\nwindow = '8h'\ncurrent = 'exclude'"),
            );
            add(
                format!("late_{aggregate}"),
                aggregate,
                &format!("{rest}\nwindows = ['1h', 'day']\ndelay = '90m'"),
            );
        }
    }
    add("rate".to_owned(), "rate", "window = '8h'");
    add("risk".to_owned(), "risk_rate", "column = 'fraud'\nwindow = '8h'\ndelay = '1h'");
    add("velocity".to_owned(), "ratio", "of = 'plain_count_1h'\nto = 'plain_count_8h'");
    let labels = VIEW.replace("payments", "labels")
        + "[[features]]\nname = 'labels'\nversion = 1\ndescription = 'd'\naggregate = 'count'\nwindow = '8h'\n\
           [[features]]\nname = 'labelled'\nversion = 1\ndescription = 'd'\naggregate = 'ratio'\nof = 'labels'\nto = 'plain_count_8h'\n";
    let request = VIEW.replace("\"customer\"", "\"request\"")
        + "[[features]]\nname = 'amount'\nversion = 1\ndescription = 'd'\naggregate = 'value'\ncolumn = 'amount'\n";
    let files = [
        ("sources/payments.toml", PAYMENTS),
        ("sources/labels.toml", LABELS),
        ("a.toml", &view),
        ("b.toml", &labels),
        ("c.toml", &request),
    ];
    Definitions::from_files(files.map(|(path, text)| (path, path, text))).unwrap()
}

pub(crate) fn plan() -> Arc<Plan> {
    Arc::new(Plan::new(&definitions()).unwrap())
}

/// An event as it arrives.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Arrival {
    pub(crate) source: &'static str,
    pub(crate) time: i64,
    pub(crate) order: u64,
    pub(crate) version: u64,
    pub(crate) removed: bool,
    pub(crate) key: Vec<Option<Key>>,
    pub(crate) cells: Vec<i64>,
}

impl Arrival {
    pub(crate) fn event(&self, plan: &Plan) -> Event<'_> {
        Event {
            source: plan.source(self.source).unwrap(),
            time: self.time,
            order: self.order,
            version: self.version,
            removed: self.removed,
            keys: &self.key,
            cells: &self.cells,
        }
    }

    pub(crate) fn at(&self) -> At {
        At { time: self.time, order: self.order }
    }
}

/// Arrivals in time steps of minutes, some of them late, some too late, some again.
pub(crate) fn arrivals(length: usize) -> impl Strategy<Value = Vec<Arrival>> {
    let late = prop_oneof![6 => Just(0i64), 3 => 0i64..8, 1 => 0i64..40];
    let key = prop_oneof![8 => Just(Some(1i64)), 2 => Just(Some(2)), 1 => Just(None)];
    let amount = prop_oneof![1 => Just(NULL), 6 => -200i64..5_000];
    let place = prop_oneof![1 => Just(NULL), 4 => -60_000_000i64..60_000_000];
    let what = (late, 0u64..4, 0u64..3, 0u8..12, key);
    let content = (amount, 0u8..5, 0u8..3, place, -10i64..10);
    prop::collection::vec((what, content, 0usize..10), 1..length).prop_map(|drawn| {
        let mut arrivals: Vec<Arrival> = Vec::new();
        for (nth, ((late, order, version, kind, key), (amount, text, fraud, lat, weight), again)) in
            drawn.into_iter().enumerate()
        {
            if again == 0 && !arrivals.is_empty() {
                arrivals.push(arrivals[(nth * 7) % arrivals.len()].clone());
                continue;
            }
            let minutes = i64::try_from(nth).unwrap() * 4;
            let time = 17_622 * DAY + 20 * HOUR + minutes / 10 * TEN_MINUTES - late * TEN_MINUTES;
            let text =
                if text == 0 { NULL } else { affluent_features::event::fingerprint(&format!("k{text}")) };
            let fraud = if fraud == 2 { NULL } else { i64::from(fraud) };
            let (source, cells) = match kind {
                0 => ("labels", vec![weight]),
                _ => ("payments", vec![amount, text, fraud, lat, if lat == NULL { NULL } else { lat / 2 }]),
            };
            let (key, removed) = (vec![key.map(Key::from)], kind == 1);
            arrivals.push(Arrival { source, time, order, version, removed, key, cells });
        }
        arrivals
    })
}
