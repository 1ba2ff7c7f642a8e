//! The pipelines `train-fraud`, `train-churn` and `train-score`, as the scheduler and Airflow call them.
//!
//! | task | |
//! |---|---|
//! | `dataset` | rows as they were known by the end of the interval, into tables of the lake; skipped where too few labels are new |
//! | `split` | who is learned from and who is judged |
//! | `fit` | model, earlier folds, calibration, threshold |
//! | `evaluate` | every metric, on the judged rows |
//! | `validate` | the gates |
//! | `compare` | the gate against the model that serves |
//! | `drift` | what has moved since the period of learning |
//! | `register` | a version of the registry, the challenger |
//! | `promote` | it serves, where `learning.rows.promote` is set and no gate failed |
//!
//! Invariant: a task that is called again leaves the same, and one version comes of an interval.

use super::kind::{Kind, Outcome};
use super::lake::{self, Asked};
use super::options::{LearningOptions, Store};
use super::state::{Run, Runs};
use crate::config::Config;
use crate::features;
use affluent_feature_store::history::HistoryError;
use affluent_feature_store::offline::Offline;
use affluent_feature_store::training::{events_between, payments_span};
use affluent_lake::Lake;
use affluent_learning::dataset::{Dataset, check};
use affluent_learning::registry::{RegistryError, promote};
use affluent_learning::split::{Split, SplitError};
use affluent_learning::train::{Judge, JudgeValue, Report, TrainOptions, ValueReport, fit, fit_value};
use affluent_schedule::{
    Interval, Pipeline, RunContext, TRAIN_CHURN, TRAIN_FRAUD, TRAIN_SCORE, Work, WorkError,
};
use async_trait::async_trait;
use std::sync::Arc;

/// The tasks in their order.
const TASKS: &[&str] =
    &["dataset", "split", "fit", "evaluate", "validate", "compare", "drift", "register", "promote"];

/// The pipelines on their calendars.
///
/// # Errors
/// Definitions or seeds that are wrong, a registry that cannot be reached at all, a cron line that cannot be read.
pub(crate) fn pipelines(config: &Config, lake: &Lake) -> anyhow::Result<Vec<Pipeline>> {
    let (options, offline) = (&config.schedule, features::offline(config, lake)?);
    let registry = config.learning.store(&config.data_dir)?;
    let mut pipelines = Vec::new();
    for (name, kind, own) in [
        (TRAIN_FRAUD, Kind::Fraud, &options.train_fraud),
        (TRAIN_CHURN, Kind::Churn, &options.train_churn),
        (TRAIN_SCORE, Kind::Score, &options.train_score),
    ] {
        let work = TrainJob {
            kind,
            offline: offline.clone(),
            options: config.learning.clone(),
            registry: Arc::clone(&registry),
            runs: Runs::new(&config.data_dir, kind),
        };
        pipelines.push(Pipeline::new(name, TASKS, own.clone(), &options.time_zone, Arc::new(work))?);
    }
    Ok(pipelines)
}

/// The tasks of one model.
struct TrainJob {
    kind: Kind,
    offline: Offline,
    options: LearningOptions,
    registry: Store,
    runs: Runs,
}

type Done = affluent_schedule::Outcome;

#[async_trait]
impl Work for TrainJob {
    async fn run(&self, task: &str, interval: Interval, context: &RunContext) -> Result<Done, WorkError> {
        let run = self.runs.of(interval);
        let done = match task {
            "dataset" => Box::pin(self.dataset(&run, interval, context)).await,
            "split" => Box::pin(self.split(&run)).await,
            "fit" => Box::pin(self.fit(&run, context)).await,
            "evaluate" | "validate" | "compare" | "drift" => Box::pin(self.judge(task, &run, context)).await,
            "register" => Box::pin(self.register(&run, context)).await,
            "promote" => Box::pin(self.promote(&run, context)).await,
            other => {
                let known = TASKS.join(", ");
                return Err(WorkError::lasting(format!("there is no task {other}; there are {known}")));
            }
        };
        done.map_err(|error| failed(&error))
    }
}

impl TrainJob {
    async fn dataset(&self, run: &Run, interval: Interval, context: &RunContext) -> anyhow::Result<Done> {
        if let Some(plan) = run.plan()? {
            let dataset = lake::read_again(&self.offline, &plan.manifest).await?;
            return Ok(rows(&dataset, plan.manifest.source));
        }
        let Some(known) = self.offline.known_until().await? else {
            return Ok(skipped("the warehouse has not taken anything in yet: run raw-to-dwh"));
        };
        if payments_span(&self.offline).await?.is_none() {
            return Ok(skipped("there are no payments in the warehouse yet"));
        }
        let as_of = known.min(interval.to_us());
        let since = self.runs.before(interval)?.map_or(i64::MIN, |before| before.protocol.test.to);
        let least = self.options.rows.new_labels_min;
        let most = self.new_at_most(since, as_of).await?;
        if most < least as u64 {
            return Ok(too_few(most, least));
        }
        let asked = Asked { as_of: Some(as_of), ..Asked::default() };
        let prepared = lake::prepare(&self.offline, self.kind, &self.options, asked, context).await;
        let (plan, dataset) = match prepared {
            Err(error) if lake::is_too_short(&error) => return Ok(skipped(format!("{error:#}"))),
            prepared => prepared?,
        };
        let new = new_labels(self.kind, &dataset, since);
        if new < least {
            return Ok(too_few(new as u64, least));
        }
        if let Err(why) = self.can_be_learned(&dataset, &plan) {
            return Ok(skipped(why));
        }
        context.check().await.map_err(stopped)?;
        run.put_plan(&plan)?;
        Ok(rows(&dataset, format!("{}, {new} labels are new", plan.manifest.source)))
    }

    /// How many labels can be new, before rows are computed for it: those of payments that have had time to be known; of customers any number
    /// once there was a look that can be judged.
    async fn new_at_most(&self, since: i64, as_of: i64) -> anyhow::Result<u64> {
        let known = as_of.saturating_sub(lake::delay(self.kind, &self.options));
        if known < since {
            return Ok(0);
        }
        Ok(match self.kind {
            Kind::Fraud => events_between(&self.offline, lake::LABELS, (since.max(0), known)).await?,
            Kind::Churn | Kind::Score => u64::MAX,
        })
    }

    /// Whether there are rows and labels enough to learn and to judge; why not, in words.
    fn can_be_learned(&self, dataset: &Dataset, plan: &lake::Planned) -> Result<(), String> {
        let rows = &dataset.rows;
        let split = self.split_of(dataset, plan).map_err(|error| error.to_string())?;
        for (what, places) in [("the training period", &split.train), ("the judged period", &split.test)] {
            let checked = match self.kind {
                Kind::Fraud | Kind::Churn => check::labels(what, &rows.labels(places)),
                Kind::Score => check::values(what, &rows.values(places)),
            };
            checked.map_err(|problem| problem.to_string())?;
        }
        Ok(())
    }

    fn split_of(&self, dataset: &Dataset, plan: &lake::Planned) -> Result<Split, SplitError> {
        let leave_known = self.train_options().leave_known && !self.kind.is_valued();
        plan.protocol.split(&dataset.rows, leave_known)
    }

    async fn split(&self, run: &Run) -> anyhow::Result<Done> {
        let Some((plan, dataset)) = self.planned(run).await? else { return Ok(nothing()) };
        let split = self.split_of(&dataset, &plan)?;
        let notes = format!(
            "learned from {} ({} rows), judged on {} ({} rows, {} of known cards left out)",
            plan.protocol.train,
            split.train.len(),
            plan.protocol.test,
            split.test.len(),
            split.known
        );
        Ok(rows(&dataset, notes))
    }

    async fn fit(&self, run: &Run, context: &RunContext) -> anyhow::Result<Done> {
        let Some((plan, dataset)) = self.planned(run).await? else { return Ok(nothing()) };
        let (kind, protocol, options) = (self.kind, plan.protocol, self.train_options().clone());
        let count = dataset.rows.len() as u64;
        if kind.is_valued() {
            let work = move || fit_value(kind.name(), &dataset, protocol, &options);
            let fitted = tokio::task::spawn_blocking(work).await??;
            context.check().await.map_err(stopped)?;
            run.put_fitted_value(&fitted)?;
            return Ok(made(count, &fitted.found.notes));
        }
        let work = move || fit(kind.name(), &dataset, protocol, &options, None);
        let fitted = tokio::task::spawn_blocking(work).await??;
        context.check().await.map_err(stopped)?;
        run.put_fitted(&fitted)?;
        Ok(made(count, &fitted.found.notes))
    }

    /// One of the tasks that fill the report.
    async fn judge(&self, task: &str, run: &Run, context: &RunContext) -> anyhow::Result<Done> {
        let Some((plan, dataset)) = self.planned(run).await? else { return Ok(nothing()) };
        let scratch = tempfile::Builder::new().prefix("affluent-model_").tempdir()?;
        let champion = match task {
            "compare" => super::champion(&self.registry, self.kind, scratch.path()).await?,
            _ => None,
        };
        let (task, kind, run_there, options) =
            (task.to_owned(), self.kind, run.clone(), self.train_options().clone());
        let work = move || {
            let champion = champion.as_ref();
            if kind.is_valued() {
                let fitted = run_there.fitted_value()?;
                let judge = JudgeValue::new(&fitted, &dataset, plan.protocol, &options)?;
                let mut report: ValueReport = match task.as_str() {
                    "evaluate" => judge.evaluate(plan.manifest),
                    _ => run_there.report()?,
                };
                match task.as_str() {
                    "validate" => judge.validate(&mut report)?,
                    "compare" => judge.compare(champion, &mut report),
                    "drift" => judge.drift(&mut report)?,
                    _ => report.notes.extend(plan.notes),
                }
                return Ok(Judged::Value(Box::new(report)));
            }
            let fitted = run_there.fitted()?;
            let judge = Judge::new(&fitted, &dataset, plan.protocol, &options)?;
            let mut report: Report = match task.as_str() {
                "evaluate" => judge.evaluate(plan.manifest),
                _ => run_there.report()?,
            };
            match task.as_str() {
                "validate" => judge.validate(&mut report)?,
                "compare" => judge.compare(champion, &mut report),
                "drift" => judge.drift(&mut report)?,
                _ => report.notes.extend(plan.notes),
            }
            Ok::<Judged, anyhow::Error>(Judged::Class(Box::new(report)))
        };
        let judged = tokio::task::spawn_blocking(work).await??;
        context.check().await.map_err(stopped)?;
        match &judged {
            Judged::Class(report) => run.put_report(report)?,
            Judged::Value(report) => run.put_report(report)?,
        }
        Ok(Done {
            rows_in: judged.rows(),
            rows_out: judged.rows(),
            notes: Some(judged.told()),
            ..Done::default()
        })
    }

    async fn register(&self, run: &Run, context: &RunContext) -> anyhow::Result<Done> {
        if run.plan()?.is_none() {
            return Ok(nothing());
        }
        let version = match run.registered()? {
            Some(registered) => registered.version,
            None => {
                let scratch = tempfile::Builder::new().prefix("affluent-model_").tempdir()?;
                let outcome = run.outcome(self.kind)?;
                let folder = scratch.path().join("model");
                std::fs::create_dir_all(&folder)?;
                outcome.write(&folder)?;
                context.check().await.map_err(stopped)?;
                let version = match self.registered(&folder).await? {
                    Some(version) => version,
                    None => self.registry.register(self.kind.name(), &folder).await?,
                };
                run.put_registered(version)?;
                version
            }
        };
        Ok(Done { rows_out: 1, notes: Some(format!("version {version}")), ..Done::default() })
    }

    /// The newest version, where a run that died before it could note so has registered this very report.
    async fn registered(&self, folder: &std::path::Path) -> anyhow::Result<Option<u64>> {
        let name = self.kind.name();
        if !self.registry.models().await?.iter().any(|model| model == name) {
            return Ok(None);
        }
        let Some(newest) = self.registry.versions(name).await?.last().map(|version| version.version) else {
            return Ok(None);
        };
        let scratch = tempfile::Builder::new().prefix("affluent-model_").tempdir()?;
        let there = self.registry.folder(name, newest, scratch.path()).await?;
        let report = |folder: &std::path::Path| std::fs::read(folder.join("report.json")).ok();
        Ok(Some(newest).filter(|_| report(folder).is_some() && report(folder) == report(&there)))
    }

    async fn promote(&self, run: &Run, context: &RunContext) -> anyhow::Result<Done> {
        let Some(registered) = run.registered()? else { return Ok(nothing()) };
        let (name, version) = (self.kind.name(), registered.version);
        if !self.options.rows.promote {
            return Ok(skipped(format!("left to a person: affluent models promote {name} {version}")));
        }
        let outcome = run.outcome(self.kind)?;
        let failed = failed_gates(&outcome);
        if !failed.is_empty() {
            return Ok(skipped(format!("version {version} stays the challenger; {failed}")));
        }
        let aliases = self.registry.aliases(name).await?;
        if aliases.champion == Some(version) || aliases.previous == Some(version) {
            return Ok(skipped(format!("version {version} was promoted before")));
        }
        context.check().await.map_err(stopped)?;
        promote(self.registry.as_ref(), name, Some(version), false).await?;
        Ok(Done { rows_out: 1, notes: Some(format!("version {version} serves")), ..Done::default() })
    }

    /// The plan and its rows; none where the run has nothing to do.
    async fn planned(&self, run: &Run) -> anyhow::Result<Option<(lake::Planned, Dataset)>> {
        let Some(plan) = run.plan()? else { return Ok(None) };
        let dataset = lake::read_again(&self.offline, &plan.manifest).await?;
        Ok(Some((plan, dataset)))
    }

    fn train_options(&self) -> &TrainOptions {
        self.kind.options(&self.options)
    }
}

/// A report of either kind.
enum Judged {
    Class(Box<Report>),
    Value(Box<ValueReport>),
}

impl Judged {
    fn rows(&self) -> u64 {
        match self {
            Judged::Class(report) => report.evaluation.rows as u64,
            Judged::Value(report) => report.evaluation.rows as u64,
        }
    }

    /// How good it is, and what failed.
    fn told(&self) -> String {
        let (text, gates) = match self {
            Judged::Class(report) => (
                format!(
                    "area under ROC {:.3}, average precision {:.3}",
                    report.evaluation.auc_roc, report.evaluation.average_precision
                ),
                &report.gates,
            ),
            Judged::Value(report) => (
                format!(
                    "R² {:.3}, rank correlation {:.3}",
                    report.evaluation.r2, report.evaluation.rank_correlation
                ),
                &report.gates,
            ),
        };
        let failed = gates.iter().filter(|gate| !gate.passed);
        failed.fold(text, |text, gate| format!("{text}; gate {} failed: {}", gate.name, gate.finding))
    }
}

/// Gates that failed, and by how much; empty where none did.
fn failed_gates(outcome: &Outcome) -> String {
    let failed = outcome.gates().iter().filter(|gate| !gate.passed);
    failed
        .map(|gate| format!("gate {} failed: {}", gate.name, gate.finding))
        .collect::<Vec<String>>()
        .join("; ")
}

/// Labels that are looked for in rows of a period that no model was judged by; of a number every row has one.
fn new_labels(kind: Kind, dataset: &Dataset, since: i64) -> usize {
    let rows = &dataset.rows;
    let is_new = |row: &usize| rows.time[*row] >= since && (kind.is_valued() || rows.label[*row]);
    (0..rows.len()).filter(is_new).count()
}

fn rows(dataset: &Dataset, notes: String) -> Done {
    let count = dataset.rows.len() as u64;
    Done { rows_in: count, rows_out: count, notes: Some(notes), ..Done::default() }
}

fn made(rows_in: u64, notes: &[String]) -> Done {
    let notes = Some(notes.join("; ")).filter(|notes| !notes.is_empty());
    Done { rows_in, rows_out: 1, notes, ..Done::default() }
}

fn skipped(why: impl Into<String>) -> Done {
    Done { skipped: true, notes: Some(why.into()), ..Done::default() }
}

fn too_few(new: u64, least: usize) -> Done {
    skipped(format!("{new} labels are new, {least} are waited for (learning.rows.new_labels_min)"))
}

fn nothing() -> Done {
    skipped("the task dataset found nothing to do")
}

fn stopped(error: WorkError) -> anyhow::Error {
    anyhow::Error::new(error)
}

/// Whether another attempt may help: where the lake or the registry did not answer.
fn failed(error: &anyhow::Error) -> WorkError {
    let passes = |cause: &(dyn std::error::Error + 'static)| {
        if let Some(error) = cause.downcast_ref::<HistoryError>() {
            return error.is_passing();
        }
        if let Some(error) = cause.downcast_ref::<WorkError>() {
            return error.retryable;
        }
        matches!(cause.downcast_ref::<RegistryError>(), Some(RegistryError::Unreachable { .. }))
    };
    WorkError { message: format!("{error:#}"), retryable: error.chain().any(passes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use affluent_learning::dataset::Rows;

    #[test]
    fn labels_are_new_that_no_model_was_judged_by() {
        let rows = Rows { time: vec![1, 2, 3, 4], label: vec![true, false, true, true], ..Rows::default() };
        let dataset = Dataset { rows, ..Dataset::default() };
        assert_eq!(new_labels(Kind::Churn, &dataset, i64::MIN), 3);
        assert_eq!(new_labels(Kind::Fraud, &dataset, 3), 2);
        assert_eq!(new_labels(Kind::Score, &dataset, 3), 2);
        assert_eq!(new_labels(Kind::Score, &dataset, i64::MIN), 4);
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        let unreachable =
            RegistryError::Unreachable { url: "u".to_owned(), attempts: 1, message: "m".to_owned() };
        assert!(failed(&anyhow::Error::new(unreachable).context("register")).retryable);
        assert!(!failed(&anyhow::anyhow!("no")).retryable);
        let lost = HistoryError::Stopped { message: "told to stop".to_owned(), retryable: true };
        assert!(failed(&anyhow::Error::new(lost)).retryable);
    }
}
