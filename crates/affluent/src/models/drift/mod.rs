//! Whether what a model in use sees and says has moved: `affluent models drift`, and the pipeline `drift`.
//!
//! `rows` reads what the model saw, the comparison is `affluent-learning`'s, `tell` keeps, exports and tells what was found, `job` does so on schedule.

mod job;
mod rows;
mod tell;

pub(crate) use job::pipeline;

use super::served;
use crate::batch::{stopped_by_signals, time};
use crate::cli::Format;
use crate::config::Config;
use crate::features::{self, UntilStopped};
use crate::output::{self, Exit};
use crate::platform::Platform;
use affluent_feature_store::offline::Writer;
use affluent_lake::Lake;
use affluent_learning::DAY;
use affluent_learning::drift::{Drift, DriftOptions, Level, Watched, watch};
use affluent_learning::split::Period;
use affluent_model::Alert;
use affluent_model::time::now_micros;
use anyhow::Context as _;
use serde_json::json;
use std::path::PathBuf;
use tell::Place;

/// Lines of the table for people.
const SHOWN: usize = 15;

/// Options of `affluent models drift`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct DriftArgs {
    model: String,
    /// Behind the last moment of the period that is looked at [default: up to where the warehouse has taken everything in]
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<i64>,
    /// Write the report (HTML, JSON) to this folder, too
    #[arg(long, value_name = "FOLDER")]
    report: Option<PathBuf>,
    /// Look only: no alert is sent, and none that stands ends
    #[arg(long)]
    look: bool,
}

/// What the last run of the pipeline found of a model; none before the first.
///
/// # Errors
/// A report that cannot be read.
pub(crate) fn last_report(config: &Config, model: &str) -> anyhow::Result<Option<Watched>> {
    Place::of(&config.data_dir, model).report()
}

/// What a look comes to.
enum Looked {
    Found(Box<Watched>),
    /// Why there is nothing to tell.
    Nothing(String),
}

/// Looks, tells, and prints what was found.
///
/// # Errors
/// No lake, no champion, a broker that does not answer.
pub(super) async fn run(args: DriftArgs, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let remedy = "does `[lake]` name the right directory, and did `affluent up` or `affluent import` ever write to it?";
    let lake =
        Lake::open_existing(config.lake.clone()).await.with_context(|| format!("open the lake; {remedy}"))?;
    let writer = UntilStopped(stopped_by_signals()?);
    let watched = match look(config, &lake, &args.model, args.until, &writer).await? {
        Looked::Found(watched) => watched,
        Looked::Nothing(why) => {
            output::note(&why);
            return Ok(Exit::NothingToDo);
        }
    };
    if let Some(folder) = &args.report {
        tell::write_report(folder, &watched)?;
        output::note(&format!("the report is {}", folder.join("report.html").display()));
    }
    let alerts = if args.look {
        Vec::new()
    } else {
        let place = Place::of(&config.data_dir, &args.model);
        place.keep(&watched)?;
        let platform = Platform::new(config.clone())?;
        place.tell(&watched, platform.bus(), now_micros(), config.learning.drift.calm_runs).await?
    };
    match format {
        Format::Json => output::print_json(&json!({"found": watched, "alerts": alerts}))?,
        Format::Text => output::print(&text(&watched, &alerts)),
    }
    Ok(if watched.level == Level::Alarm { Exit::Failed } else { Exit::Done })
}

/// The period that ends at `until`, or where the warehouse stands if that is earlier, against the rows of learning and the period before.
async fn look(
    config: &Config,
    lake: &Lake,
    model: &str,
    until: Option<i64>,
    writer: &dyn Writer,
) -> anyhow::Result<Looked> {
    let registry = config.learning.store(&config.data_dir)?;
    let Some(served) = served::champion(&registry, model).await? else {
        return Ok(Looked::Nothing(format!("model {model} has no champion: promote a version")));
    };
    if let Err(why) = rows::reference(&served) {
        return Ok(Looked::Nothing(format!("model {model} version {}: {why}", served.version)));
    }
    let offline = features::offline(config, lake)?;
    let Some(known) = offline.known_until().await? else {
        return Ok(Looked::Nothing("the warehouse has not taken anything in yet: run raw-to-dwh".to_owned()));
    };
    let options = &config.learning.drift;
    let (to, length) = (until.map_or(known, |until| until.min(known)), i64::from(options.period_days) * DAY);
    let current = Period { from: to - length, to };
    let periods = (current.earlier(length), current);
    let rows = rows::read(&offline, &config.learning.rows, &served, periods, writer);
    let rows = Box::pin(rows).await.with_context(|| format!("model {model} version {}", served.version))?;
    let periods = (&rows.training, Some(&rows.previous), &rows.current);
    match watch(&served.model, served.version, periods, options.rows_min, thresholds(config, model)) {
        Ok(watched) => Ok(Looked::Found(Box::new(Watched { one_of: rows.one_of, ..watched }))),
        Err(few) => Ok(Looked::Nothing(format!("model {model}: {few}"))),
    }
}

/// From where on a change of this model is told; what has no section of its own is a model of payments.
fn thresholds<'a>(config: &'a Config, model: &str) -> &'a DriftOptions {
    match model {
        "churn" => &config.learning.churn.drift,
        "score" => &config.learning.score.drift,
        _ => &config.learning.fraud.drift,
    }
}

/// What moved most, and what was told.
fn text(watched: &Watched, alerts: &[Alert]) -> String {
    let word = |level: Level| match level {
        Level::Stable => "stable",
        Level::Warn => "warning",
        Level::Alarm => "ALARM",
    };
    let mut text = format!(
        "{} version {}, {}: {}\n\n",
        watched.model,
        watched.version,
        watched.current.period,
        word(watched.level)
    );
    if watched.one_of > 1 {
        text += &format!("one of {} payments of late was looked at\n\n", watched.one_of);
    }
    let before = |drift: &Drift| {
        let same = watched.since_previous.iter().find(|other| other.name == drift.name);
        same.map_or_else(|| "-".to_owned(), |other| format!("{:.4}", other.psi))
    };
    let rows = watched.since_training.iter().take(SHOWN).map(|drift| {
        vec![
            drift.name.clone(),
            word(drift.level).to_owned(),
            format!("{:.4}", drift.psi),
            before(drift),
            format!("{:.4}", drift.psi_evidently),
            format!("{:.4}", drift.ks),
            format!("{:.4}", drift.jensen_shannon),
            format!("{:.4}", drift.wasserstein),
            drift.chi_square_p.map_or_else(|| "-".to_owned(), |p| format!("{p:.1e}")),
        ]
    });
    let headers = [
        "",
        "",
        "psi",
        "psi since the period before",
        "psi (evidently)",
        "ks",
        "jensen-shannon",
        "wasserstein",
        "chi-square p",
    ];
    text += &output::table(&headers, rows);
    for stream in watched.streams.iter().filter(|stream| stream.changes > 0) {
        let (name, changes, before, now) = (&stream.name, stream.changes, stream.before, stream.now);
        text += &format!("{name}: {changes} changes of its mean, {before:.4} before and {now:.4} now\n");
    }
    for alert in alerts {
        text +=
            &format!("alert {} {:?} ({:?}), {:.4}\n", alert.rule, alert.state, alert.severity, alert.value);
    }
    text
}
