//! The page of pipelines: throughput, latency and what was refused, over the last day.

use crate::chart::{Across, Lines, Series, Unit, lines};
use crate::frame::{self, Section, Viewer};
use crate::history::{Flow, History, Points, Stop};
use crate::lang::{Lang, Text, text};
use maud::{Markup, html};
use std::collections::BTreeMap;

/// Where the parts of the page come from that renew themselves.
pub const LIVE: &str = "/console/live?page=pipelines";
/// Points of a line that is drawn: a day in steps of five minutes.
const DRAWN_MAX: usize = 288;

const INTRO: Text = text(
    "The last 24 hours of this process, a point a minute. p99: 99 of 100 records took at most this long from commit or occurrence.",
    "Les dernières 24 heures de ce processus, un point par minute. p99 : 99 enregistrements sur 100 ont pris au plus ce temps depuis la validation ou l’événement.",
);
const RATE: Text = text("records a second", "enregistrements par seconde");
const LATENCY: Text = text("p99 from commit or occurrence", "p99 depuis la validation ou l’événement");
const REFUSED: Text = text("Refused records a minute", "Enregistrements refusés par minute");
const LAG: Text = text("Records that consumer groups have not read", "Enregistrements non lus par groupe");
const NONE: Text = text(
    "Nothing has been measured yet; the first points come after two minutes.",
    "Rien n’a encore été mesuré ; les premiers points arrivent après deux minutes.",
);

/// The page. `goals`: seconds that were promised, by stop.
#[must_use]
pub fn page(viewer: &Viewer, history: &History, goals: &BTreeMap<Stop, f64>) -> String {
    let lang = viewer.lang;
    let body = html! {
        p.quiet { (lang.say(INTRO)) }
        @for (id, part) in parts(lang, history, goals) { (frame::live(LIVE, id, part)) }
    };
    frame::page(viewer, Section::Pipelines, body)
}

/// The parts that renew themselves.
#[must_use]
pub fn parts(lang: Lang, history: &History, goals: &BTreeMap<Stop, f64>) -> Vec<(&'static str, Markup)> {
    vec![("charts", charts(lang, history, goals))]
}

fn charts(lang: Lang, history: &History, goals: &BTreeMap<Stop, f64>) -> Markup {
    let mut pipelines: BTreeMap<&str, Vec<(&Stop, &Points<Flow>)>> = BTreeMap::new();
    for (stop, points) in history.flows() {
        pipelines.entry(&stop.pipeline).or_default().push((stop, points));
    }
    html! {
        @if pipelines.is_empty() { p { (lang.say(NONE)) } }
        @for (pipeline, stops) in &pipelines {
            h2 { (pipeline) }
            div.parts {
                (chart(lang, RATE, Unit::PerSecond, stops, None, |flow| flow.per_second))
                (chart(lang, LATENCY, Unit::Seconds, stops, goal(stops, goals), |flow| flow.p99.unwrap_or(f64::NAN)))
            }
        }
        @if !history.refused().is_empty() || !history.lag().is_empty() {
            div.parts {
                (counts(lang, REFUSED, history.refused()))
                (counts(lang, LAG, history.lag()))
            }
        }
    }
}

/// The strictest promise of the stops.
fn goal(stops: &[(&Stop, &Points<Flow>)], goals: &BTreeMap<Stop, f64>) -> Option<f64> {
    stops.iter().filter_map(|(stop, _)| goals.get(*stop).copied()).reduce(f64::min)
}

fn chart(
    lang: Lang,
    title: Text,
    unit: Unit,
    stops: &[(&Stop, &Points<Flow>)],
    goal: Option<f64>,
    value: impl Fn(&Flow) -> f64,
) -> Markup {
    let series: Vec<Series> = stops
        .iter()
        .map(|(stop, points)| {
            let points = points.iter().map(|(at, flow)| (*at as f64, value(flow)));
            Series { name: stop.stop.clone(), points: thinned(points) }
        })
        .collect();
    lines(lang, &Lines { title: lang.say(title), across: Across::Time, unit, series: &series, goal })
}

fn counts(lang: Lang, title: Text, of: &BTreeMap<String, Points<f64>>) -> Markup {
    let series: Vec<Series> = of
        .iter()
        .map(|(name, points)| {
            let points = points.iter().map(|(at, value)| (*at as f64, *value));
            Series { name: name.clone(), points: thinned(points) }
        })
        .collect();
    let (title, unit) = (lang.say(title), Unit::Count);
    lines(lang, &Lines { title, across: Across::Time, unit, series: &series, goal: None })
}

/// At most [`DRAWN_MAX`] points: of several the highest, so that no peak is hidden.
fn thinned(points: impl ExactSizeIterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let step = points.len().div_ceil(DRAWN_MAX).max(1);
    let mut thin: Vec<(f64, f64)> = Vec::with_capacity(points.len().min(DRAWN_MAX));
    for (at, (x, y)) in points.enumerate() {
        match thin.last_mut() {
            Some(last) if at % step != 0 => *last = (x, last.1.max(y)),
            Some(_) | None => thin.push((x, y)),
        }
    }
    thin
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Buckets, Reading};

    #[test]
    fn peaks_are_not_hidden() {
        let points: Vec<(f64, f64)> =
            (0..1440).map(|at| (f64::from(at), if at == 777 { 9.0 } else { 1.0 })).collect();
        let thin = thinned(points.into_iter());
        assert!(thin.len() <= DRAWN_MAX && thin.iter().any(|(_, y)| *y == 9.0));
        assert_eq!(thinned([(1.0, f64::NAN), (2.0, 3.0)].into_iter())[1], (2.0, 3.0));
        assert!(thinned(std::iter::empty::<(f64, f64)>().collect::<Vec<_>>().into_iter()).is_empty());
    }

    #[test]
    fn every_pipeline_has_its_charts() {
        let mut history = History::default();
        let goals = [(Stop::new("cdc", "bus"), 3.0)].into();
        assert!(page(&Viewer::default(), &history, &goals).contains("Nothing has been measured"));
        for minute in 0..3 {
            let count = f64::from(minute) * 60.0;
            history.take(Reading {
                at_us: i64::from(minute) * 60_000_000,
                latencies: [(Stop::new("cdc", "bus"), Buckets(vec![(2.0, count), (f64::INFINITY, count)]))]
                    .into(),
                ..Reading::default()
            });
        }
        let page = page(&Viewer::default(), &history, &goals);
        assert!(page.contains("<h2>cdc</h2>") && page.contains("bus: last 1/s"), "{page}");
        assert!(page.contains("goal 3.00 s") && !page.contains("NaN"), "{page}");
    }
}
