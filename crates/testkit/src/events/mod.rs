//! Simulated visitors and services: clicks and log lines sent to a collector over HTTP at a given rate,
//! by a client that behaves: it waits when it is told to, and sends again, under the same event ids,
//! whatever was not acknowledged.
//!
//! What is sent follows from the seed; ids and times are fresh. At the end [`Outcome`] knows which
//! events were acknowledged, so that any store can be held against it.

mod content;

use affluent_model::EventKind;
use content::Content;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Requests under way at the most.
const REQUESTS: usize = 16;
/// Events of one request at the most.
const BATCH: u64 = 500;
/// Between two requests, where the rate leaves a choice.
const PAUSE: Duration = Duration::from_millis(50);
/// Before a request is repeated.
const RETRY: Duration = Duration::from_millis(100);
/// An answer takes this long at the most.
const ANSWER: Duration = Duration::from_secs(10);

/// What is sent where, and how fast.
#[derive(Debug, Clone)]
pub struct EventsOptions {
    pub kind: EventKind,
    /// The collector's address, `http://127.0.0.1:8080`.
    pub url: String,
    /// Bearer token, where the collector asks for one.
    pub token: Option<String>,
    /// Events a second, at least 1.
    pub rate: u32,
    pub seed: u64,
    /// How long a request is repeated before it is given up.
    pub patience: Duration,
}

/// What a run has done so far; shared with whoever shows it.
#[derive(Debug, Default)]
pub struct EventsProgress {
    accepted: AtomicU64,
    told_to_wait: AtomicU64,
}

impl EventsProgress {
    /// Events that the collector has acknowledged.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Requests that the collector answered with 429 or 503.
    #[must_use]
    pub fn told_to_wait(&self) -> u64 {
        self.told_to_wait.load(Ordering::Relaxed)
    }
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    #[error("the collector refused events: {0}")]
    Refused(String),
    #[error("http client: {0}")]
    Client(#[from] reqwest::Error),
    #[error("a request's task: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// What became of everything that was sent.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Events that the collector answered for.
    pub acknowledged: Vec<Uuid>,
    /// Events that it never answered for; they may be stored all the same.
    pub unanswered: Vec<Uuid>,
    /// Events that were sent more than once.
    pub repeated: HashSet<Uuid>,
    /// Answers by status; 0 stands for none.
    pub answers: BTreeMap<u16, u64>,
    /// From the first request until the last acknowledgement, seconds.
    pub seconds: f64,
}

/// How a store differs from what was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Events in the store.
    pub stored: u64,
    /// Acknowledged, and not there.
    pub lost: u64,
    /// There more than once although sent once, or never sent.
    pub duplicated: u64,
}

impl Outcome {
    /// Holds the event ids of a store's rows against what was sent.
    #[must_use]
    pub fn compare(&self, ids: impl IntoIterator<Item = Uuid>) -> Verdict {
        let mut stored: HashMap<Uuid, u64> = HashMap::new();
        for id in ids {
            *stored.entry(id).or_default() += 1;
        }
        let lost = self.acknowledged.iter().filter(|id| !stored.contains_key(id)).count() as u64;
        let sent: HashSet<&Uuid> = self.acknowledged.iter().chain(&self.unanswered).collect();
        let beyond = |(id, count): (&Uuid, &u64)| match (sent.contains(id), self.repeated.contains(id)) {
            (true, true) => 0,
            (true, false) => count - 1,
            (false, _) => *count,
        };
        let duplicated = stored.iter().map(beyond).sum();
        Verdict { stored: stored.len() as u64, lost, duplicated }
    }

    fn add(&mut self, sent: Sent) {
        for answer in &sent.answers {
            *self.answers.entry(*answer).or_default() += 1;
        }
        if sent.answers.len() > 1 {
            self.repeated.extend(&sent.ids);
        }
        let kept = if sent.acknowledged { &mut self.acknowledged } else { &mut self.unanswered };
        kept.extend(sent.ids);
    }
}

/// One request with all its repetitions.
struct Sent {
    ids: Vec<Uuid>,
    acknowledged: bool,
    answers: Vec<u16>,
}

/// A load of events.
#[derive(Debug)]
pub struct Events {
    options: EventsOptions,
    progress: Arc<EventsProgress>,
}

impl Events {
    #[must_use]
    pub fn new(options: EventsOptions) -> Self {
        Events { options, progress: Arc::default() }
    }

    /// What the run has done so far.
    #[must_use]
    pub fn progress(&self) -> Arc<EventsProgress> {
        Arc::clone(&self.progress)
    }

    /// Sends until `shutdown`, then waits for what is under way.
    ///
    /// # Errors
    /// [`EventsError::Refused`] where the collector finds an event at fault.
    pub fn run(
        self,
        shutdown: CancellationToken,
    ) -> Pin<Box<dyn Future<Output = Result<Outcome, EventsError>> + Send>> {
        Box::pin(self.send(shutdown))
    }

    async fn send(self, shutdown: CancellationToken) -> Result<Outcome, EventsError> {
        let client = reqwest::Client::builder().pool_max_idle_per_host(REQUESTS).timeout(ANSWER).build()?;
        let path = match self.options.kind {
            EventKind::Clicks => "/collect/events",
            EventKind::Logs => "/collect/logs",
        };
        let EventsOptions { url, token, patience, .. } = &self.options;
        let post = Post { client, url: format!("{url}{path}"), token: token.clone(), patience: *patience };
        let mut content = Content::new(self.options.kind, SmallRng::seed_from_u64(self.options.seed));
        let permits = Arc::new(Semaphore::new(REQUESTS));
        let mut requests: JoinSet<Result<Sent, EventsError>> = JoinSet::new();
        let mut outcome = Outcome::default();
        let (begun, mut sent) = (Instant::now(), 0_u64);
        let mut tick = tokio::time::interval(PAUSE);
        while !shutdown.is_cancelled() {
            tokio::select! {
                _ = tick.tick() => {}
                () = shutdown.cancelled() => break,
            }
            let due = (begun.elapsed().as_secs_f64() * f64::from(self.options.rate)) as u64;
            while sent < due && !shutdown.is_cancelled() {
                let permit = tokio::select! {
                    permit = Arc::clone(&permits).acquire_owned() => permit,
                    () = shutdown.cancelled() => break,
                };
                let count = (due - sent).min(BATCH);
                sent += count;
                let (ids, body) = content.batch(count);
                let (post, progress) = (post.clone(), Arc::clone(&self.progress));
                requests.spawn(async move {
                    let _permit = permit;
                    let sent = post.until_taken(ids, body, &progress.told_to_wait).await?;
                    if sent.acknowledged {
                        progress.accepted.fetch_add(sent.ids.len() as u64, Ordering::Relaxed);
                    }
                    Ok(sent)
                });
            }
            while let Some(ended) = requests.try_join_next() {
                outcome.add(ended??);
            }
        }
        while let Some(ended) = requests.join_next().await {
            outcome.add(ended??);
        }
        outcome.seconds = begun.elapsed().as_secs_f64();
        Ok(outcome)
    }
}

#[derive(Clone)]
struct Post {
    client: reqwest::Client,
    url: String,
    token: Option<String>,
    patience: Duration,
}

impl Post {
    /// Sends until it is acknowledged, as long as patience lasts.
    async fn until_taken(
        &self,
        ids: Vec<Uuid>,
        body: String,
        told_to_wait: &AtomicU64,
    ) -> Result<Sent, EventsError> {
        let (begun, mut answers) = (Instant::now(), Vec::new());
        loop {
            let mut request = self.client.post(&self.url).header("content-type", "application/x-ndjson");
            if let Some(token) = &self.token {
                request = request.bearer_auth(token);
            }
            let status = match request.body(body.clone()).send().await {
                Ok(answer) => {
                    let status = answer.status().as_u16();
                    match (status, answer.text().await) {
                        (202, Ok(text)) if accepted(&text) == Some(ids.len() as u64) => {
                            answers.push(202);
                            return Ok(Sent { ids, acknowledged: true, answers });
                        }
                        (429 | 503, _) => {
                            told_to_wait.fetch_add(1, Ordering::Relaxed);
                            status
                        }
                        // Cut off behind the status: as good as no answer.
                        (_, Err(_)) => 0,
                        (_, Ok(text)) => return Err(EventsError::Refused(format!("{status}: {text}"))),
                    }
                }
                Err(_) => 0,
            };
            answers.push(status);
            if begun.elapsed() > self.patience {
                return Ok(Sent { ids, acknowledged: false, answers });
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

fn accepted(answer: &str) -> Option<u64> {
    serde_json::from_str::<serde_json::Value>(answer).ok()?["accepted"].as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_held_against_what_was_acknowledged() {
        let ids: Vec<Uuid> = (0..6).map(Uuid::from_u128).collect();
        let outcome = Outcome {
            acknowledged: ids[..4].to_vec(),
            unanswered: vec![ids[4]],
            repeated: HashSet::from([ids[1], ids[4]]),
            ..Outcome::default()
        };
        for (stored, expected) in [
            (vec![0, 1, 2, 3], (4, 0, 0)),
            // What was sent twice may be there twice; what was never answered may be there.
            (vec![0, 1, 1, 2, 3, 4], (5, 0, 0)),
            (vec![0, 1, 2, 2], (3, 1, 1)),
            (vec![0, 1, 2, 3, 5], (5, 0, 1)),
        ] {
            let verdict = outcome.compare(stored.iter().map(|&n| ids[n]));
            assert_eq!((verdict.stored, verdict.lost, verdict.duplicated), expected, "{stored:?}");
        }
    }
}
