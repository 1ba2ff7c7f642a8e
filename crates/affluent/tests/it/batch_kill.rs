//! `kill -9` of `affluent batch run`, at every failpoint that it passes and at random moments, while payments go on:
//! readers see one whole version throughout, and in the end the warehouse is the database, to the cent. And a run
//! that is paused for longer than its lease, which another one takes over.
//!
//! `AFFLUENT_SOAK_ROUNDS`, `AFFLUENT_SEED` and `AFFLUENT_FAILPOINTS` as for `kill`.

use crate::batch_trial::{RUN, Trial};
use crate::kill::{chosen, rounds};
use rand::Rng as _;
use rand::seq::SliceRandom as _;
use serde_json::Value as Json;
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

/// What the failpoints of a batch run begin with.
const OURS: &[&str] = &[
    "batch::",
    "schedule::",
    "lake::before_overwrite_files",
    "lake::after_overwrite_files",
    "lake::after_data_files",
    "lake::before_swap",
    "lake::after_swap",
];
/// Runs after which one is brought to its end.
const KILLS_IN_A_ROW: usize = 3;
/// Of so many rounds one is a kill at a random moment, beside those at failpoints.
const ROUNDS_A_MOMENT: usize = 4;

/// Passed again and again in one run.
fn is_frequent(name: &str) -> bool {
    name.starts_with("lake::")
        || name.starts_with("schedule::task")
        || name.contains("_stage")
        || name.contains("_upsert")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_run_is_killed_anywhere_and_the_warehouse_is_whole() {
    let names = chosen(|name| OURS.iter().any(|prefix| name.starts_with(prefix)));
    assert!(!names.is_empty(), "the sources name no failpoint");
    let begun = Instant::now();
    let mut trial = Trial::begin().await;
    // Tables are filled once, so these come first; each kill leaves the filling to be begun anew.
    let (fills, others): (Vec<String>, Vec<String>) =
        names.into_iter().partition(|name| name.contains("fill"));
    for name in &fills {
        kill_at(&mut trial, name).await;
    }
    trial.complete("raw-to-dwh", false).await;
    assert!(trial.read().await > 0, "nothing is published");
    let mut order: Vec<&String> = others.iter().cycle().take(rounds().max(others.len())).collect();
    order.shuffle(&mut trial.rng);
    for (round, name) in order.into_iter().enumerate() {
        kill_at(&mut trial, name).await;
        if round % KILLS_IN_A_ROW == KILLS_IN_A_ROW - 1 {
            trial.complete("raw-to-dwh", false).await;
            trial.read().await;
        }
    }
    for _ in 0..rounds() / ROUNDS_A_MOMENT {
        kill_at_a_random_moment(&mut trial).await;
    }
    trial.finish().await;
    eprintln!("batch runs killed in {:?}", begun.elapsed());
}

/// Aborts the next run at a failpoint; readers see no difference.
async fn kill_at(trial: &mut Trial, name: &str) {
    let begun = Instant::now();
    let fills = name.contains("fill");
    let mut passes = if is_frequent(name) && !fills { trial.rng.random_range(0..4) } else { 0 };
    let (pipeline, said) = loop {
        let pipeline = prepare(trial, name).await;
        let said = trial.begin_next(pipeline, Some(&format!("{name}={passes}*off->return"))).end(RUN).await;
        if said.status.signal().is_some() {
            break (pipeline, said);
        }
        // It was passed less often than that; the run went to its end.
        assert!(passes > 0 && !fills, "the failpoint {name} is never reached\n{}\n{}", said.out, said.err);
        assert!(said.status.success(), "{name}: {}\n{}", said.out, said.err);
        passes = 0;
    };
    let line = said.err.lines().rev().find(|line| line.contains("failpoint aborts the process"));
    assert!(line.is_some_and(|line| line.contains(name)), "{name}: not ended at the failpoint\n{}", said.err);
    let version = trial.read().await;
    eprintln!(
        "aborted at {name} after {passes} passes; readers see version {version}; {:?}",
        begun.elapsed()
    );
    // What was tampered with is found by the checks of every run, and put right by a rebuild alone.
    if pipeline == "rebuild" {
        trial.complete(pipeline, false).await;
        trial.read().await;
    }
}

/// Makes that a run passes the failpoint; of which pipeline.
async fn prepare(trial: &mut Trial, name: &str) -> &'static str {
    match name.split_once('_').map_or("", |(_, what)| what) {
        "rejected" => trial.refusable().await,
        "overwrite" => trial.tamper_dimension().await,
        "replace" => {
            trial.tamper_facts().await;
            return "rebuild";
        }
        _ => trial.news().await,
    }
    "raw-to-dwh"
}

async fn kill_at_a_random_moment(trial: &mut Trial) {
    trial.news().await;
    let pipeline = if trial.rng.random_bool(0.3) { "rebuild" } else { "raw-to-dwh" };
    let wait = Duration::from_millis(trial.rng.random_range(0..6_000));
    let run = trial.begin_next(pipeline, None);
    tokio::time::sleep(wait).await;
    run.signal("-KILL").await;
    let said = run.end(RUN).await;
    let version = trial.read().await;
    let how = said.status;
    eprintln!("{pipeline} killed after {} ms ({how}); readers see version {version}", wait.as_millis());
    trial.complete(pipeline, false).await;
    trial.read().await;
}

/// Paused between being allowed to commit and committing, for longer than its lease: another run takes the interval
/// over and does it; the first one goes on, stores nothing and ends as lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_was_paused_beyond_its_lease_does_no_harm() {
    let mut trial = Trial::begin().await;
    for (name, task) in [
        ("batch::before_filled", "deduplicate"),
        ("batch::before_stage", "clean"),
        ("batch::before_upsert", "deduplicate"),
        ("batch::before_replace", "load"),
        ("batch::before_publish", "publish"),
    ] {
        let pipeline = prepare(&mut trial, name).await;
        let paused = trial.begin_next(pipeline, Some(&format!("{name}=1*sleep(6000)")));
        paused.reaches(name, RUN).await;
        paused.signal("-STOP").await;
        let status = trial.status().await;
        let run = &status["runs"][0];
        let at = run["tasks"].as_array().and_then(|tasks| tasks.last());
        let is_there = at.is_some_and(|at| at["task"] == task && at["state"] == "running");
        assert!(is_there && run["pipeline"] == pipeline && run["state"] == "running", "{name}: {run:#}");
        let taken_over = trial.complete(pipeline, false).await;
        assert_eq!(taken_over["end"]["outcome"], "succeeded", "{taken_over:#}");
        let version = trial.read().await;
        paused.signal("-CONT").await;
        let said = paused.end(RUN).await;
        let ended: Json = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}"));
        assert_eq!(ended["end"]["outcome"], "lost", "{name}: {ended:#}\n{}", said.err);
        assert_eq!(said.status.code(), Some(1));
        assert_eq!(trial.read().await, version, "{name}: the lost run has published");
        let checked = trial.complete("rebuild", true).await;
        let notes = checked["run"]["tasks"].to_string();
        assert!(!notes.contains("put right"), "{name}: {checked:#}");
        eprintln!("paused in {task} before {name}: lost, nothing changed");
    }
    trial.finish().await;
}
