//! From judged payments to records, scores, alerts and the payments database.
//!
//! What was judged waits until it is recorded and sent: by this process where it leads, by another one where it does not (then it is dropped, once
//! the other says how far it is). A leader that fails in between reads back what the topics hold, and sends the rest.
//!
//! In this order: the lease is checked, records are stored, what the stored records say is sent and acknowledged, and handed to the write-back; then the
//! progress moves.

use super::leader::{self, Lease, Led};
use super::outputs::Outputs;
use super::progress::{self, Offsets, Progress};
use super::recorded::{Before, record_all};
use super::waiting::{self, Waiting};
use super::write_back::{self, Queue};
use super::{Payments, ScoreOptions};
use crate::{Judge, Shadow, record};
use affluent_bus::registry::RegistryClient;
use affluent_bus::{Admin, Bus, BusError, TopicPartition};
use affluent_documents::{DocumentError, DocumentStore};
use affluent_feature_store::event::topic::Changes;
use affluent_feature_store::stream::{Followed, Follower, ends_of};
use affluent_model::time::now_micros;
use affluent_stream::cdc::CdcOptions;
use affluent_stream::sinks::SinkError;
use affluent_telemetry::health::{Health, State};
use affluent_telemetry::{failpoint, metrics_list};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// The role, in health and metrics.
const ROLE: &str = "score";
/// How often the progress is stored, and read by who does not lead.
const PROGRESS_PAUSE: Duration = Duration::from_secs(1);
/// A process is ready that neither leads nor was told to follow after this long: another one leads.
const STANDBY_AFTER: Duration = Duration::from_secs(10);

/// Why scoring ended.
#[derive(Debug, thiserror::Error)]
pub enum ScoresError {
    #[error("score: invalid options: {0}")]
    Options(String),
    #[error("score: {0}")]
    Bus(#[from] BusError),
    #[error("score: {0}")]
    Documents(#[from] DocumentError),
}

impl ScoresError {
    /// Whether it may pass by itself.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            ScoresError::Options(_) => false,
            ScoresError::Bus(error) => error.is_passing(),
            ScoresError::Documents(error) => error.is_passing(),
        }
    }
}

/// The scores of this process. Cheap to clone; one state.
#[derive(Clone)]
pub struct Scores {
    parts: Arc<Parts>,
    core: Arc<Mutex<Core>>,
}

/// What is needed to judge, record and send.
struct Parts {
    payments: Payments,
    judge: Judge,
    store: Arc<dyn DocumentStore>,
    bus: Bus,
    registry: RegistryClient,
    options: ScoreOptions,
    health: Health,
    queue: Queue,
}

struct Core {
    /// Where this process leads.
    lease: Option<Lease>,
    /// None until it is known what the topics hold.
    outputs: Option<Outputs>,
    waiting: Vec<Waiting>,
    /// The first offsets of the payments' topic that were not taken.
    taken: Offsets,
    progress: Progress,
    before: Before,
    /// When the progress was stored or read last, and whether it has moved since.
    looked: Instant,
    has_moved: bool,
}

impl Scores {
    /// Scores of these payments by `judge`, recorded in `store` and sent to `bus`.
    ///
    /// # Errors
    /// [`ScoresError::Options`].
    pub fn new(
        payments: Payments,
        judge: Judge,
        store: Arc<dyn DocumentStore>,
        bus: Bus,
        registry: RegistryClient,
        options: ScoreOptions,
        health: Health,
    ) -> Result<Self, ScoresError> {
        options.check().map_err(ScoresError::Options)?;
        let queue = Queue::new(options.write_back.waiting_max);
        let core = Core {
            lease: None,
            outputs: None,
            waiting: Vec::new(),
            taken: Offsets::new(),
            progress: Progress::default(),
            before: Before::new(),
            looked: Instant::now(),
            has_moved: false,
        };
        let parts = Parts { payments, judge, store, bus, registry, options, health, queue };
        Ok(Scores { parts: Arc::new(parts), core: Arc::new(Mutex::new(core)) })
    }

    /// Who takes payments from the stream of features.
    #[must_use]
    pub fn follower(&self) -> Box<dyn Follower> {
        Box::new(Payees {
            scores: self.clone(),
            changes: Changes::default(),
            next: Offsets::new(),
            since: i64::MAX,
            staged: Vec::new(),
        })
    }

    /// Takes part in leading, and writes back to `database` while this process leads, until `shutdown`. What is judged comes from the follower.
    ///
    /// # Errors
    /// [`ScoresError`]
    pub async fn run(
        &self,
        database: Option<CdcOptions>,
        shutdown: CancellationToken,
    ) -> Result<(), ScoresError> {
        let Parts { bus, store, options, health, queue, .. } = self.parts.as_ref();
        health.set(ROLE, State::Starting("joining the group of the leader".to_owned()));
        leader::ensure(&bus.admin()?, options.replication).await?;
        self.prepare().await?;
        let ending = shutdown.child_token();
        let working = async {
            let leading = async {
                let ended = leader::run(bus, &options.leader_group, &options.instance, self, &ending).await;
                ending.cancel();
                ended
            };
            let writing =
                write_back::run(queue, store.as_ref(), database, &options.write_back, health, &ending);
            tokio::join!(leading, writing).0
        };
        let standing_by = async {
            tokio::time::sleep(STANDBY_AFTER).await;
            health.set(ROLE, State::Ready);
            std::future::pending::<()>().await;
        };
        let ended = tokio::select! {
            ended = working => ended,
            () = standing_by => Ok(()),
        };
        self.core.lock().await.lease = None;
        health.set(ROLE, State::Stopped);
        ended.map_err(ScoresError::from)
    }

    /// Makes the collections.
    async fn prepare(&self) -> Result<(), DocumentError> {
        let Parts { store, options, .. } = self.parts.as_ref();
        progress::ensure(store.as_ref()).await?;
        store.ensure(&record::collection(options.ttl_days)).await
    }

    async fn settle(&self) -> Result<(), SinkError> {
        self.core.lock().await.settle(&self.parts).await
    }
}

#[async_trait]
impl Led for Scores {
    async fn lead(&self, lease: Lease) {
        let mut core = self.core.lock().await;
        (core.lease, core.outputs) = (Some(lease), None);
        self.parts.queue.read_again();
        drop(core);
        self.parts.health.set(ROLE, State::Ready);
        self.again().await;
    }

    async fn follow(&self) {
        let mut core = self.core.lock().await;
        (core.lease, core.outputs) = (None, None);
        self.parts.queue.forget();
        drop(core);
        self.parts.health.set(ROLE, State::Ready);
    }

    async fn again(&self) {
        if let Err(error) = self.settle().await {
            tracing::warn!(%error, "scores wait, trying again");
        }
    }
}

impl Core {
    /// Does what is to be done with what waits.
    async fn settle(&mut self, parts: &Parts) -> Result<(), SinkError> {
        if self.lease.is_none() {
            return self.follow(parts).await;
        }
        let sent = self.send(parts).await;
        if sent.is_err() {
            // What of it has been sent is found in the topics.
            self.outputs = None;
        }
        sent
    }

    /// Drops what the leader has recorded and sent.
    async fn follow(&mut self, parts: &Parts) -> Result<(), SinkError> {
        if !self.waiting.is_empty() && self.looked.elapsed() >= PROGRESS_PAUSE {
            self.progress = progress::load(parts.store.as_ref()).await?;
            self.looked = Instant::now();
            self.waiting.retain(|waiting| !waiting.is_covered(&self.progress.covered));
        }
        if self.waiting.len() > parts.options.waiting_max {
            return Err(SinkError::Passing(
                "the process that records scores is behind, or is not there".into(),
            ));
        }
        Ok(())
    }

    async fn send(&mut self, parts: &Parts) -> Result<(), SinkError> {
        let Some(lease) = &self.lease else { return Ok(()) };
        let is_due = self.has_moved && self.looked.elapsed() >= PROGRESS_PAUSE;
        if self.waiting.is_empty() && self.outputs.is_some() && !is_due {
            return Ok(());
        }
        lease.check().await.map_err(|error| SinkError::Passing(error.to_string()))?;
        let outputs = match &mut self.outputs {
            Some(outputs) => outputs,
            none @ None => {
                self.progress = progress::load(parts.store.as_ref()).await?;
                let Parts { bus, registry, options, .. } = parts;
                none.insert(Outputs::open(bus, registry, options, &self.progress.ends).await?)
            }
        };
        // A leader before may have been ahead.
        self.waiting.retain(|waiting| !waiting.is_covered(&self.progress.covered));
        failpoint("score::before_records");
        let repeats = record_all(&mut self.waiting, parts.store.as_ref(), &self.before).await?;
        failpoint("score::after_records");
        let begun = || self.waiting.iter().map(|waiting| &waiting.begun_at);
        let now = now_micros();
        metrics_list::pipeline_latencies(ROLE, "score", now, begun());
        let followed = self.waiting.iter().filter_map(Waiting::followed);
        metrics_list::pipeline_exemplars(ROLE, "score", now, followed);
        for (waiting, is_repeat) in self.waiting.iter().zip(&repeats) {
            if !is_repeat {
                outputs.send(waiting).await?;
                let model = waiting.record.model.as_ref().map_or("none", |model| &model.name);
                metrics_list::scored(model, waiting.record.decision.as_str());
                if let Some(Shadow { model, decision, .. }) = waiting.record.compared() {
                    let champion = waiting.record.decision.as_str();
                    metrics_list::shadowed(&model.name, model.version, champion, decision.as_str());
                }
            }
        }
        outputs.flush().await?;
        failpoint("score::after_outputs");
        let now = now_micros();
        metrics_list::pipeline_latencies(ROLE, "end_to_end", now, begun());
        let followed = self.waiting.iter().filter_map(Waiting::followed);
        metrics_list::pipeline_exemplars(ROLE, "end_to_end", now, followed);
        for waiting in &self.waiting {
            if let Some(trace) = &waiting.trace {
                trace.finished(&waiting.record);
            }
        }
        // A repeat was handed on when it first appeared; its score may be as old as it likes.
        let mut repeats = repeats.into_iter();
        self.waiting.retain(|_| !repeats.next().unwrap_or_default());
        parts.queue.put(&self.waiting);
        self.waiting.clear();
        self.has_moved |= advance(&mut self.progress.covered, &self.taken);
        outputs.forget(&self.progress.covered);
        // As long as another leader was ahead, what it has sent has to be found again.
        if self.has_moved && self.looked.elapsed() >= PROGRESS_PAUSE && outputs.is_ahead() {
            self.progress.ends = outputs.ends().await?;
            progress::save(parts.store.as_ref(), &self.progress).await?;
            (self.looked, self.has_moved) = (Instant::now(), false);
        }
        failpoint("score::after_progress");
        Ok(())
    }
}

/// Takes over what is further on; whether anything is.
fn advance(covered: &mut Offsets, taken: &Offsets) -> bool {
    let mut has_moved = false;
    for (partition, next) in taken {
        let known = covered.entry(partition.clone()).or_default();
        has_moved |= *known < *next;
        *known = (*known).max(*next);
    }
    has_moved
}

/// Takes out the offsets of which it is true.
fn take_out(offsets: &mut Offsets, is_out: impl Fn(&TopicPartition, i64) -> bool) -> Offsets {
    let of_all = std::mem::take(offsets).into_iter();
    let (out, kept) = of_all.partition(|(partition, next)| is_out(partition, *next));
    *offsets = kept;
    out
}

/// Takes payments from the stream, judges them, and has them recorded and sent.
struct Payees {
    scores: Scores,
    changes: Changes,
    /// The first offset that was not taken.
    next: Offsets,
    /// Payments that were committed earlier are history, microseconds UTC.
    since: i64,
    staged: Vec<Followed>,
}

#[async_trait]
impl Follower for Payees {
    fn source(&self) -> &str {
        super::SOURCE
    }

    async fn begin(&mut self, admin: &Admin) -> Result<(), SinkError> {
        let Parts { store, options, .. } = self.scores.parts.as_ref();
        self.scores.prepare().await?;
        let backlog = i64::try_from(options.backlog_s).unwrap_or(i64::MAX).saturating_mul(1_000_000);
        self.since = progress::began(store.as_ref()).await?.saturating_sub(backlog);
        let mut core = self.scores.core.lock().await;
        let mut stored = progress::load(store.as_ref()).await?;
        // What this process has taken already waits, or is covered.
        let mut taken = core.taken.clone();
        advance(&mut taken, &stored.covered);
        let ends = ends_of(admin, taken.keys().cloned().collect()).await;
        let ends = ends.map_err(|error| SinkError::Passing(error.to_string()))?;
        // A topic that was made anew, or has lost its end, ends before what was taken of it: what is there now is read from its beginning.
        let gone = take_out(&mut taken, |partition, next| ends.get(partition).is_some_and(|end| *end < next));
        let mut sent = take_out(&mut stored.covered, |partition, _| gone.contains_key(partition));
        if !gone.is_empty() {
            tracing::warn!("the topic of payments ends before what is scored: it is read from its beginning");
            progress::save(store.as_ref(), &stored).await?;
        }
        core.taken = taken;
        let ahead = take_out(&mut core.progress.covered, |partition, _| gone.contains_key(partition));
        advance(&mut sent, &ahead);
        let noticed = now_micros();
        core.before.extend(sent.into_iter().map(|(partition, next)| (partition, (next, noticed))));
        self.next.clone_from(&core.taken);
        Ok(())
    }

    fn next(&self, partition: &TopicPartition) -> Option<i64> {
        let is_ours = self.scores.parts.payments.topic() == Some(&*partition.topic);
        is_ours.then(|| self.next.get(partition).copied().unwrap_or(0))
    }

    fn take(&mut self, followed: Followed) {
        if followed.change.source.ts_us >= self.since {
            self.staged.push(followed);
        }
    }

    async fn settle(&mut self, read: &BTreeMap<TopicPartition, i64>) -> Result<(), SinkError> {
        let parts = &self.scores.parts;
        let (mut judged, mut is_slow) = (Vec::with_capacity(self.staged.len()), false);
        for followed in self.staged.drain(..) {
            let Parts { payments, judge, store, .. } = parts.as_ref();
            let (changes, store) = (&mut self.changes, store.as_ref());
            judged.push(waiting::judged(followed, payments, changes, judge, store, &mut is_slow).await);
        }
        for (partition, next) in read {
            if parts.payments.topic() == Some(&*partition.topic) {
                let known = self.next.entry(partition.clone()).or_default();
                *known = (*known).max(*next);
            }
        }
        let mut core = self.scores.core.lock().await;
        let Core { waiting, taken, .. } = &mut *core;
        // What has no id is no payment: it is in the dead letters.
        let is_new = |judged: &Waiting| !judged.is_covered(taken) && !judged.record.transaction_id.is_empty();
        waiting.extend(judged.into_iter().filter(is_new));
        advance(taken, &self.next);
        core.settle(parts).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_taken_over_and_out() {
        let at = |offsets: &[(i32, i64)]| -> Offsets {
            offsets.iter().map(|(number, next)| (TopicPartition::new("t", *number), *next)).collect()
        };
        let mut covered = at(&[(0, 5), (1, 5)]);
        assert!(!advance(&mut covered, &at(&[(0, 4), (1, 5)])));
        assert!(advance(&mut covered, &at(&[(0, 7), (2, 1)])));
        assert_eq!(take_out(&mut covered, |_, next| next > 5), at(&[(0, 7)]));
        assert_eq!(covered, at(&[(1, 5), (2, 1)]));
    }
}
