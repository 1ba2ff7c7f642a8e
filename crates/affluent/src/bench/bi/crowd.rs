//! Fifty connections that ask one question after another.

use super::questions::{IS_WHOLE, QUESTIONS, rows};
use affluent_testkit::Database;
use std::time::Instant;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Connections at the same time.
pub(super) const CONNECTIONS: usize = 50;
/// Errors that are kept.
const ERRORS_KEPT: usize = 5;

/// What the connections met with.
#[derive(Debug, Default)]
pub(super) struct Met {
    pub(super) seconds: Vec<f64>,
    pub(super) errors: u64,
    /// The first of them.
    pub(super) said: Vec<String>,
    /// Answers that were of two versions.
    pub(super) halves: u64,
}

/// Asks until `stop`.
pub(super) async fn ask(database: Database, stop: CancellationToken) -> Met {
    let mut asking = JoinSet::new();
    for place in 0..CONNECTIONS {
        asking.spawn(one(database.clone(), place, stop.clone()));
    }
    let mut all = Met::default();
    for met in asking.join_all().await {
        all.seconds.extend(met.seconds);
        all.errors += met.errors;
        all.said.extend(met.said);
        all.halves += met.halves;
    }
    all.said.truncate(ERRORS_KEPT);
    all
}

/// One connection; each begins with another question.
async fn one(database: Database, place: usize, stop: CancellationToken) -> Met {
    let mut met = Met::default();
    let client = match database.connect().await {
        Ok(client) => client,
        Err(error) => return Met { errors: 1, said: vec![format!("connect: {error}")], ..met },
    };
    let questions = QUESTIONS.iter().map(|(_, text)| *text).chain([IS_WHOLE]);
    for question in questions.cycle().skip(place) {
        if stop.is_cancelled() {
            break;
        }
        let begun = Instant::now();
        match rows(&client, question).await {
            Ok(found) => {
                met.seconds.push(begun.elapsed().as_secs_f64());
                met.halves += u64::from(question == IS_WHOLE && found != ["t"]);
            }
            Err(error) => {
                met.errors += 1;
                met.said.push(match error.as_db_error() {
                    Some(told) => format!("{question}: {} ({})", told.message(), told.code().code()),
                    None => error.to_string(),
                });
                if client.is_closed() {
                    break;
                }
            }
        }
    }
    met
}
