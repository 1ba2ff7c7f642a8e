//! `affluent batch run` and `affluent batch backfill`.

use super::{Emitter, engine, ledger, pipelines};
use crate::cli::Format;
use crate::config::Config;
use crate::features;
use crate::models;
use crate::output::{self, Exit};
use crate::platform::Platform;
use crate::train;
use affluent_schedule::{
    Backfill, DRIFT, FEATURES_1H, FEATURES_5M, FEATURES_NIGHTLY, FEATURES_PARITY, Interval, Ledger, Pipeline,
    RAW_TO_DWH, REBUILD, Reason, Request, RunEnd, RunRecord, Runner, TRAIN_CHURN, TRAIN_FRAUD, TRAIN_SCORE,
    parse_time,
};
use clap::builder::PossibleValuesParser;
use serde_json::json;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Every pipeline.
pub(crate) const NAMES: [&str; 10] = [
    RAW_TO_DWH,
    REBUILD,
    FEATURES_5M,
    FEATURES_1H,
    FEATURES_NIGHTLY,
    FEATURES_PARITY,
    TRAIN_FRAUD,
    TRAIN_CHURN,
    TRAIN_SCORE,
    DRIFT,
];

/// A rebuild that is asked for by another command waits so long for a run that is in the way.
const REBUILD_WAIT_S: u64 = 300;

/// Options of `affluent batch run`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RunArgs {
    /// Which pipeline
    #[arg(value_parser = PossibleValuesParser::new(NAMES))]
    pipeline: String,
    /// One task alone: ingest, clean, deduplicate, enrich, load, check or publish; of features materialise, serve or compare; of training
    /// dataset, split, fit, evaluate, validate, compare, drift, register or promote; of drift compare or retrain
    #[arg(long)]
    task: Option<String>,
    /// First moment of the interval, 2026-11-22T06:00:00Z [default: the last interval that has ended, done again]
    #[arg(long, value_name = "TIME", requires = "to", value_parser = time)]
    from: Option<i64>,
    /// First moment behind the interval
    #[arg(long, value_name = "TIME", requires = "from", value_parser = time)]
    to: Option<i64>,
    /// Compute every table in full, compare with what is there, and put right what differs
    #[arg(long)]
    full: bool,
    /// Wait so many seconds for another run that is in the way
    #[arg(long, value_name = "S", default_value_t = 300)]
    wait: u64,
}

/// Options of `affluent batch backfill`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct BackfillArgs {
    /// Which pipeline
    #[arg(value_parser = PossibleValuesParser::new(NAMES))]
    pipeline: String,
    /// First moment of the range
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: i64,
    /// First moment behind the range
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: i64,
    /// So many intervals at a time
    #[arg(long, value_name = "N", default_value_t = 1)]
    parallel: usize,
    /// Also the intervals that are done
    #[arg(long)]
    fresh: bool,
    /// Wait so many seconds for another run that is in the way
    #[arg(long, value_name = "S", default_value_t = 300)]
    wait: u64,
}

/// Runs one interval.
///
/// # Errors
/// No lake or ledger, an unknown task, an interval that is none.
pub(crate) async fn run(args: RunArgs, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let (runner, pipeline, emitter) = prepared(config, &args.pipeline, args.full).await?;
    if let Some(task) = &args.task
        && !pipeline.tasks().contains(&task.as_str())
    {
        let known = pipeline.tasks().join(", ");
        return Err(output::usage(format!("{} has no task `{task}`; it has {known}", args.pipeline)));
    }
    let (interval, fresh) = match args.from.zip(args.to) {
        Some((from, to)) => (interval(from, to)?, args.full),
        // Asked for without an interval: whatever came since is to be taken on, also where it was done before.
        None => (last(&pipeline, runner.ledger())?, true),
    };
    let wait = Duration::from_secs(args.wait);
    let request = Request { interval, only: args.task, fresh, reason: Reason::Manual, wait };
    let stop = stopped_by_signals()?;
    let end = runner.run(&pipeline, &request, &stop).await;
    told(emitter).await;
    let end = end?;
    let record = match &end {
        RunEnd::Succeeded { run }
        | RunEnd::Skipped { run }
        | RunEnd::Failed { run, .. }
        | RunEnd::Cancelled { run }
        | RunEnd::Lost { run } => runner.ledger().run(*run).await?,
        RunEnd::Done | RunEnd::Busy(_) | RunEnd::GivenUp { .. } => None,
    };
    match format {
        Format::Text => output::print(&text(&args.pipeline, interval, &end, record.as_ref())),
        Format::Json => {
            output::print_json(
                &json!({"pipeline": args.pipeline, "interval": interval, "end": end, "run": record}),
            )?;
        }
    }
    Ok(exit(&end))
}

/// Computes the warehouse anew, now, and publishes it.
///
/// # Errors
/// No lake or ledger.
pub(crate) async fn rebuild(config: &Config) -> anyhow::Result<RunEnd> {
    let (runner, pipeline, emitter) = prepared(config, REBUILD, true).await?;
    let now = runner.ledger().clock().now_us();
    let interval = match last(&pipeline, runner.ledger()) {
        Ok(interval) => interval,
        // Without a calendar: an interval of its own.
        Err(_) => interval(now - 1_000_000, now)?,
    };
    let wait = Duration::from_secs(REBUILD_WAIT_S);
    let request = Request { interval, only: None, fresh: true, reason: Reason::Manual, wait };
    let end = runner.run(&pipeline, &request, &stopped_by_signals()?).await;
    told(emitter).await;
    Ok(end?)
}

/// Runs the intervals of a range.
///
/// # Errors
/// No lake or ledger, a range without intervals.
pub(crate) async fn backfill(args: BackfillArgs, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let (runner, pipeline, emitter) = prepared(config, &args.pipeline, false).await?;
    let wait = Duration::from_secs(args.wait);
    let range = interval(args.from, args.to)?;
    let backfill = Backfill { range, parallel: args.parallel, fresh: args.fresh, wait };
    let stop = stopped_by_signals()?;
    let report = runner.backfill(&pipeline, &backfill, &stop).await;
    told(emitter).await;
    let report = report?;
    match format {
        Format::Json => output::print_json(&report)?,
        Format::Text => {
            let rows = report.ended.iter().map(|(interval, end)| vec![interval.to_string(), word(end)]);
            output::print(&output::table(&["interval", ""], rows));
        }
    }
    let idle = |end: &RunEnd| matches!(end, RunEnd::Done | RunEnd::Skipped { .. });
    Ok(match report.is_done() {
        true if report.ended.iter().all(|(_, end)| idle(end)) => Exit::NothingToDo,
        true => Exit::Done,
        false => Exit::Failed,
    })
}

/// Waits a little for what was told of the run.
async fn told(emitter: Option<Emitter>) {
    if let Some(emitter) = emitter {
        emitter.flush().await;
    }
}

async fn prepared(
    config: &Config,
    name: &str,
    full: bool,
) -> anyhow::Result<(Runner, Pipeline, Option<Emitter>)> {
    let batch = engine(config).await?;
    let runner = Runner::new(ledger(&config.schedule).await?, config.schedule.clone());
    let emitter = Emitter::start(&config.batch)?;
    let pipelines = if [RAW_TO_DWH, REBUILD].contains(&name) {
        pipelines(&config.schedule, &batch, full, emitter.as_ref())?
    } else if full {
        return Err(output::usage(format!("--full is for {RAW_TO_DWH}; {name} computes the same each time")));
    } else if name == DRIFT {
        let platform = Platform::new(config.clone())?;
        let training = train::pipelines(config, batch.lake())?;
        vec![models::drift_pipeline(config, batch.lake(), platform.bus(), runner.clone(), training)?]
    } else if [TRAIN_FRAUD, TRAIN_CHURN, TRAIN_SCORE].contains(&name) {
        train::pipelines(config, batch.lake())?
    } else {
        features::pipelines(config, batch.lake(), features::shared_documents(config).await?)?
    };
    let pipeline = pipelines.into_iter().find(|pipeline| pipeline.name() == name);
    let pipeline = pipeline.ok_or_else(|| output::usage(format!("there is no pipeline {name}")))?;
    Ok((runner, pipeline, emitter))
}

fn interval(from: i64, to: i64) -> anyhow::Result<Interval> {
    Interval::new(from, to).map_err(|error| output::usage(error.to_string()))
}

/// The last interval of the calendar that has ended.
fn last(pipeline: &Pipeline, ledger: &Ledger) -> anyhow::Result<Interval> {
    let calendar = pipeline.calendar();
    calendar.and_then(|calendar| calendar.last_ended(ledger.clock().now_us())).ok_or_else(|| {
        output::usage(format!(
            "{} has no cron line, so no interval of its own: give --from and --to",
            pipeline.name()
        ))
    })
}

/// Fires at the first signal.
pub(crate) fn stopped_by_signals() -> anyhow::Result<CancellationToken> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let fired = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        output::note("stopping; what is committed stays, the next run goes on from there");
        fired.cancel();
    });
    Ok(stop)
}

fn exit(end: &RunEnd) -> Exit {
    match end {
        RunEnd::Succeeded { .. } => Exit::Done,
        RunEnd::Skipped { .. } | RunEnd::Done => Exit::NothingToDo,
        RunEnd::Busy(_)
        | RunEnd::GivenUp { .. }
        | RunEnd::Failed { .. }
        | RunEnd::Cancelled { .. }
        | RunEnd::Lost { .. } => Exit::Failed,
    }
}

/// What became of a run, for people.
pub(crate) fn word(end: &RunEnd) -> String {
    match end {
        RunEnd::Succeeded { run } => format!("done by run {run}"),
        RunEnd::Skipped { run } => format!("nothing to do, run {run}"),
        RunEnd::Done => "was done before".to_owned(),
        RunEnd::Busy(holder) => format!("another run is at it: {holder:?}"),
        RunEnd::GivenUp { attempts } => format!("failed {attempts} times before"),
        RunEnd::Failed { run, task, error } => format!("run {run} failed at {task}: {error}"),
        RunEnd::Cancelled { run } => format!("run {run} was stopped"),
        RunEnd::Lost { run } => format!("run {run} has lost its lease"),
    }
}

fn text(pipeline: &str, interval: Interval, end: &RunEnd, record: Option<&RunRecord>) -> String {
    let mut text = format!("{pipeline}, {interval}: {}\n", word(end));
    if let Some(record) = record {
        let rows = record.tasks.iter().map(|task| {
            let seconds = task.ended_us.map(|ended| (ended - task.started_us) as f64 / 1e6);
            let notes = task.notes.clone().or_else(|| task.error.clone()).unwrap_or_default();
            vec![
                task.task.clone(),
                task.state.as_str().to_owned(),
                task.rows_in.to_string(),
                task.rows_out.to_string(),
                seconds.map(|seconds| format!("{seconds:.1}")).unwrap_or_default(),
                notes,
            ]
        });
        text += &format!("\n{}", output::table(&["task", "state", "rows in", "rows out", "s", ""], rows));
    }
    text
}

/// Microseconds since the epoch.
pub(crate) fn time(text: &str) -> Result<i64, String> {
    parse_time(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_before_is_nothing_to_do() {
        assert_eq!(exit(&RunEnd::Succeeded { run: 1 }), Exit::Done);
        for end in [RunEnd::Done, RunEnd::Skipped { run: 1 }] {
            assert_eq!(exit(&end), Exit::NothingToDo);
        }
        let failed = RunEnd::Failed { run: 3, task: "load".to_owned(), error: "no room".to_owned() };
        assert_eq!((exit(&failed), word(&failed).as_str()), (Exit::Failed, "run 3 failed at load: no room"));
        let interval = Interval::new(0, 900_000_000).unwrap();
        assert!(text("rebuild", interval, &failed, None).starts_with("rebuild, 1970-01-01"));
        time("yesterday").unwrap_err();
    }
}
