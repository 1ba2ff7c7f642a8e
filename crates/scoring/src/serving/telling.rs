//! That rules are refused, and that they no longer are, told to `ops.alerts`.
//!
//! What fires is kept in a file, so that a process that is started again knows of it. Invariant: it is kept only once the broker has acknowledged the
//! alert, so that each change is told at least once.

use affluent_bus::{Alerts, Bus, BusError};
use affluent_model::time::now_micros;
use affluent_model::{Alert, AlertState, Severity};
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::watch;

/// After a broker that does not answer.
const RETRY: Duration = Duration::from_secs(5);
/// Characters of a problem that are told.
const PROBLEM_MAX: usize = 500;
const PROBLEM: &str = "problem";

/// What a look at the rules came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Look {
    Never,
    Good,
    /// What is wrong.
    Bad(String),
}

/// Tells.
pub(super) struct Telling {
    alerts: Alerts,
    /// The alert that fires.
    file: PathBuf,
    rule: String,
    looks: watch::Receiver<Look>,
}

/// Why something could not be told.
#[derive(Debug, thiserror::Error)]
pub(super) enum TellError {
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error("keep what was told: {0}")]
    File(#[from] io::Error),
}

impl Telling {
    /// Of the process `instance`: another one may have another file.
    pub(super) fn new(bus: Bus, instance: &str, file: PathBuf, looks: watch::Receiver<Look>) -> Self {
        Telling { alerts: Alerts::new(bus), file, rule: format!("scoring.rules.{instance}"), looks }
    }

    /// Tells every change, as long as somebody looks.
    pub(super) async fn run(mut self) {
        loop {
            if let Err(error) = self.tell().await {
                tracing::warn!(%error, "an alert of rules is not told, trying again");
                tokio::time::sleep(RETRY).await;
            } else if self.looks.changed().await.is_err() {
                return;
            }
        }
    }

    /// Tells what has changed since it was told last.
    ///
    /// # Errors
    /// [`TellError`]: nothing is noted, it is told again.
    pub(super) async fn tell(&mut self) -> Result<(), TellError> {
        let look = self.looks.borrow_and_update().clone();
        let before = match tokio::fs::read(&self.file).await {
            Ok(text) => serde_json::from_slice(&text).ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let Some(alert) = change(before, &look, &self.rule, now_micros()) else { return Ok(()) };
        self.alerts.send(std::slice::from_ref(&alert)).await?;
        match alert.state {
            AlertState::Firing => {
                if let Some(folder) = self.file.parent() {
                    tokio::fs::create_dir_all(folder).await?;
                }
                let text = serde_json::to_vec(&alert).map_err(io::Error::from)?;
                tokio::fs::write(&self.file, text).await?;
            }
            AlertState::Resolved => tokio::fs::remove_file(&self.file).await?,
        }
        Ok(())
    }
}

/// What is to be told, where this was told before.
fn change(before: Option<Alert>, look: &Look, rule: &str, now: i64) -> Option<Alert> {
    match (before, look) {
        (_, Look::Never) | (None, Look::Good) => None,
        (Some(before), Look::Good) => Some(Alert { state: AlertState::Resolved, value: 0.0, ..before }),
        (before, Look::Bad(problem)) => {
            let problem: String = problem.chars().take(PROBLEM_MAX).collect();
            if before.as_ref().is_some_and(|before| before.labels.get(PROBLEM) == Some(&problem)) {
                return None;
            }
            Some(Alert {
                rule: rule.to_owned(),
                severity: Severity::Critical,
                state: AlertState::Firing,
                labels: [(PROBLEM.to_owned(), problem)].into(),
                value: 1.0,
                since: before.map_or(now, |before| before.since),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_told_once() {
        let of =
            |before: Option<&Alert>, look: &Look, now| change(before.cloned(), look, "scoring.rules.a", now);
        let bad = |problem: &str| Look::Bad(problem.to_owned());
        assert_eq!(of(None, &Look::Never, 1), None);
        assert_eq!(of(None, &Look::Good, 1), None);
        let first = of(None, &bad("x"), 5).unwrap();
        assert_eq!((first.state, first.since, first.labels[PROBLEM].as_str()), (AlertState::Firing, 5, "x"));
        assert_eq!(of(Some(&first), &bad("x"), 6), None, "it was told");
        assert_eq!(of(Some(&first), &Look::Never, 6), None, "nobody knows yet");
        let other = of(Some(&first), &bad("y"), 6).unwrap();
        assert_eq!((other.since, other.labels[PROBLEM].as_str()), (5, "y"));
        let over = of(Some(&other), &Look::Good, 7).unwrap();
        assert_eq!((over.state, over.since, over.rule), (AlertState::Resolved, 5, first.rule));
        let long = of(None, &bad(&"ä".repeat(2_000)), 1).unwrap();
        assert_eq!(long.labels[PROBLEM].chars().count(), PROBLEM_MAX);
    }
}
