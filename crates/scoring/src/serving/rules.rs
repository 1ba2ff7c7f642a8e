//! The file of rules, looked at again and again.

use crate::judge::Judge;
use crate::rules::{RulesError, RulesText};
use affluent_telemetry::metrics_list as metrics;
use std::path::PathBuf;
use std::sync::Arc;

const WHAT: &str = "rules";

/// Where rules are read from.
pub(super) struct RulesFile {
    judge: Judge,
    /// Empty: those that are shipped.
    file: PathBuf,
    state: State,
}

/// What the last look found.
enum State {
    /// Nobody has looked yet.
    New,
    /// These rules judge.
    InPlace,
    /// Other rules: they are taken once they are the same twice, so that a file is not read while it is being written.
    Changed(Arc<str>),
    /// Rules of this version have a mistake.
    Refused(Arc<str>),
    /// The file cannot be read; the message that was told.
    Broken(String),
}

impl RulesFile {
    pub(super) fn new(judge: Judge, file: PathBuf) -> Self {
        RulesFile { judge, file, state: State::New }
    }

    pub(super) async fn refresh(&mut self) {
        if self.file.as_os_str().is_empty() {
            if matches!(self.state, State::New) {
                self.state = match RulesText::shipped() {
                    Ok(text) => self.take(text).await,
                    Err(error) => self.broken(&error),
                };
            }
            return;
        }
        let file = self.file.clone();
        let read = tokio::task::spawn_blocking(move || RulesText::read(&file)).await;
        // A task that was stopped with its runtime says nothing.
        let Ok(read) = read else { return };
        self.state = match read {
            Ok(text) => self.found(text).await,
            Err(error) => self.broken(&error),
        };
    }

    async fn found(&self, text: RulesText) -> State {
        let version = Arc::clone(text.version());
        match &self.state {
            _ if version == self.judge.rules_version() => {
                metrics::scoring_stale(WHAT, false);
                State::InPlace
            }
            State::Refused(refused) if *refused == version => State::Refused(version),
            State::Changed(before) if *before == version => self.take(text).await,
            State::New => self.take(text).await,
            State::Changed(_) | State::Refused(_) | State::InPlace | State::Broken(_) => {
                State::Changed(version)
            }
        }
    }

    /// Checks rules and puts them in place.
    async fn take(&self, text: RulesText) -> State {
        let (version, vocabulary) = (Arc::clone(text.version()), self.judge.vocabulary().clone());
        let checked = tokio::task::spawn_blocking(move || text.check(&vocabulary)).await;
        let Ok(checked) = checked else { return State::Changed(version) };
        match checked {
            Ok(rules) => {
                tracing::info!(%version, rules = rules.len(), "rules are in place");
                self.judge.set_rules(Arc::new(rules));
                metrics::scoring_reload(WHAT, "ok");
                metrics::scoring_stale(WHAT, false);
                State::InPlace
            }
            Err(error) => {
                refused(&self.judge, &error);
                State::Refused(version)
            }
        }
    }

    fn broken(&self, error: &RulesError) -> State {
        let message = error.to_string();
        if !matches!(&self.state, State::Broken(told) if *told == message) {
            refused(&self.judge, error);
        }
        State::Broken(message)
    }
}

fn refused(judge: &Judge, error: &RulesError) {
    let kept = judge.rules_version();
    tracing::error!(%error, %kept, "rules are refused, those before them stay");
    metrics::scoring_reload(WHAT, "refused");
    metrics::scoring_stale(WHAT, true);
}
