//! Reading the tables themselves, in chunks, beside the stream.
//!
//! A table (each of its partitions) is cut into ranges of pages, read by TID range scans in short
//! transactions by several workers. Every row carries the position where the table's stream starts,
//! with ordinal 0, so that any streamed change of it counts as newer (docs/adr/0002). A table without a
//! key is read in one snapshot instead ([`cut`]).
//!
//! Invariant: a chunk is finished only after Kafka has acknowledged its rows; a chunk that was begun
//! and not finished is read again without the rows that Kafka has. Without a key the table is emptied
//! downstream and read again as a whole.

mod chunk;
mod cut;
mod plan;

pub(crate) use cut::Cuts;

use super::catalog::Catalog;
use super::checkpoint::{SnapshotEntry, TableEntry};
use super::connect::address::Address;
use super::context::{Context, FillUntil};
use super::emit::Emitter;
use super::{CdcError, begin, slot};
use affluent_bus::registry::RegistryClient;
use affluent_bus::{Producer, TopicPartition};
use affluent_telemetry::health::Health;
use chunk::{ChunkReader, Outcome};
use cut::Exported;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What the workers need.
pub(crate) struct Workers {
    pub(crate) context: Context,
    pub(crate) address: Address,
    pub(crate) producer: Producer,
    pub(crate) registry: Option<RegistryClient>,
    pub(crate) health: Health,
}

/// A chunk to be read.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) oid: u32,
    pub(crate) generation: u32,
    pub(crate) chunk: u64,
    pub(crate) leaf: u32,
    pub(crate) filenode: u32,
    pub(crate) from_page: u32,
    /// Past the last page; none for the last chunk, which is open-ended.
    pub(crate) to_page: Option<u32>,
    /// What it is read in, where the table has no key.
    pub(crate) snapshot: Option<Arc<Exported>>,
}

#[derive(Default)]
struct Queue {
    jobs: Mutex<VecDeque<Job>>,
    added: Notify,
}

impl Queue {
    async fn next(&self) -> Job {
        loop {
            let added = self.added.notified();
            if let Some(job) = self.jobs.lock().pop_front() {
                return job;
            }
            added.await;
        }
    }
}

/// Where the stream's left-out values must be read from the table, from what was saved.
pub(crate) fn fill_until(tables: &BTreeMap<u32, TableEntry>) -> FillUntil {
    let until = |(&oid, entry): (&u32, &TableEntry)| {
        let snapshot = entry.snapshot.as_ref()?;
        Some((oid, snapshot.complete.unwrap_or(u64::MAX)))
    };
    Arc::new(Mutex::new(tables.iter().filter_map(until).collect()))
}

/// Reads the tables whose object ids arrive, until `ending`.
pub(crate) async fn run(
    workers: Workers,
    mut due: mpsc::UnboundedReceiver<u32>,
    ending: CancellationToken,
) -> Result<(), CdcError> {
    let queue = Arc::new(Queue::default());
    let (again, mut void) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    let reader = || {
        let (context, registry) = (workers.context.clone(), workers.registry.clone());
        let emitter =
            Emitter::new(workers.producer.clone(), &context.options, registry, workers.health.clone());
        ChunkReader::new(context, Catalog::new(workers.address.clone()), emitter)
    };
    let mut clearer = reader();
    for _ in 0..workers.context.options.snapshot.workers {
        tasks.spawn(work(reader(), Arc::clone(&queue), again.clone()));
    }
    loop {
        let oid = tokio::select! {
            Some(oid) = due.recv() => oid,
            Some(oid) = void.recv() => oid,
            Some(ended) = tasks.join_next() => match ended {
                Ok(result) => return result,
                Err(panic) => return Err(CdcError::Checkpoint(format!("a snapshot worker ended: {panic}"))),
            },
            () = ending.cancelled() => return Ok(()),
        };
        let jobs = tokio::select! {
            jobs = prepare(&mut clearer, &workers.address, oid) => jobs?,
            () = ending.cancelled() => return Ok(()),
        };
        queue.jobs.lock().extend(jobs);
        queue.added.notify_waiters();
    }
}

/// The chunks of a table that are to be read, after everything that was under way when it was asked
/// for has become visible.
async fn prepare(reader: &mut ChunkReader, address: &Address, oid: u32) -> Result<Vec<Job>, CdcError> {
    let context = reader.context.clone();
    let Some(entry) = context.checkpoints.table(oid).await else { return Ok(Vec::new()) };
    let Some(mut snapshot) = entry.snapshot.clone().filter(|snapshot| snapshot.complete.is_none()) else {
        return Ok(Vec::new());
    };
    slot::wait_for_running(reader.catalog.client().await?).await?;
    let all_read = !snapshot.leaves.is_empty() && plan::jobs(oid, &snapshot).is_empty();
    let exported = if all_read || reader.has_key(&entry.table, oid).await? {
        None
    } else {
        Some(Arc::new(cut(&context, address, oid, &entry, &mut snapshot).await?))
    };
    if snapshot.leaves.is_empty() {
        if snapshot.clear {
            reader.clear(oid).await?;
        }
        let chunk_rows = context.options.snapshot.chunk_rows;
        let leaves = plan::leaves(reader.catalog.client().await?, oid, chunk_rows).await?;
        snapshot.leaves.clone_from(&leaves);
        context.checkpoints.update_snapshot(oid, move |s| s.leaves = leaves).await?;
        tracing::info!(table = %entry.table, chunks = snapshot.chunks(), "snapshot begins");
    } else {
        let chunks = snapshot.chunks();
        tracing::info!(table = %entry.table, chunks, unfinished = snapshot.begun.len(), "snapshot goes on");
    }
    let mut jobs: Vec<Job> = plan::jobs(oid, &snapshot);
    if jobs.is_empty() {
        complete(&context, &mut reader.catalog, oid).await?;
    }
    jobs.iter_mut().for_each(|job| job.snapshot.clone_from(&exported));
    Ok(jobs)
}

/// Fixes where the stream of a table without a key takes over, and starts its reading there.
async fn cut(
    context: &Context,
    address: &Address,
    oid: u32,
    entry: &TableEntry,
    snapshot: &mut SnapshotEntry,
) -> Result<Exported, CdcError> {
    let taking = context.cuts.taking(oid);
    let exported = Exported::take(address).await?;
    let mut fresh = begin::due_snapshot(Some(snapshot), exported.lsn, snapshot.incremental);
    // Whatever the topic holds of the table, the new reading holds too.
    for partition in 0..entry.partitions {
        let partition = TopicPartition::new(entry.topic.as_str(), partition);
        let (low, high) = context.admin.watermarks(&partition).await?;
        fresh.clear |= high > low;
    }
    snapshot.clone_from(&fresh);
    context.checkpoints.update_snapshot(oid, move |s| *s = fresh).await?;
    taking.at(exported.lsn);
    Ok(exported)
}

async fn work(
    mut reader: ChunkReader,
    queue: Arc<Queue>,
    again: mpsc::UnboundedSender<u32>,
) -> Result<(), CdcError> {
    loop {
        let job = queue.next().await;
        match reader.read(&job).await? {
            Outcome::Superseded => {}
            Outcome::Finished => {
                let entry = reader.context.checkpoints.table(job.oid).await;
                let done = |s: &SnapshotEntry| plan::jobs(job.oid, s).is_empty() && s.complete.is_none();
                if entry.and_then(|e| e.snapshot).is_some_and(|s| done(&s)) {
                    complete(&reader.context, &mut reader.catalog, job.oid).await?;
                }
            }
            Outcome::Moved => {
                tracing::warn!(oid = job.oid, "the table was rewritten, its snapshot starts over");
                let void = |s: &mut SnapshotEntry| {
                    if s.generation == job.generation {
                        *s = begin::due_snapshot(Some(s), s.lsn, s.incremental);
                    }
                };
                reader.context.checkpoints.update_snapshot(job.oid, void).await?;
                let _ = again.send(job.oid);
            }
        }
    }
}

/// All chunks of a table are in Kafka.
async fn complete(context: &Context, catalog: &mut Catalog, oid: u32) -> Result<(), CdcError> {
    let end = slot::wal_end(catalog.client().await?).await?;
    context.checkpoints.update_snapshot(oid, |s| s.complete = s.complete.or(Some(end))).await?;
    let Some(entry) = context.checkpoints.table(oid).await else { return Ok(()) };
    let Some(snapshot) = entry.snapshot else { return Ok(()) };
    context.fill_until.lock().insert(oid, snapshot.complete.unwrap_or(end));
    tracing::info!(table = %entry.table, rows = snapshot.rows, "snapshot complete");
    Ok(())
}
