//! What a run of training keeps between its tasks: a folder of an interval, so that each task may be a process of its own, on this machine.
//!
//! | file | written by | |
//! |---|---|---|
//! | `plan.json` | `dataset` | periods, and the manifest by which the rows are read again |
//! | `model/`, `found.json` | `fit` | the model, and what was found beside it |
//! | `report.json` | `evaluate`, `validate`, `compare`, `drift` | the report as far as it is |
//! | `registered.json` | `register` | the version |
//!
//! Invariant: a file is there whole or not at all; one that a task has written is replaced by the same task alone, or by one after it.

use super::kind::{Kind, Outcome};
use super::lake::Planned;
use affluent_learning::fit::Model;
use affluent_learning::train::{Fitted, FittedValue, Trained, TrainedValue};
use affluent_schedule::Interval;
use anyhow::Context as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const PLAN: &str = "plan.json";
const FOUND: &str = "found.json";
const REPORT: &str = "report.json";
const REGISTERED: &str = "registered.json";
const MODEL: &str = "model";

/// The version that a run has registered.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Registered {
    pub(super) version: u64,
}

/// The folders of all runs of a model.
#[derive(Debug, Clone)]
pub(super) struct Runs {
    folder: PathBuf,
}

impl Runs {
    pub(super) fn new(data_dir: &Path, kind: Kind) -> Self {
        Runs { folder: data_dir.join("training").join(kind.name()) }
    }

    pub(super) fn of(&self, interval: Interval) -> Run {
        Run { folder: self.folder.join(format!("{}_{}", interval.from_us(), interval.to_us())) }
    }

    /// The plan of the newest run before `interval` that came to a registered model.
    pub(super) fn before(&self, interval: Interval) -> anyhow::Result<Option<Planned>> {
        for (_, run) in self.all()?.into_iter().filter(|(end, _)| *end < interval.to_us()) {
            if run.registered()?.is_some()
                && let Some(plan) = run.plan()?
            {
                return Ok(Some(plan));
            }
        }
        Ok(None)
    }

    /// The runs that are kept, and the others: `current`, the newest `most`, and the newest that came to a registered model, from which new labels
    /// are counted.
    pub(super) fn divided(&self, current: &Run, most: usize) -> anyhow::Result<(Vec<Run>, Vec<Run>)> {
        let (mut kept, mut old, mut has_model) = (Vec::new(), Vec::new(), false);
        for (nth, (_, run)) in self.all()?.into_iter().enumerate() {
            let is_newest_model = !has_model && run.registered()?.is_some();
            has_model |= is_newest_model;
            let is_kept = nth < most || is_newest_model || run.folder == current.folder;
            let list = if is_kept { &mut kept } else { &mut old };
            list.push(run);
        }
        Ok((kept, old))
    }

    /// All runs with the ends of their intervals, the newest first.
    fn all(&self) -> anyhow::Result<Vec<(i64, Run)>> {
        let list = match std::fs::read_dir(&self.folder) {
            Ok(list) => list,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| format!("read {}", self.folder.display())),
        };
        let mut runs = Vec::new();
        for entry in list {
            let folder = entry.with_context(|| format!("read {}", self.folder.display()))?.path();
            let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let end = name.split_once('_').and_then(|(_, to)| to.parse::<i64>().ok());
            runs.extend(end.map(|end| (end, Run { folder })));
        }
        runs.sort_by_key(|(end, _)| std::cmp::Reverse(*end));
        Ok(runs)
    }
}

/// The folder of one run.
#[derive(Debug, Clone)]
pub(super) struct Run {
    folder: PathBuf,
}

impl Run {
    pub(super) fn plan(&self) -> anyhow::Result<Option<Planned>> {
        self.get(PLAN)
    }

    pub(super) fn put_plan(&self, plan: &Planned) -> anyhow::Result<()> {
        self.put(PLAN, plan)
    }

    pub(super) fn registered(&self) -> anyhow::Result<Option<Registered>> {
        self.get(REGISTERED)
    }

    pub(super) fn put_registered(&self, version: u64) -> anyhow::Result<()> {
        self.put(REGISTERED, &Registered { version })
    }

    pub(super) fn put_fitted(&self, fitted: &Fitted) -> anyhow::Result<()> {
        self.put_model(&fitted.model)?;
        self.put(FOUND, &fitted.found)
    }

    pub(super) fn put_fitted_value(&self, fitted: &FittedValue) -> anyhow::Result<()> {
        self.put_model(&fitted.model)?;
        self.put(FOUND, &fitted.found)
    }

    pub(super) fn fitted(&self) -> anyhow::Result<Fitted> {
        Ok(Fitted { found: self.need(FOUND, "fit")?, model: self.model()? })
    }

    pub(super) fn fitted_value(&self) -> anyhow::Result<FittedValue> {
        Ok(FittedValue { found: self.need(FOUND, "fit")?, model: self.model()? })
    }

    pub(super) fn put_report<T: Serialize>(&self, report: &T) -> anyhow::Result<()> {
        self.put(REPORT, report)
    }

    pub(super) fn report<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        self.need(REPORT, "evaluate")
    }

    /// Model and report together.
    pub(super) fn outcome(&self, kind: Kind) -> anyhow::Result<Outcome> {
        let model = self.model()?;
        Ok(if kind.is_valued() {
            Outcome::Value(Box::new(TrainedValue { model, report: self.report()? }))
        } else {
            Outcome::Class(Box::new(Trained { model, report: self.report()? }))
        })
    }

    /// Takes all away that the run has left.
    pub(super) fn remove(&self) -> anyhow::Result<()> {
        match std::fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("delete {}", self.folder.display()))
            }
            _ => Ok(()),
        }
    }

    fn put_model(&self, model: &Model) -> anyhow::Result<()> {
        let folder = self.folder.join(MODEL);
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(model.write(&folder)?)
    }

    fn model(&self) -> anyhow::Result<Model> {
        Ok(Model::read(&self.folder.join(MODEL))?)
    }

    fn need<T: DeserializeOwned>(&self, name: &str, task: &str) -> anyhow::Result<T> {
        let found = self.get(name)?;
        found.with_context(|| {
            format!("{} is not there: run the task {task} first", self.folder.join(name).display())
        })
    }

    fn get<T: DeserializeOwned>(&self, name: &str) -> anyhow::Result<Option<T>> {
        let path = self.folder.join(name);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        let value = serde_json::from_str(&text).with_context(|| format!("read {}", path.display()))?;
        Ok(Some(value))
    }

    /// Written beside, and renamed into place.
    fn put<T: Serialize>(&self, name: &str, value: &T) -> anyhow::Result<()> {
        let path = self.folder.join(name);
        let what = || format!("write {}", path.display());
        std::fs::create_dir_all(&self.folder).with_context(what)?;
        let beside = self.folder.join(format!(".{name}"));
        std::fs::write(&beside, serde_json::to_string_pretty(value)?).with_context(what)?;
        std::fs::File::open(&beside).and_then(|file| file.sync_all()).with_context(what)?;
        std::fs::rename(&beside, &path).with_context(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use affluent_learning::DAY;
    use affluent_learning::dataset::{Dataset, Manifest};
    use affluent_learning::split::{Period, Protocol};

    fn interval(day: i64) -> Interval {
        Interval::new(day * DAY, (day + 1) * DAY).unwrap()
    }

    fn plan(day: i64) -> Planned {
        let period = |from: i64| Period { from: from * DAY, to: (from + 1) * DAY };
        let protocol = Protocol { train: period(day - 9), test: period(day), delay: 7 * DAY };
        let manifest = Manifest::of(&Dataset::default(), "features.training_x".to_owned(), 0);
        Planned { protocol, manifest, notes: Vec::new() }
    }

    #[test]
    fn the_run_before_is_the_newest_that_came_to_a_model() {
        let home = tempfile::tempdir().unwrap();
        let runs = Runs::new(home.path(), Kind::Churn);
        assert!(runs.before(interval(30)).unwrap().is_none());
        for (day, is_registered) in [(10, true), (12, true), (14, false), (31, true)] {
            let run = runs.of(interval(day));
            run.put_plan(&plan(day)).unwrap();
            if is_registered {
                run.put_registered(u64::try_from(day).unwrap()).unwrap();
            }
        }
        let before = runs.before(interval(30)).unwrap().unwrap();
        assert_eq!(before.protocol, plan(12).protocol);
        assert_eq!(runs.of(interval(12)).registered().unwrap().unwrap().version, 12);
        let error = runs.of(interval(14)).fitted().unwrap_err().to_string();
        assert!(error.contains("run the task fit first"), "{error}");
    }
    #[test]
    fn old_runs_go_but_not_the_newest_that_came_to_a_model() {
        let home = tempfile::tempdir().unwrap();
        let runs = Runs::new(home.path(), Kind::Fraud);
        assert_eq!(runs.divided(&runs.of(interval(1)), 2).unwrap().0.len(), 0);
        for (day, is_registered) in [(10, true), (11, true), (12, false), (13, false), (14, false)] {
            let run = runs.of(interval(day));
            run.put_plan(&plan(day)).unwrap();
            if is_registered {
                run.put_registered(1).unwrap();
            }
        }
        let days = |of: &[Run]| -> Vec<i64> {
            of.iter().map(|run| run.plan().unwrap().unwrap().protocol.test.from / DAY).collect()
        };
        let (kept, old) = runs.divided(&runs.of(interval(14)), 2).unwrap();
        assert_eq!((days(&kept), days(&old)), (vec![14, 13, 11], vec![12, 10]));
        // A run of long ago that is done again stays as long as it is at work.
        let (kept, old) = runs.divided(&runs.of(interval(10)), 2).unwrap();
        assert_eq!((days(&kept), days(&old)), (vec![14, 13, 11, 10], vec![12]));
        old[0].remove().unwrap();
        old[0].remove().unwrap();
        assert!(runs.of(interval(12)).plan().unwrap().is_none() && runs.all().unwrap().len() == 4);
    }
}
