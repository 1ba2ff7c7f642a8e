//! What the page at `/` shows: every stretch of the data's way with its last minute, against what was promised.

use super::enter::Visitor;
use super::page;
use crate::http::health::Status;
use crate::http::options::Access;
use crate::http::{Route, Shared};
use crate::promises::{self, PROMISES};
use affluent_console::frame::State as Shown;
use affluent_console::history::{Flow, Stop};
use affluent_console::lang::Lang;
use affluent_console::overview::{self as pages, Arrow, Kept, Overview, Place};
use affluent_model::time::now_micros;
use affluent_schedule::RAW_TO_DWH;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use std::collections::BTreeMap;

/// A stretch, and the stops at its end by which it is judged.
type Stretch = (Place, Place, &'static [(&'static str, &'static str)]);

const WAY: [Stretch; 7] = [
    (Place::Database, Place::Bus, &[("cdc", "bus")]),
    (Place::Apps, Place::Bus, &[("clickstream", "bus"), ("logs", "bus")]),
    (
        Place::Bus,
        Place::Documents,
        &[("cdc", "documents"), ("clickstream", "documents"), ("logs", "documents")],
    ),
    (
        Place::Bus,
        Place::Lake,
        &[("cdc", "lake_visible"), ("clickstream", "lake_visible"), ("logs", "lake_visible")],
    ),
    (Place::Bus, Place::Features, &[("features", "online")]),
    (Place::Bus, Place::Scores, &[("score", "end_to_end")]),
    (Place::Scores, Place::WrittenBack, &[("score", "oltp_updated")]),
];

pub(super) fn routes() -> Vec<Route> {
    vec![Route { path: "/", roles: &[Access::Read], handler: get(show) }]
}

async fn show(State(shared): State<Shared>, visitor: Visitor) -> Response {
    page(pages::page(&visitor.viewer, &gathered(&shared).await))
}

/// The parts that renew themselves.
pub(super) async fn parts(shared: &Shared, lang: Lang) -> Vec<(&'static str, String)> {
    let parts = pages::parts(lang, &gathered(shared).await);
    parts.into_iter().map(|(id, part)| (id, part.into_string())).collect()
}

async fn gathered(shared: &Shared) -> Overview {
    let (platform, measured) = (&shared.platform, &shared.console.measured);
    let (flows, lag) = {
        let history = measured.history.lock();
        (history.now(), history.lag_now())
    };
    let config = platform.config();
    let waiting = |groups: &[&str]| {
        let known: Vec<f64> = groups.iter().filter_map(|group| lag.get(*group).copied()).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>())
    };
    let mut arrows: Vec<Arrow> = WAY.iter().map(|stretch| arrow(stretch, &flows)).collect();
    for arrow in &mut arrows {
        arrow.lag = match arrow.to {
            Place::Documents => {
                waiting(&[config.sink_documents.group.as_str(), config.sink_events.group.as_str()])
            }
            Place::Lake => waiting(&[config.sink_lake.group.as_str()]),
            Place::Features => waiting(&[config.features.consume.group.as_str()]),
            Place::Scores => waiting(&[config.score.consume.group.as_str()]),
            Place::Database | Place::Apps | Place::Bus | Place::Warehouse | Place::WrittenBack => None,
        };
    }
    arrows.push(warehouse(shared).await);
    let status = Status::local(platform);
    let seconds = |micros: u64| micros as f64;
    Overview {
        version: status.version,
        uptime_s: seconds(status.uptime_s),
        resident_bytes: seconds(status.resident_bytes),
        roles: status
            .roles
            .into_iter()
            .map(|(name, role)| (name, shown(&role.state), role.detail.unwrap_or_default()))
            .collect(),
        arrows,
        promises: PROMISES.iter().map(|promise| kept(promise, &flows)).collect(),
        dead_letters: measured.dead_letters(),
        slots: status.slots.into_iter().map(|slot| (slot.slot, slot.retained_bytes as f64)).collect(),
    }
}

/// All that passes, and of the stops the one that is nearest to breaking its promise.
fn arrow(stretch: &Stretch, flows: &BTreeMap<Stop, Flow>) -> Arrow {
    let (from, to, stops) = *stretch;
    let (mut per_second, mut worst) = (0.0, None);
    let mut goal = f64::INFINITY;
    for (pipeline, stop) in stops {
        let promised = promises::goal(pipeline, stop);
        goal = goal.min(promised);
        let Some(flow) = flows.get(&Stop::new(pipeline, stop)) else { continue };
        per_second += flow.per_second;
        if let Some(p99) = flow.p99
            && worst.is_none_or(|(other, promised_other)| p99 / promised > other / promised_other)
        {
            worst = Some((p99, promised));
        }
    }
    let (p99, goal) = worst.map_or((None, goal), |(p99, promised)| (Some(p99), promised));
    Arrow { from, to, per_second: Some(per_second), lag: None, p99, goal }
}

/// How far the newest run of the pipeline to the warehouse lies back.
async fn warehouse(shared: &Shared) -> Arrow {
    let done = match shared.console.ledger(&shared.platform).await {
        Ok(ledger) => ledger.done_to(RAW_TO_DWH).await.ok().flatten(),
        Err(_) => None,
    };
    let age = done.map(|done| now_micros().saturating_sub(done).max(0) as f64 / 1e6);
    let (from, to) = (Place::Lake, Place::Warehouse);
    Arrow { from, to, per_second: None, lag: None, p99: age, goal: 2.0 * promises::FRESH_S }
}

fn kept(promise: &promises::Promise, flows: &BTreeMap<Stop, Flow>) -> Kept {
    let flow = flows.get(&Stop::new(promise.pipeline, promise.stop)).copied().unwrap_or_default();
    Kept {
        name: promise.id.to_owned(),
        what: promise.what,
        goal: promise.goal,
        p50: flow.p50,
        p99: flow.p99,
        per_second: flow.per_second,
    }
}

fn shown(role_state: &str) -> Shown {
    match role_state {
        "ready" => Shown::Good,
        "starting" | "degraded" => Shown::Warn,
        "failed" => Shown::Bad,
        _ => Shown::Idle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_is_as_good_as_its_worst_stop() {
        let flow = |p99| Flow { per_second: 2.0, p50: None, p99 };
        let flows = [
            (Stop::new("cdc", "documents"), flow(Some(2.0))),
            (Stop::new("logs", "documents"), flow(Some(1.9))),
            (Stop::new("clickstream", "documents"), flow(None)),
        ];
        // Two of three seconds are better than 1.9 of two.
        let arrow = arrow(&WAY[2], &flows.into());
        assert_eq!((arrow.per_second, arrow.p99, arrow.goal), (Some(6.0), Some(1.9), 2.0));
        let idle = super::arrow(&WAY[2], &BTreeMap::new());
        assert_eq!((idle.per_second, idle.p99, idle.goal), (Some(0.0), None, 2.0));
    }

    #[test]
    fn every_stop_of_the_way_was_promised() {
        for (pipeline, stop) in WAY.iter().flat_map(|(_, _, stops)| *stops) {
            assert!(promises::goal(pipeline, stop).is_finite(), "{pipeline} {stop}");
        }
    }
}
