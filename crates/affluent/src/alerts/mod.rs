//! A process watches itself: every few seconds it reads its own metrics by the rules of `affluent-watch`, and tells what begins and what ends.
//!
//! It needs no Prometheus; where there is one, `[alerts] enabled = false`, or both tell. Here live the loop, `tell` whom, and the `place` of
//! what stands. Invariant: a change is written down before it is told, and struck out once it was, so that each is told at least once.

mod place;
mod tell;

use crate::platform::Platform;
use affluent_model::time::now_micros;
use affluent_telemetry::metrics_list;
use affluent_watch::{Evaluator, RULES, Snapshot, Standing};
use place::{Kept, Place};
use std::collections::BTreeSet;
use std::sync::Arc;
use tell::Teller;
use tokio::time::MissedTickBehavior;

/// Watches until it is dropped. `roles` are those that the process plays.
pub(crate) async fn watch(platform: Arc<Platform>, roles: Vec<&'static str>) {
    let options = &platform.config().alerts;
    if !options.enabled {
        return;
    }
    let (place, kept) = match Place::take(&platform.config().data_dir, &options.instance) {
        Ok(taken) => taken,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "alerts are not watched");
            return;
        }
    };
    let mut standing = Standing::new(options.scale, &place.instance, kept.firing);
    let mut teller = match Teller::new(options, platform.bus().clone(), kept.waiting) {
        Ok(teller) => teller,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "alerts are not watched");
            return;
        }
    };
    let (mut evaluator, wanted) = (Evaluator::new(options.scale, roles), Evaluator::wanted());
    let mut looks = tokio::time::interval(options.every());
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let now = now_micros();
        let readings = evaluator.observe(now, &Snapshot::read(&platform.metrics(), &wanted));
        let changes = standing.observe(now, &readings);
        export(&standing);
        teller.add(&changes);
        if !changes.is_empty() {
            keep(&place, &standing, &teller);
        }
        if teller.tell().await {
            keep(&place, &standing, &teller);
        }
    }
}

/// A file that cannot be written keeps nobody from being told.
fn keep(place: &Place, standing: &Standing, teller: &Teller) {
    let kept = Kept { firing: standing.firing().cloned().collect(), waiting: teller.waiting().clone() };
    if let Err(error) = place.keep(&kept) {
        tracing::warn!(error = format!("{error:#}"), "alerts that stand are not kept");
    }
}

/// Which rules have an alert that fires.
fn export(standing: &Standing) {
    let firing: BTreeSet<&str> =
        standing.firing().filter_map(|alert| alert.labels.get("alertname")).map(String::as_str).collect();
    for rule in RULES {
        metrics_list::alert_firing(rule.name, tell::word(rule.severity), firing.contains(rule.name));
    }
}
