//! What the page of dead letters shows, and sending them again.

use super::{Done, Posted, Visitor, page};
use crate::dead_letters::{REASONS, printable};
use crate::http::options::Access;
use crate::http::{Problem, Route, Shared};
use affluent_console::dead_letters::{self as pages, Asked, Letter, Letters, Opened, SHOWN_MAX};
use affluent_console::frame::Section;
use affluent_model::Reason;
use affluent_stream::dead_letters::{DeadLetters, Filter, Listed};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::time::Duration;

/// The bus has this long to show letters, and to take them again.
const SHOW_PATIENCE: Duration = Duration::from_secs(15);
const REPLAY_PATIENCE: Duration = Duration::from_secs(120);

/// Which letters: of a query or of a form. What is absent or empty does not restrict.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Which {
    id: String,
    topic: String,
    stage: String,
    reason: String,
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route { path: "/console/dead-letters", roles: &[Access::Read], handler: get(show) },
        Route { path: pages::REPLAY, roles: &[Access::Admin], handler: post(replay) },
    ]
}

async fn show(
    State(shared): State<Shared>,
    which: Result<Query<Which>, QueryRejection>,
    visitor: Visitor,
) -> Result<Response, Problem> {
    let Query(which) = which.map_err(|error| Problem::bad_request(error.body_text()))?;
    let _turn = shared.console.letters.try_acquire().map_err(|_| Problem::busy())?;
    let (letters, filter) = (letters(&shared)?, which.filter()?);
    let listed = tokio::time::timeout(SHOW_PATIENCE, letters.list(&filter)).await.map_err(|_| late())?;
    let listed = listed.map_err(unavailable)?;
    if !which.id.is_empty() {
        let opened = listed.first().map(opened);
        return Ok(page(pages::opened(&visitor.viewer, opened.as_ref())));
    }
    let model = Letters {
        asked: Asked { topic: which.topic, stage: which.stage, reason: which.reason },
        reasons: REASONS.iter().map(|reason| reason.code().to_owned()).collect(),
        matching: listed.len(),
        letters: listed.iter().take(SHOWN_MAX).map(letter).collect(),
    };
    Ok(page(pages::page(&visitor.viewer, &model)))
}

async fn replay(
    State(shared): State<Shared>,
    Posted(which, visitor): Posted<Which>,
) -> Result<Response, Problem> {
    let (letters, filter) = (letters(&shared)?, which.filter()?);
    let replaying = async {
        // Nobody closes it.
        let _turn = shared.console.letters.acquire().await;
        letters.replay(&filter).await
    };
    let replayed = tokio::time::timeout(REPLAY_PATIENCE, Box::pin(replaying)).await;
    let outcome = match replayed {
        Ok(Ok(outcome)) if outcome.not_replayable.is_empty() => {
            Ok(format!("{} sent again", outcome.replayed))
        }
        Ok(Ok(outcome)) => Err(format!(
            "{} sent again; {} never reached Kafka and cannot be",
            outcome.replayed,
            outcome.not_replayable.len()
        )),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(late().detail().to_owned()),
    };
    let subject = if which.id.is_empty() { "dead letters" } else { which.id.as_str() };
    let done = Done { action: "dead_letters.replay", subject, outcome, back: Section::DeadLetters.path() };
    Ok(done.tell(&shared, &visitor).await)
}

impl Which {
    /// # Errors
    /// 400 for a reason that there is not.
    fn filter(&self) -> Result<Filter, Problem> {
        let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let reason = given(&self.reason).map(|code| {
            Reason::from_code(&code)
                .ok_or_else(|| Problem::bad_request(format!("there is no reason {code:?}")))
        });
        let ids: BTreeSet<String> = given(&self.id).into_iter().collect();
        Ok(Filter { topic: given(&self.topic), stage: given(&self.stage), reason: reason.transpose()?, ids })
    }
}

fn letters(shared: &Shared) -> Result<DeadLetters, Problem> {
    DeadLetters::new(shared.platform.bus().clone()).map_err(unavailable)
}

fn unavailable(error: impl Display) -> Problem {
    Problem::unavailable(format!("the bus does not show its dead letters: {error}"))
}

fn late() -> Problem {
    Problem::unavailable("the bus does not answer in time; what was sent again by now is not listed any more")
}

fn letter(listed: &Listed) -> Letter {
    let letter = &listed.letter;
    Letter {
        id: listed.id.clone(),
        stage: letter.stage.clone(),
        reason: letter.reason.code().to_owned(),
        first_seen: letter.first_seen,
        error: letter.error.clone(),
    }
}

fn opened(listed: &Listed) -> Opened {
    let original = &listed.letter;
    let shown = |bytes: &Vec<u8>| printable(bytes);
    Opened {
        letter: letter(listed),
        is_replayable: original.partition >= 0,
        key: original.key.as_ref().map(shown),
        value: original.value.as_ref().map(shown),
        headers: original.headers.iter().map(|(name, value)| (name.clone(), shown(value))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_empty_does_not_restrict() {
        assert_eq!(Which::default().filter().unwrap(), Filter::default());
        let which = Which { id: "t/0/1".to_owned(), reason: "refused".to_owned(), ..Which::default() };
        let filter = which.filter().unwrap();
        assert_eq!((filter.reason, filter.ids.len(), filter.topic), (Some(Reason::Refused), 1, None));
        let wrong = Which { reason: "bad".to_owned(), ..Which::default() };
        assert_eq!(wrong.filter().unwrap_err().status().as_u16(), 400);
    }
}
