//! Chaos: every role in a process of its own, database and bus behind proxies that do what networks do, a disk with an
//! end, and faults at random, by a plan that a seed gives. After each fault every promise holds again within a minute;
//! in the end nothing is lost, and nothing is there twice.
//!
//! `AFFLUENT_SOAK_SECONDS` says for how long (`make soak`: 300; in a nightly run 1800), `AFFLUENT_SOAK_SEED` repeats the
//! plan of a run.

mod plan;
mod probe;
mod summary;
mod world;

use crate::installation::turn;
use crate::kill::clicks_are_staged_once;
use crate::score_kill::are_scored_once;
use plan::{Step, plan};
use probe::Prober;
use serde_json::Value as Json;
use std::time::{Duration, Instant};
use summary::Summary;
use world::World;

/// So that `make test` has some of it.
const SECONDS: u64 = 60;
/// On one installation: what it stores grows, and with it what is compared in the end.
const SECONDS_OF_A_TRIAL: u64 = 300;
/// Everything is started at once, on two cores.
const START: Duration = Duration::from_secs(120);
const VERIFY: Duration = Duration::from_secs(300);
const TICK: Duration = Duration::from_millis(100);

/// Said in every run, so that nobody takes it for granted.
const LEFT_OUT: &str =
    "a partition of one process alone: all of them share the link to the database, and the one to the bus";

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_loses_nothing_and_promises_hold_again_within_a_minute() {
    let _turn = turn().await;
    let seed = number("AFFLUENT_SOAK_SEED").unwrap_or_else(|| rand::random::<u32>().into());
    let seconds = number("AFFLUENT_SOAK_SECONDS").unwrap_or(SECONDS);
    eprintln!("AFFLUENT_SOAK_SEED={seed} AFFLUENT_SOAK_SECONDS={seconds}");
    eprintln!("left out: {LEFT_OUT}");
    let mut summary = Summary::default();
    let mut left = seconds;
    // Each trial has a plan of its own.
    for seed in seed.. {
        let time = left.min(SECONDS_OF_A_TRIAL);
        Box::pin(trial(seed, Duration::from_secs(time), &mut summary)).await;
        left -= time;
        if left == 0 {
            break;
        }
    }
    eprintln!("{summary}");
}

/// One installation, from its first start to the comparison.
async fn trial(seed: u64, time: Duration, summary: &mut Summary) {
    let mut world = Box::pin(World::start(seed, time)).await;
    let mut prober = Prober::new(&world.database).await;
    let deadline = Instant::now() + START;
    while !world.is_ready().await {
        assert!(Instant::now() < deadline, "not ready within {START:?}\n{}", world.stores.tail());
        stand(&mut world, Instant::now() + TICK).await;
    }
    prober.recovered(&mut world, Instant::now()).await;
    let able = world.able();
    if !able.broker {
        eprintln!("left out: faults between Apache Kafka and its clients, whom it tells its own address");
    }
    if !able.clock {
        eprintln!("left out: wrong clocks: libfaketime is not installed (apt-get install libfaketime)");
    }
    let steps = plan(seed, time, able);
    summary.planned += steps.len();
    eprintln!("seed {seed}: {} steps", steps.len());
    let begun = Instant::now();
    for step in steps {
        if begun.elapsed() > time {
            break;
        }
        Box::pin(play(&mut world, &mut prober, &step, begun, summary)).await;
    }
    Box::pin(compare(world, prober, summary)).await;
}

/// Waits for the step's time, does it, and waits until it is made up for.
async fn play(world: &mut World, prober: &mut Prober, step: &Step, begun: Instant, summary: &mut Summary) {
    stand(world, begun + step.at).await;
    eprintln!("after {:.1} s: {step}", begun.elapsed().as_secs_f32());
    for fault in &step.faults {
        world.begin(*fault).await;
    }
    stand(world, Instant::now() + step.lasts).await;
    for fault in step.faults.iter().rev() {
        world.end(*fault).await;
    }
    let recovered = prober.recovered(world, Instant::now()).await;
    eprintln!("    as promised again after {:.1} s", recovered.all.as_secs_f32());
    summary.played += 1;
    summary.add(step.faults.iter().map(|fault| fault.kind()), recovered);
}

/// Keeps processes up until then.
async fn stand(world: &mut World, until: Instant) {
    while Instant::now() < until {
        world.keep_up();
        tokio::time::sleep(TICK.min(until.saturating_duration_since(Instant::now()))).await;
    }
}

/// Whether every store has what the database has, once; every click and every score, too.
async fn compare(mut world: World, prober: Prober, summary: &mut Summary) {
    summary.changes += world.stop_load().await;
    let stores = &world.stores;
    let said = stores.begin(&["verify", "--format", "json"], None).end(VERIFY).await;
    let report: Json = serde_json::from_str(&said.out)
        .unwrap_or_else(|error| panic!("{error}: {}{}\n{}", said.out, said.err, stores.tail()));
    let rows = report["reconciliation"].as_array().unwrap().iter();
    let of_source = rows.filter(|row| row["store"] == "postgresql");
    summary.rows += of_source.map(|row| row["rows"].as_u64().unwrap()).sum::<u64>();
    summary.lost += report["lost"].as_u64().unwrap();
    summary.doubled += report["duplicated"].as_u64().unwrap();
    summary.clicks += prober.clicks.len();
    summary.add_given_up(&world.given_up);
    assert!(said.status.success(), "verify found a difference\n{}{}", said.out, said.err);
    clicks_are_staged_once(stores, &prober.clicks).await;
    are_scored_once(stores, &world.database).await;
}
