//! `affluent features backfill`: the vectors of the past, into the offline store.

use super::store::offline;
use crate::batch::time;
use crate::cli::Format;
use crate::config::Config;
use crate::output::{self, Exit};
use affluent_feature_store::history::HistoryError;
use affluent_feature_store::offline::{Materialised, Offline, ViewPlan, Writer};
use affluent_features::definition::parse_duration;
use affluent_lake::Lake;
use anyhow::Context as _;
use async_trait::async_trait;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// Instants of one backfill at most.
const INSTANTS_MAX: i64 = 10_000;

/// Options of `affluent features backfill`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct BackfillArgs {
    /// Which views [default: all that history can be read of]
    #[arg(value_name = "VIEW")]
    views: Vec<String>,
    /// First instant, 2026-11-22T00:00:00Z [default: the day after the view's first event arrived]
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<i64>,
    /// Last instant [default: the end of the day of its last event]
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<i64>,
    /// From one instant to the next: 1d, 6h, 5m
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = parse_duration)]
    every: i64,
}

/// Materialises the views as of each instant that is not there yet.
///
/// # Errors
/// No lake, views that there are not, a range without instants; what was written stays.
pub(super) async fn run(args: BackfillArgs, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let remedy = "does `[lake]` name the right directory, and did `affluent up` or `affluent import` ever write to it?";
    let lake =
        Lake::open_existing(config.lake.clone()).await.with_context(|| format!("open the lake; {remedy}"))?;
    let offline = offline(config, &lake)?;
    let stop = crate::batch::stopped_by_signals()?;
    let writer = UntilStopped(stop);
    let (mut told, mut written) = (Vec::new(), 0);
    for name in names(&args, &offline) {
        let view = ViewPlan::new(offline.history().definitions(), &name).map_err(usage)?;
        if let Some(missing) = offline.missing(&view).await? {
            if !args.views.is_empty() {
                return Err(output::usage(format!("view {name}: {missing}")));
            }
            told.push((name, None, missing));
            continue;
        }
        let instants = match offline.span(&view).await? {
            Some(span) => instants(&args, span)?,
            None => Vec::new(),
        };
        let bar = bar(&name, instants.len());
        let done =
            offline.materialise(&view, &instants, &writer, |_, _| bar.inc(1)).await.with_context(|| {
                format!("view {name}: what is written stays, the same command goes on from there")
            });
        bar.finish_and_clear();
        let done = done?;
        written += done.rows;
        told.push((name, Some(done), String::new()));
    }
    match format {
        Format::Json => output::print_json(&json!(told.iter().map(as_json).collect::<Vec<_>>()))?,
        Format::Text => {
            let headers =
                ["view", "events read", "rows written", "instants", "there before", "without rows", ""];
            output::print(&output::table(&headers, told.iter().map(row)));
        }
    }
    Ok(if written == 0 { Exit::NothingToDo } else { Exit::Done })
}

/// The views that were asked for, or all that have vectors.
fn names(args: &BackfillArgs, offline: &Offline) -> Vec<String> {
    if !args.views.is_empty() {
        return args.views.clone();
    }
    let definitions = offline.history().definitions();
    let has_vectors = |name: &&String| ViewPlan::new(definitions, name).is_ok();
    definitions.views.keys().filter(has_vectors).cloned().collect()
}

/// The instants of the range, whole multiples of the step since 1970.
fn instants(args: &BackfillArgs, (first, last): (i64, i64)) -> anyhow::Result<Vec<i64>> {
    let every = args.every;
    let from = args.from.unwrap_or(first.saturating_add(1));
    let to = args.to.unwrap_or(last);
    let begin = from.div_euclid(every).saturating_mul(every);
    let begin = if begin < from { begin.saturating_add(every) } else { begin };
    let count = to.saturating_sub(begin).div_euclid(every) + 1;
    if count > INSTANTS_MAX {
        return Err(output::usage(format!(
            "{count} instants are more than {INSTANTS_MAX}: give a longer --every, or a shorter range"
        )));
    }
    Ok((0..count.max(0)).map(|step| begin + step * every).collect())
}

fn bar(view: &str, instants: usize) -> ProgressBar {
    if !output::is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(instants as u64).with_message(view.to_owned());
    if let Ok(style) = ProgressStyle::with_template("{msg:24} {wide_bar} {pos}/{len} {eta}") {
        bar.set_style(style);
    }
    bar
}

fn row((name, done, note): &(String, Option<Materialised>, String)) -> Vec<String> {
    let Some(done) = done else {
        let mut row = vec![name.clone()];
        row.resize(6, String::new());
        return row.into_iter().chain([note.clone()]).collect();
    };
    let mut notes = Vec::new();
    for (count, what) in [
        (done.inexact, "not exact"),
        (done.read.late, "events too late"),
        (done.read.refused, "rows refused"),
    ] {
        if count > 0 {
            notes.push(format!("{count} {what}"));
        }
    }
    notes.extend(done.read.first_refused.clone());
    let numbers = [done.read.events, done.rows, done.instants, done.before, done.empty];
    let numbers = numbers.iter().map(u64::to_string);
    std::iter::once(name.clone()).chain(numbers).chain([notes.join(", ")]).collect()
}

fn as_json((name, done, note): &(String, Option<Materialised>, String)) -> serde_json::Value {
    match done {
        None => json!({"view": name, "left_out": note}),
        Some(done) => json!({
            "view": name, "events": done.read.events, "rows": done.rows, "instants": done.instants, "before": done.before,
            "empty": done.empty, "inexact": done.inexact, "late": done.read.late, "refused": done.read.refused,
        }),
    }
}

/// Writes until a signal comes.
pub(crate) struct UntilStopped(pub(crate) CancellationToken);

#[async_trait]
impl Writer for UntilStopped {
    async fn permit(&self) -> Result<(), HistoryError> {
        match self.0.is_cancelled() {
            true => Err(HistoryError::Stopped { message: "told to stop".to_owned(), retryable: true }),
            false => Ok(()),
        }
    }

    fn fence(&self) -> Option<i64> {
        None
    }
}

fn usage(error: HistoryError) -> anyhow::Error {
    match error {
        HistoryError::Definition(message) => output::usage(message),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use affluent_model::time::format_micros;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        args: BackfillArgs,
    }

    fn shown(instants: &[i64]) -> Vec<String> {
        instants.iter().map(|instant| format_micros(*instant, true)).collect()
    }

    fn of(line: &[&str], span: (i64, i64)) -> anyhow::Result<Vec<String>> {
        let args = Command::parse_from(std::iter::once("backfill").chain(line.iter().copied())).args;
        instants(&args, span).map(|instants| shown(&instants))
    }

    #[test]
    fn instants_are_whole_steps_of_the_range() {
        let day = 86_400_000_000;
        assert_eq!(
            of(&[], (0, 2 * day)).unwrap(),
            ["1970-01-02T00:00:00.000000Z", "1970-01-03T00:00:00.000000Z"]
        );
        let range = ["--from", "1970-01-01T00:03:00Z", "--to", "1970-01-01T02:00:00Z", "--every", "1h"];
        assert_eq!(
            of(&range, (0, 0)).unwrap(),
            ["1970-01-01T01:00:00.000000Z", "1970-01-01T02:00:00.000000Z"]
        );
        assert!(of(&["--to", "1970-01-01T00:00:00Z"], (day, day)).unwrap().is_empty());
        let error = of(&["--every", "1m"], (0, 365 * day)).unwrap_err().to_string();
        assert!(error.contains("longer --every"), "{error}");
    }
}
