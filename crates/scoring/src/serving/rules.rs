//! The file of rules, looked at again and again.
//!
//! Invariant: a file with a mistake never leaves payments without rules: those before it stay, also over a start of the process, by a copy.

use super::telling::Look;
use crate::judge::Judge;
use crate::rules::{RulesError, RulesText};
use affluent_telemetry::metrics_list as metrics;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

const WHAT: &str = "rules";

/// Where rules are read from.
pub(super) struct RulesFile {
    judge: Judge,
    /// Empty: those that are shipped.
    file: PathBuf,
    /// The copy of the rules that counted last.
    copy: PathBuf,
    state: State,
    looks: watch::Sender<Look>,
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
    Refused { version: Arc<str>, problem: String },
    /// The file cannot be read; the message that was told.
    Broken(String),
}

impl RulesFile {
    pub(super) fn new(judge: Judge, file: PathBuf, copy: PathBuf) -> Self {
        RulesFile { judge, file, copy, state: State::New, looks: watch::Sender::new(Look::Never) }
    }

    /// What looks come to.
    pub(super) fn looks(&self) -> watch::Receiver<Look> {
        self.looks.subscribe()
    }

    pub(super) fn has_rules(&self) -> bool {
        self.judge.has_rules()
    }

    /// What is wrong with the file, if anything is.
    pub(super) fn problem(&self) -> Option<&str> {
        match &self.state {
            State::Refused { problem, .. } | State::Broken(problem) => Some(problem),
            State::New | State::InPlace | State::Changed(_) => None,
        }
    }

    pub(super) async fn refresh(&mut self) {
        self.look().await;
        let look = match &self.state {
            State::New | State::Changed(_) => return,
            State::InPlace => Look::Good,
            State::Refused { problem, .. } | State::Broken(problem) => {
                if !self.judge.has_rules() {
                    self.restore().await;
                }
                Look::Bad(problem.clone())
            }
        };
        self.looks.send_if_modified(|before| {
            let is_new = *before != look;
            *before = look;
            is_new
        });
    }

    async fn look(&mut self) {
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
            State::Refused { version: refused, problem } if *refused == version => {
                State::Refused { version, problem: problem.clone() }
            }
            State::Changed(before) if *before == version => self.take(text).await,
            State::New => self.take(text).await,
            State::Changed(_) | State::Refused { .. } | State::InPlace | State::Broken(_) => {
                State::Changed(version)
            }
        }
    }

    /// Checks rules, puts them in place and keeps a copy.
    async fn take(&self, text: RulesText) -> State {
        let (version, vocabulary) = (Arc::clone(text.version()), self.judge.vocabulary().clone());
        let copy = self.copy.clone();
        let checked = tokio::task::spawn_blocking(move || {
            let kept = text.clone();
            let rules = text.check(&vocabulary)?;
            if let Err(error) = kept.keep(&copy) {
                tracing::error!(%error, "rules count, but no copy is kept: with a mistake in their file nothing could start");
            }
            Ok::<_, RulesError>(rules)
        });
        let Ok(checked) = checked.await else { return State::Changed(version) };
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
                State::Refused { version, problem: error.to_string() }
            }
        }
    }

    /// Puts those in place that counted last; nothing, where there is no copy or it is of other features.
    async fn restore(&self) {
        let (copy, vocabulary) = (self.copy.clone(), self.judge.vocabulary().clone());
        let restored = tokio::task::spawn_blocking(move || RulesText::kept(&copy)?.check(&vocabulary)).await;
        match restored {
            Ok(Ok(rules)) => {
                tracing::warn!(version = %rules.version(), "the rules that counted last are in place");
                self.judge.set_rules(Arc::new(rules));
            }
            Ok(Err(error)) => tracing::debug!(%error, "there are no rules that counted last"),
            Err(_) => {}
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
