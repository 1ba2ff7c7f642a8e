//! What was found is kept, exported and told: the report and what stands in files under the data directory, `drift_score`, the topic `ops.alerts`.
//!
//! Invariant: what stands is written only once the alerts are acknowledged, so that each is told at least once.

use crate::whole_file::replace;
use affluent_bus::{Alerts, Bus};
use affluent_learning::drift::{Change, Level, Standing, Watched};
use affluent_learning::report::drift;
use affluent_model::{Alert, AlertState, Severity};
use affluent_telemetry::metrics_list;
use anyhow::Context as _;
use std::path::{Path, PathBuf};

const REPORT: &str = "report.json";
const STANDING: &str = "standing.json";

/// The folder of a model's drift.
pub(super) struct Place(PathBuf);

impl Place {
    pub(super) fn of(data_dir: &Path, model: &str) -> Self {
        Place(data_dir.join("drift").join(model))
    }

    /// The report of the last run; none before the first.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(super) fn report(&self) -> anyhow::Result<Option<Watched>> {
        self.read(REPORT)
    }

    /// Keeps the report, for machines and people.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub(super) fn keep(&self, watched: &Watched) -> anyhow::Result<()> {
        write_report(&self.0, watched)
    }

    fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> anyhow::Result<Option<T>> {
        let path = self.0.join(name);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        serde_json::from_str(&text).map(Some).with_context(|| format!("read {}", path.display()))
    }

    /// Tells what has changed since the last run, and keeps what stands now. The alerts that were told.
    ///
    /// # Errors
    /// A broker that does not answer: what stands is as before, and the next run tells it.
    pub(super) async fn tell(
        &self,
        watched: &Watched,
        bus: &Bus,
        now: i64,
        calm_runs: u32,
    ) -> anyhow::Result<Vec<Alert>> {
        let before: Standing = self.read(STANDING)?.unwrap_or_default();
        let (next, changes) = before.observe(&watched.subjects(), now, calm_runs);
        let alerts: Vec<Alert> = changes.iter().map(|change| alert(watched, change)).collect();
        Alerts::new(bus.clone()).send(&alerts).await.context("send the alerts to ops.alerts")?;
        replace(&self.0, STANDING, &serde_json::to_string_pretty(&next)?)?;
        Ok(alerts)
    }
}

/// Writes `report.json` and `report.html` into a folder.
///
/// # Errors
/// Files that cannot be written.
pub(super) fn write_report(folder: &Path, watched: &Watched) -> anyhow::Result<()> {
    replace(folder, REPORT, &serde_json::to_string_pretty(watched)?)?;
    replace(folder, "report.html", &drift::html(watched))
}

/// Exports every measure.
pub(super) fn export(watched: &Watched) {
    for (feature, test, value) in watched.scores() {
        metrics_list::drift_score(&watched.model, &feature, test, value);
    }
}

fn alert(watched: &Watched, change: &Change) -> Alert {
    let labels = [
        ("model", watched.model.clone()),
        ("version", watched.version.to_string()),
        ("feature", change.subject.clone()),
    ];
    Alert {
        rule: format!("drift.{}.{}", watched.model, change.subject),
        severity: match change.level {
            Level::Alarm => Severity::Critical,
            Level::Warn | Level::Stable => Severity::Warning,
        },
        state: if change.is_firing { AlertState::Firing } else { AlertState::Resolved },
        labels: labels.map(|(name, value)| (name.to_owned(), value)).into(),
        value: change.value,
        since: change.since,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_back_and_there_are_none_before_the_first_run() {
        let home = tempfile::tempdir().unwrap();
        let place = Place::of(home.path(), "fraud");
        assert!(place.report().unwrap().is_none());
        replace(&place.0, STANDING, "{\"alerts\": {}}").unwrap();
        replace(&place.0, STANDING, "{\"alerts\": {}}").unwrap();
        assert_eq!(place.read::<Standing>(STANDING).unwrap(), Some(Standing::default()));
        replace(&place.0, REPORT, "{").unwrap();
        assert!(place.report().unwrap_err().to_string().contains("report.json"));
    }
}
