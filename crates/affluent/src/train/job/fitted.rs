//! The tasks that learn, and those that fill the report.

use super::TrainJob;
use super::done::{Done, made, nothing, stopped};
use crate::train::champion;
use crate::train::state::Run;
use affluent_learning::train::{Judge, JudgeValue, Report, ValueReport, fit, fit_value};
use affluent_schedule::RunContext;

impl TrainJob {
    pub(super) async fn fit(&self, run: &Run, context: &RunContext) -> anyhow::Result<Done> {
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
    pub(super) async fn judge(&self, task: &str, run: &Run, context: &RunContext) -> anyhow::Result<Done> {
        let Some((plan, dataset)) = self.planned(run).await? else { return Ok(nothing()) };
        let scratch = tempfile::Builder::new().prefix("affluent-model_").tempdir()?;
        let champion = match task {
            "compare" => champion(&self.registry, self.kind, scratch.path()).await?,
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
