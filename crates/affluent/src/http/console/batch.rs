//! What the page of batch pipelines shows, and running them when people ask.

use super::audit::Entry;
use super::{Done, Posted, Visitor, page};
use crate::batch::{Emitter, NAMES, every, word};
use crate::http::options::Access;
use crate::http::{Problem, Route, Shared};
use affluent_console::batch::{self as pages, Check, Day, Pipeline as Standing, Run, Table, Task};
use affluent_console::frame::{Section, State as Shown, link};
use affluent_model::time::now_micros;
use affluent_schedule::{
    Backfill, DayCount, History, Interval, Pipeline, Reason, Request, RunEnd, RunRecord, RunState, Runner,
    Status, TaskRecord,
};
use anyhow::{Context as _, anyhow};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use chrono::NaiveDate;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

/// Days of the calendar, runs of the list, results of checks.
const DAYS: i32 = 35;
const RUNS: u32 = 40;
const CHECKS: usize = 100;
const DAY_US: i64 = 86_400_000_000;
const QUARTER_US: i64 = 900_000_000;
/// Results of the last week.
const CHECKED_US: i64 = 7 * DAY_US;
/// How long a run that was asked for waits for one that is in its way.
const WAIT: Duration = Duration::from_secs(300);

/// What of the page is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    pipeline: String,
    /// As 2026-11-22: the runs of the intervals of that day.
    day: String,
    /// The run whose tasks are shown.
    run: Option<i64>,
}

/// A run or a backfill that is asked for; without times the newest interval.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Work {
    pipeline: String,
    from: String,
    to: String,
}

/// What is to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// What came since the last run, or since the last tick of its calendar.
    Newest,
    One(Interval),
    Range(Interval),
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route { path: "/console/batch", roles: &[Access::Read], handler: get(show) },
        Route { path: pages::RUN, roles: &[Access::Admin], handler: post(run) },
        Route { path: pages::BACKFILL, roles: &[Access::Admin], handler: post(backfill) },
    ]
}

async fn show(
    State(shared): State<Shared>,
    asked: Result<Query<Asked>, QueryRejection>,
    visitor: Visitor,
) -> Result<Response, Problem> {
    let Query(asked) = asked.map_err(|error| Problem::bad_request(error.body_text()))?;
    let mut model = Box::pin(standing(&shared, &asked)).await.map_err(unavailable)?;
    match Box::pin(lake(&shared)).await {
        Ok((tables, checks)) => (model.tables, model.checks) = (tables, checks),
        Err(error) => model.lake_error = Some(format!("{error:#}")),
    }
    Ok(page(pages::page(&visitor.viewer, &model)))
}

/// What the run ledger says.
async fn standing(shared: &Shared, asked: &Asked) -> anyhow::Result<pages::Batch> {
    let ledger = shared.console.ledger(&shared.platform).await?;
    let now_us = now_micros();
    let known = NAMES.into_iter().find(|name| *name == asked.pipeline);
    let chosen = known.unwrap_or(NAMES[0]).to_owned();
    let within = day(&asked.day);
    let history = History { pipeline: Some(chosen.clone()), within, limit: RUNS, ..History::default() };
    let records = ledger.history(&history).await?;
    let opened = match asked.run {
        Some(id) => ledger.run(id).await?,
        None => records.first().cloned(),
    };
    let today = i32::try_from(now_us.div_euclid(DAY_US)).unwrap_or_default();
    let first = today - DAYS + 1;
    let counts = ledger.days(&chosen, i64::from(first) * DAY_US).await?;
    Ok(pages::Batch {
        now_us,
        pipelines: pipelines(&ledger.status(0).await?),
        chosen,
        days: (first..=today).map(|day| calendar_day(day, &counts)).collect(),
        runs: records.iter().map(shown).collect(),
        opened: opened.as_ref().map(shown),
        ..pages::Batch::default()
    })
}

/// Every pipeline, also one that has never run.
fn pipelines(status: &Status) -> Vec<Standing> {
    let standing = |name: &str| {
        let known = status.pipelines.iter().find(|known| known.pipeline == name);
        let failure = known.and_then(|known| known.open_failure.as_ref());
        Standing {
            name: name.to_owned(),
            done_to_us: known.and_then(|known| known.newest_done).map(|interval| interval.to_us()),
            running: known.map_or(0, |known| known.running.len()),
            open_failure: failure
                .map(|run| run.error.clone().unwrap_or_else(|| run.state.as_str().to_owned())),
        }
    };
    NAMES.into_iter().map(standing).collect()
}

fn calendar_day(day: i32, counts: &[DayCount]) -> Day {
    let mut found = Day { day, ..Day::default() };
    for count in counts.iter().filter(|count| count.day == i64::from(day)) {
        match count.state {
            RunState::Succeeded | RunState::Skipped => found.good += count.runs,
            RunState::Failed | RunState::Lost => found.bad += count.runs,
            RunState::Running => found.running += count.runs,
            RunState::Cancelled => {}
        }
    }
    found
}

/// The interval of a day as 2026-11-22; none where it is none.
fn day(text: &str) -> Option<Interval> {
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0)?;
    let from_us = day.and_utc().timestamp_micros();
    Interval::new(from_us, from_us.checked_add(DAY_US)?).ok()
}

fn shown(run: &RunRecord) -> Run {
    Run {
        id: run.id,
        pipeline: run.pipeline.clone(),
        from_us: run.interval.from_us(),
        to_us: run.interval.to_us(),
        word: run.state.as_str().to_owned(),
        state: colour(run.state),
        started_us: run.started_us,
        ended_us: run.ended_us,
        note: run.error.clone().unwrap_or_else(|| run.reason.as_str().to_owned()),
        tasks: run.tasks.iter().map(task).collect(),
    }
}

fn task(task: &TaskRecord) -> Task {
    Task {
        name: task.task.clone(),
        attempt: task.attempt,
        word: task.state.as_str().to_owned(),
        state: colour(task.state),
        started_us: task.started_us,
        ended_us: task.ended_us,
        rows_in: task.rows_in,
        rows_out: task.rows_out,
        note: task.error.clone().or_else(|| task.notes.clone()).unwrap_or_default(),
    }
}

fn colour(state: RunState) -> Shown {
    match state {
        RunState::Succeeded => Shown::Good,
        RunState::Skipped => Shown::Idle,
        RunState::Running | RunState::Cancelled => Shown::Warn,
        RunState::Failed | RunState::Lost => Shown::Bad,
    }
}

/// Tables with their freshness, and the latest result of each check, what is wrong first.
async fn lake(shared: &Shared) -> anyhow::Result<(Vec<Table>, Vec<Check>)> {
    let _turn = shared.warehouse.turn().map_err(|problem| anyhow!(problem.detail().to_owned()))?;
    let (session, version) = shared.warehouse.session(&shared.platform).await?;
    let published = |name: &str| {
        let version = version.as_ref().filter(|version| version.snapshots.contains_key(name))?;
        version.as_of
    };
    let is_shown = |name: &str| !name.starts_with("ops.");
    let tables = session.tables().iter().filter(|table| is_shown(&table.name)).map(|table| Table {
        name: table.name.clone(),
        rows: table.rows,
        fresh_us: published(&table.name).or_else(|| table.committed_ms.map(|ms| ms.saturating_mul(1_000))),
    });
    let tables: Vec<Table> = tables.collect();
    if !session.tables().iter().any(|table| table.name == "ops.checks") {
        return Ok((tables, Vec::new()));
    }
    let since = now_micros().saturating_sub(CHECKED_US);
    let text = format!(
        "select \"table\", \"check\", severity, cast(failures as varchar) as failed, cast(cast(checked_at as bigint) as varchar) as at, detail \
         from (select *, row_number() over (partition by \"table\", \"check\" order by checked_at desc) as place \
               from ops.checks where cast(checked_at as bigint) >= {since}) as latest \
         where place = 1 order by failures desc, \"table\", \"check\" limit {CHECKS}"
    );
    let rows = shared.warehouse.aside(&session, &text).await?;
    Ok((tables, rows.iter().filter_map(|row| check(row)).collect()))
}

fn check(row: &[String]) -> Option<Check> {
    let [table, check, severity, failures, checked_at, detail] = row else { return None };
    Some(Check {
        table: table.clone(),
        check: check.clone(),
        severity: severity.clone(),
        failures: failures.parse().ok()?,
        checked_at: checked_at.parse().ok()?,
        detail: detail.clone(),
    })
}

async fn run(State(shared): State<Shared>, Posted(work, visitor): Posted<Work>) -> Result<Response, Problem> {
    let wanted = if work.from.trim().is_empty() && work.to.trim().is_empty() {
        Wanted::Newest
    } else {
        Wanted::One(interval(&work)?)
    };
    begin(shared, visitor, "batch.run", &work.pipeline, wanted).await
}

async fn backfill(
    State(shared): State<Shared>,
    Posted(work, visitor): Posted<Work>,
) -> Result<Response, Problem> {
    let wanted = Wanted::Range(interval(&work)?);
    begin(shared, visitor, "batch.backfill", &work.pipeline, wanted).await
}

fn interval(work: &Work) -> Result<Interval, Problem> {
    Interval::parse(&work.from, &work.to).map_err(|error| Problem::unprocessable(error.to_string()))
}

/// Begins what is wanted, and answers at once: the page shows how it goes.
async fn begin(
    shared: Shared,
    visitor: Visitor,
    action: &'static str,
    pipeline: &str,
    wanted: Wanted,
) -> Result<Response, Problem> {
    let known = NAMES.into_iter().find(|name| *name == pipeline);
    let name = known.ok_or_else(|| Problem::not_found(format!("there is no pipeline {pipeline}")))?;
    let begun = match Arc::clone(&shared.console.runs).try_acquire_owned() {
        Ok(permit) => {
            let (shared, who) = (shared.clone(), visitor.viewer.name.clone());
            tokio::spawn(async move {
                let _permit = permit;
                let outcome = Box::pin(carried_out(&shared, name, wanted)).await;
                let (outcome, detail) = match outcome {
                    Ok(detail) => ("done", detail),
                    Err(error) => ("failed", format!("{error:#}")),
                };
                let entry = Entry { who: who.as_deref(), action, subject: name, outcome, detail: &detail };
                if let Err(problem) = shared.console.audit.write(&entry).await {
                    tracing::warn!(error = problem.detail(), action, "outcome not in the audit trail");
                }
            });
            Ok("begun".to_owned())
        }
        Err(_) => Err("another run that was asked for here is under way".to_owned()),
    };
    let back = link(Section::Batch.path(), &[("pipeline", name)]);
    Ok(Done { action, subject: name, outcome: begun, back: &back }.tell(&shared, &visitor).await)
}

/// Runs what is wanted to its end; what came of it.
async fn carried_out(shared: &Shared, name: &str, wanted: Wanted) -> anyhow::Result<String> {
    let (platform, stop) = (&shared.platform, &shared.console.shutdown);
    let (lake, store) = (platform.lake().await?, platform.documents().await?);
    let ledger = shared.console.ledger(platform).await?;
    let emitter = Emitter::start(&platform.config().batch)?;
    let pipelines = every(platform, &lake, store, &ledger, emitter.as_ref())?;
    let pipeline = pipelines.iter().find(|pipeline| pipeline.name() == name).context("no such pipeline")?;
    let runner = Runner::new(ledger, platform.config().schedule.clone());
    let told = match wanted {
        Wanted::Newest => one(&runner, pipeline, newest(&runner, pipeline).await?, shared).await,
        Wanted::One(interval) => one(&runner, pipeline, interval, shared).await,
        Wanted::Range(range) => {
            let backfill = Backfill { range, parallel: 1, fresh: false, wait: WAIT };
            let report = runner.backfill(pipeline, &backfill, stop).await?;
            let told = format!("{} of {} intervals were run", report.ended.len(), report.intervals);
            if report.is_done() { Ok(told) } else { Err(anyhow!("{told}, not all with success")) }
        }
    };
    if let Some(emitter) = emitter {
        emitter.flush().await;
    }
    told
}

async fn one(
    runner: &Runner,
    pipeline: &Pipeline,
    interval: Interval,
    shared: &Shared,
) -> anyhow::Result<String> {
    let request = Request { interval, only: None, fresh: true, reason: Reason::Manual, wait: WAIT };
    let end = runner.run(pipeline, &request, &shared.console.shutdown).await?;
    let told = format!("{interval}: {}", word(&end));
    match end {
        RunEnd::Succeeded { .. } | RunEnd::Skipped { .. } | RunEnd::Done => Ok(told),
        RunEnd::Busy(_)
        | RunEnd::GivenUp { .. }
        | RunEnd::Failed { .. }
        | RunEnd::Cancelled { .. }
        | RunEnd::Lost { .. } => Err(anyhow!(told)),
    }
}

/// The last interval of the calendar that has ended; without a calendar what came since the last one that is done.
async fn newest(runner: &Runner, pipeline: &Pipeline) -> anyhow::Result<Interval> {
    let now_us = runner.ledger().clock().now_us();
    if let Some(interval) = pipeline.calendar().and_then(|calendar| calendar.last_ended(now_us)) {
        return Ok(interval);
    }
    let done = runner.ledger().done_to(pipeline.name()).await?.filter(|done| *done < now_us);
    Ok(Interval::new(done.unwrap_or(now_us - QUARTER_US), now_us)?)
}

fn unavailable(error: anyhow::Error) -> Problem {
    Problem::unavailable(format!("{error:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_of_the_calendar_counts_its_runs() {
        let count = |day, state, runs| DayCount { day, state, runs };
        let counts = [
            count(3, RunState::Succeeded, 90),
            count(3, RunState::Skipped, 5),
            count(3, RunState::Lost, 1),
            count(4, RunState::Running, 1),
        ];
        assert_eq!(calendar_day(3, &counts), Day { day: 3, good: 95, bad: 1, running: 0 });
        assert_eq!(calendar_day(5, &counts), Day { day: 5, ..Day::default() });
    }

    #[test]
    fn a_day_is_an_interval_or_nothing() {
        assert_eq!(day("1970-01-02"), Interval::new(DAY_US, 2 * DAY_US).ok());
        for text in ["", "yesterday", "2026-13-01", "1970-01-02T00:00:00Z"] {
            assert_eq!(day(text), None, "{text}");
        }
    }

    #[test]
    fn a_result_of_a_check_is_read() {
        let row = ["dwh.t", "unique", "error", "2", "7", "x"].map(str::to_owned);
        let found = check(&row).unwrap();
        assert_eq!((found.failures, found.checked_at, found.detail.as_str()), (2, 7, "x"));
        assert!(check(&row[..5]).is_none());
    }
}
