//! `affluent config check --connect`: every connection and permission that the configuration needs, tried one after the other.
//!
//! What is tried where lives beside this; here is what a trial says. Invariants: nothing of the user's is changed (a topic and an empty
//! collection of our own are the traces, where there are any), every trial ends in time, no secret is printed.

mod bus;
mod files;
mod source;
mod stores;

use super::Config;
use crate::cli::Format;
use crate::output::{self, Exit};
use futures::future::LocalBoxFuture;
use serde::Serialize;
use serde_json::json;
use std::fmt::Display;
use std::time::Duration;

/// A trial that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(45);

/// How a trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Ok,
    /// It works; something is to be known.
    Advice,
    Failed,
    /// Nothing is configured that could be tried.
    Skipped,
}

/// One thing that was tried.
#[derive(Debug, Serialize)]
struct Trial {
    /// The section of the configuration, or what it is about.
    part: &'static str,
    outcome: Outcome,
    what: String,
    /// What to do; empty where there is nothing.
    remedy: String,
}

impl Trial {
    fn ok(part: &'static str, what: impl Into<String>) -> Self {
        Trial { part, outcome: Outcome::Ok, what: what.into(), remedy: String::new() }
    }

    fn skipped(part: &'static str, why: impl Into<String>) -> Self {
        Trial { part, outcome: Outcome::Skipped, what: why.into(), remedy: String::new() }
    }

    fn advice(part: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Trial { part, outcome: Outcome::Advice, what: what.into(), remedy: remedy.into() }
    }

    fn failed(part: &'static str, what: impl Display, remedy: impl Into<String>) -> Self {
        Trial { part, outcome: Outcome::Failed, what: what.to_string(), remedy: remedy.into() }
    }
}

/// Tries everything, and prints what came of it. 1 where something failed.
///
/// # Errors
/// When the outcome has no JSON form.
pub(super) async fn run(config: &Config, format: Format) -> anyhow::Result<Exit> {
    let mut trials = files::trials(config);
    let connections: [(&'static str, LocalBoxFuture<'_, Vec<Trial>>); 9] = [
        ("cdc", Box::pin(source::trials(config))),
        ("score", Box::pin(source::write_back(config))),
        ("bus", Box::pin(bus::bus(config))),
        ("registry", Box::pin(bus::registry(config))),
        ("documents", Box::pin(stores::documents(config))),
        ("lake", Box::pin(stores::lake(config))),
        ("learning", Box::pin(stores::models(config))),
        ("bi.publish", Box::pin(stores::copies(config))),
        ("telemetry", Box::pin(stores::traces(config))),
    ];
    for (part, connection) in connections {
        trials.extend(limited(part, connection).await);
    }
    let has_failed = trials.iter().any(|trial| trial.outcome == Outcome::Failed);
    match format {
        Format::Text => output::print(&to_text(&trials)),
        Format::Json => output::print_json(&json!({"ok": !has_failed, "trials": trials}))?,
    }
    Ok(if has_failed { Exit::Failed } else { Exit::Done })
}

/// What the trial says, or that it did not end.
async fn limited(part: &'static str, trial: LocalBoxFuture<'_, Vec<Trial>>) -> Vec<Trial> {
    match tokio::time::timeout(LIMIT, trial).await {
        Ok(trials) => trials,
        Err(_) => vec![Trial::failed(
            part,
            format!("no answer within {LIMIT:?}"),
            "is something listening there that speaks this protocol, and does a firewall drop what is sent?",
        )],
    }
}

/// A line a trial, with what to do below it.
fn to_text(trials: &[Trial]) -> String {
    let rows = trials.iter().map(|trial| {
        let outcome = match trial.outcome {
            Outcome::Ok => "ok",
            Outcome::Advice => "note",
            Outcome::Failed => "FAILED",
            Outcome::Skipped => "-",
        };
        vec![outcome.to_owned(), trial.part.to_owned(), trial.what.replace('\n', " ")]
    });
    let table = output::table(&["", "", ""], rows);
    let mut text = String::new();
    // The first line is that of the headers, which are empty.
    for (line, trial) in table.lines().skip(1).zip(trials) {
        text += &format!("{line}\n");
        if !trial.remedy.is_empty() {
            text += &format!("        -> {}\n", trial.remedy.replace('\n', " "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_stands_below_what_failed() {
        let trials = [
            Trial::ok("cdc", "PostgreSQL 17.2"),
            Trial::failed("bus", "not\nreached", "start it"),
            Trial::skipped("registry", "the built-in one"),
        ];
        let expected = "ok      cdc       PostgreSQL 17.2\n\
                        FAILED  bus       not reached\n        -> start it\n\
                        -       registry  the built-in one\n";
        assert_eq!(to_text(&trials), expected);
    }
}
