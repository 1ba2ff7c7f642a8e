//! The checked configuration of the scheduler: section `[schedule]`.

use crate::calendar::{Calendar, CalendarError};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// The pipeline of every quarter of an hour, and the key of its section.
pub const RAW_TO_DWH: &str = "raw-to-dwh";
/// The nightly pipeline.
pub const REBUILD: &str = "rebuild";
/// The pipelines that materialise features, by how fresh these are to be.
pub const FEATURES_5M: &str = "features-5m";
pub const FEATURES_1H: &str = "features-1h";
pub const FEATURES_NIGHTLY: &str = "features-nightly";
/// The pipeline that computes a sample of served features once more.
pub const FEATURES_PARITY: &str = "features-parity";

/// The pipelines that train models.
pub const TRAIN_FRAUD: &str = "train-fraud";
pub const TRAIN_CHURN: &str = "train-churn";
pub const TRAIN_SCORE: &str = "train-score";
/// The pipeline that looks whether what models see has moved.
pub const DRIFT: &str = "drift";

/// A day, in seconds.
const DAY_S: u64 = 86_400;
/// The longest time that any key may give.
const LONGEST_S: u64 = 366 * DAY_S;

/// When pipelines run, how often they are tried, and what is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleOptions {
    /// SQLite file of the run ledger.
    pub ledger: PathBuf,
    /// IANA name of the time zone in which cron lines are read.
    pub time_zone: String,
    /// How often the ledger is looked at, milliseconds.
    pub poll_ms: u64,
    /// A run whose process went silent for so many seconds is lost and done again.
    pub lease_s: u64,
    /// Attempts of a task within a run.
    pub task_attempts: u32,
    /// First and longest pause between attempts, milliseconds; pauses double, and vary by a half.
    pub retry_first_ms: u64,
    pub retry_max_ms: u64,
    /// A task that is told to stop has so many milliseconds to do so.
    pub stop_grace_ms: u64,
    /// Runs of an interval by schedule, after which it is left to a person.
    pub run_attempts: u32,
    /// Pause after a run that failed, before the next one of its interval, seconds.
    pub rerun_s: u64,
    /// History is kept for so many days, and at most so many runs.
    pub keep_days: u32,
    pub keep_runs: u32,
    /// Most intervals that one backfill may have.
    pub backfill_max: usize,
    /// The pipeline [`RAW_TO_DWH`].
    pub raw_to_dwh: PipelineOptions,
    /// The pipeline [`REBUILD`].
    pub rebuild: PipelineOptions,
    /// The pipeline [`FEATURES_5M`].
    pub features_5m: PipelineOptions,
    /// The pipeline [`FEATURES_1H`].
    pub features_1h: PipelineOptions,
    /// The pipeline [`FEATURES_NIGHTLY`].
    pub features_nightly: PipelineOptions,
    /// The pipeline [`FEATURES_PARITY`].
    pub features_parity: PipelineOptions,
    /// The pipelines [`TRAIN_FRAUD`], [`TRAIN_CHURN`] and [`TRAIN_SCORE`].
    pub train_fraud: PipelineOptions,
    pub train_churn: PipelineOptions,
    pub train_score: PipelineOptions,
    /// The pipeline [`DRIFT`].
    pub drift: PipelineOptions,
}

/// When one pipeline runs, and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipelineOptions {
    /// Minute, hour, day, month, weekday; empty: only on demand.
    pub cron: String,
    /// Most intervals that are made up for after a pause; older ones are reported and left out.
    pub catchup_max: usize,
    /// Runs at the same time.
    pub runs_max: usize,
    /// Runs of all pipelines that give the same name exclude one another. Empty: only runs of this pipeline
    /// whose intervals overlap do.
    #[serde(default)]
    pub lock: String,
    /// A task that takes longer than this many seconds raises an alert; 0: none does.
    pub task_slow_s: u64,
    /// A task that takes longer than this many seconds is stopped, which counts as a failed attempt.
    pub task_limit_s: u64,
    /// An interval that is not done so many seconds after its end raises an alert; 0: none does.
    pub deadline_s: u64,
}

impl Default for ScheduleOptions {
    fn default() -> Self {
        ScheduleOptions {
            ledger: PathBuf::from("data/schedule.db"),
            time_zone: "UTC".to_owned(),
            poll_ms: 1000,
            lease_s: 30,
            task_attempts: 3,
            retry_first_ms: 1000,
            retry_max_ms: 60_000,
            stop_grace_ms: 10_000,
            run_attempts: 3,
            rerun_s: 60,
            keep_days: 90,
            keep_runs: 100_000,
            backfill_max: 10_000,
            raw_to_dwh: PipelineOptions {
                cron: "*/15 * * * *".to_owned(),
                catchup_max: 96,
                runs_max: 1,
                lock: "warehouse".to_owned(),
                task_slow_s: 300,
                task_limit_s: 3600,
                deadline_s: 900,
            },
            rebuild: PipelineOptions {
                cron: "30 2 * * *".to_owned(),
                catchup_max: 1,
                runs_max: 1,
                lock: "warehouse".to_owned(),
                task_slow_s: 3600,
                task_limit_s: 14_400,
                deadline_s: 14_400,
            },
            features_5m: features("*/5 * * * *", 12, 300, 900, 600),
            features_1h: features("0 * * * *", 24, 1800, 3600, 3600),
            features_nightly: features("30 3 * * *", 7, 3600, 14_400, 14_400),
            train_fraud: training("0 4 * * *"),
            train_churn: training("0 5 * * 1"),
            train_score: training("30 5 * * 1"),
            features_parity: PipelineOptions {
                lock: String::new(),
                ..features("15 * * * *", 1, 600, 1800, 0)
            },
            drift: PipelineOptions { lock: String::new(), ..features("45 4 * * *", 1, 1800, 7200, 0) },
        }
    }
}

/// Pipelines of features write the same tables, so they have one lock.
fn features(
    cron: &str,
    catchup_max: usize,
    task_slow_s: u64,
    task_limit_s: u64,
    deadline_s: u64,
) -> PipelineOptions {
    let (cron, lock) = (cron.to_owned(), "features".to_owned());
    PipelineOptions { cron, catchup_max, runs_max: 1, lock, task_slow_s, task_limit_s, deadline_s }
}

/// Models are trained one after the other, so that they share no memory.
fn training(cron: &str) -> PipelineOptions {
    PipelineOptions { lock: "training".to_owned(), ..features(cron, 1, 1800, 7200, 0) }
}

impl ScheduleOptions {
    /// Refuses values that cannot work, naming the key.
    ///
    /// # Errors
    /// The key, what is wrong with it, and what to do.
    pub fn check(&self) -> Result<(), String> {
        for (key, value, min, max) in [
            ("poll_ms", self.poll_ms, 10, 60_000),
            ("lease_s", self.lease_s, 1, DAY_S),
            ("task_attempts", u64::from(self.task_attempts), 1, 100),
            ("retry_first_ms", self.retry_first_ms, 1, DAY_S * 1000),
            ("retry_max_ms", self.retry_max_ms, self.retry_first_ms, DAY_S * 1000),
            ("stop_grace_ms", self.stop_grace_ms, 0, 3_600_000),
            ("run_attempts", u64::from(self.run_attempts), 1, 100),
            ("rerun_s", self.rerun_s, 0, DAY_S),
            ("keep_days", u64::from(self.keep_days), 1, 36_500),
            ("keep_runs", u64::from(self.keep_runs), 1000, 10_000_000),
            ("backfill_max", self.backfill_max as u64, 1, 1_000_000),
        ] {
            within(key, value, min, max)?;
        }
        Calendar::new("@daily", &self.time_zone).map_err(|error| format!("time_zone: {error}"))?;
        if self.ledger.as_os_str().is_empty() {
            return Err("ledger is empty; name the SQLite file of the run ledger".to_owned());
        }
        for (section, options) in [
            ("raw_to_dwh", &self.raw_to_dwh),
            ("rebuild", &self.rebuild),
            ("features_5m", &self.features_5m),
            ("features_1h", &self.features_1h),
            ("features_nightly", &self.features_nightly),
            ("features_parity", &self.features_parity),
            ("train_fraud", &self.train_fraud),
            ("train_churn", &self.train_churn),
            ("train_score", &self.train_score),
            ("drift", &self.drift),
        ] {
            options.check(&self.time_zone).map_err(|problem| format!("{section}.{problem}"))?;
        }
        Ok(())
    }

    pub(crate) fn poll(&self) -> Duration {
        Duration::from_millis(self.poll_ms)
    }

    pub(crate) fn keep(&self) -> Duration {
        Duration::from_secs(u64::from(self.keep_days) * DAY_S)
    }
}

impl PipelineOptions {
    fn check(&self, time_zone: &str) -> Result<(), String> {
        for (key, value, min, max) in [
            ("catchup_max", self.catchup_max as u64, 1, 10_000),
            ("runs_max", self.runs_max as u64, 1, 64),
            ("task_slow_s", self.task_slow_s, 0, LONGEST_S),
            ("task_limit_s", self.task_limit_s, 1, LONGEST_S),
            ("deadline_s", self.deadline_s, 0, LONGEST_S),
        ] {
            within(key, value, min, max)?;
        }
        if self.runs_max > 1 && !self.lock.is_empty() {
            return Err(format!(
                "runs_max = {} has no effect while lock = \"{}\" lets one run at a time; set lock = \"\", or runs_max = 1",
                self.runs_max, self.lock
            ));
        }
        self.calendar(time_zone).map_err(|error| format!("cron: {error}"))?;
        Ok(())
    }

    /// The calendar, where there is one.
    pub(crate) fn calendar(&self, time_zone: &str) -> Result<Option<Calendar>, CalendarError> {
        match self.cron.as_str() {
            "" => Ok(None),
            line => Calendar::new(line, time_zone).map(Some),
        }
    }

    /// The time after which a task is slow.
    pub(crate) fn task_slow(&self) -> Option<Duration> {
        Some(Duration::from_secs(self.task_slow_s)).filter(|slow| !slow.is_zero())
    }

    pub(crate) fn task_limit(&self) -> Duration {
        Duration::from_secs(self.task_limit_s)
    }

    /// After its end an interval has so many microseconds to be done.
    pub(crate) fn deadline_us(&self) -> Option<i64> {
        Some(self.deadline_s).filter(|seconds| *seconds > 0).map(|seconds| seconds.cast_signed() * 1_000_000)
    }
}

fn within(key: &str, value: u64, min: u64, max: u64) -> Result<(), String> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(format!("{key} = {value} must be from {min} to {max}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_by_key() {
        assert_eq!(ScheduleOptions::default().check(), Ok(()));
        type Change = fn(&mut ScheduleOptions);
        let cases: &[(Change, &str)] = &[
            (|o| o.lease_s = 0, "lease_s = 0"),
            (|o| o.retry_max_ms = 1, "retry_max_ms = 1"),
            (|o| o.time_zone = "Mars/Olympus".into(), "time_zone: there is no time zone `Mars/Olympus`"),
            (|o| o.rebuild.cron = "at night".into(), "rebuild.cron: `at night` is not a cron line"),
            (|o| o.raw_to_dwh.catchup_max = 0, "raw_to_dwh.catchup_max = 0"),
            (|o| o.raw_to_dwh.runs_max = 4, "runs_max = 4 has no effect"),
        ];
        for (change, said) in cases {
            let mut options = ScheduleOptions::default();
            change(&mut options);
            let problem = options.check().unwrap_err();
            assert!(problem.contains(said), "{problem}");
        }
        let options = PipelineOptions { cron: String::new(), ..ScheduleOptions::default().rebuild };
        assert!(options.calendar("UTC").unwrap().is_none());
    }
}
