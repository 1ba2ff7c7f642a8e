//! One run of a source: from connecting to the first fault or to shutdown.
//!
//! The slot is taken before anything is read back from Kafka, so that of two processes only one
//! goes on. All tasks of a run end with it.

use super::acks::Acks;
use super::begin::{self, Begun};
use super::catalog::Catalog;
use super::connect::address::Address;
use super::connect::replication::{Batch, Frame, ReaderOptions, spawn_reader};
use super::connect::wire::Wire;
use super::connect::{quote_ident, quote_literal};
use super::context::Context;
use super::decode::pgoutput::{Message, decode};
use super::emit::{Emitter, ROLE};
use super::protect::Protector;
use super::publish::Publisher;
use super::spill::Spill;
use super::{CdcError, CdcOptions, checkpoint, slot, snapshot, upkeep};
use crate::dead_letters;
use affluent_bus::registry::RegistryClient;
use affluent_bus::{Bus, Producer, ProducerOptions};
use affluent_model::names::TOPIC_DEAD_LETTERS;
use affluent_telemetry::health::{Health, State};
use affluent_telemetry::{failpoint, metrics_list};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long what was sent may take to be acknowledged at shutdown.
const DRAIN: Duration = Duration::from_secs(5);

/// A configured source. What outlives a run: whether the ways out of a mismatch were used.
pub(crate) struct Source {
    options: Arc<CdcOptions>,
    address: Address,
    bus: Bus,
    registry: Option<RegistryClient>,
    health: Health,
    protector: Arc<Protector>,
    spill_directory: PathBuf,
    /// `--accept-gap` and `--resnapshot` count once.
    pub(crate) accept_gap: bool,
    pub(crate) resnapshot: bool,
}

impl Source {
    pub(crate) fn new(
        options: CdcOptions,
        bus: Bus,
        registry: Option<RegistryClient>,
        health: Health,
    ) -> Result<Self, CdcError> {
        options.check()?;
        if options.format == affluent_bus::codec::Format::Avro && registry.is_none() {
            return Err(CdcError::Config("cdc.format: `avro` needs a schema registry (registry.url)".into()));
        }
        let address = Address::parse(&options.connection)?;
        address.tls()?;
        let protector = Arc::new(Protector::new(options.protect.clone(), options.protect_key.as_deref()));
        let base = options.spill_dir.clone().filter(|path| !path.as_os_str().is_empty());
        let base = base.unwrap_or_else(|| std::env::temp_dir().join("affluent-spill"));
        let spill_directory = base.join(format!("{}-{}", options.source, options.slot));
        let (accept_gap, resnapshot) = (options.accept_gap, options.resnapshot);
        let options = Arc::new(options);
        Ok(Source {
            options,
            address,
            bus,
            registry,
            health,
            protector,
            spill_directory,
            accept_gap,
            resnapshot,
        })
    }

    /// Runs until `shutdown` (then `Ok`) or the first fault.
    pub(crate) async fn run(&mut self, shutdown: &CancellationToken) -> Result<(), CdcError> {
        let ending = CancellationToken::new();
        let guard = ending.clone().drop_guard();
        let result = tokio::select! {
            started = self.start(&ending) => match started {
                Ok(running) => running.stream(shutdown).await,
                Err(error) => Err(error),
            },
            () = shutdown.cancelled() => return Ok(()),
        };
        drop(guard);
        result
    }

    async fn start(&mut self, ending: &CancellationToken) -> Result<Running, CdcError> {
        let options = Arc::clone(&self.options);
        self.health.set(ROLE, State::Starting(format!("connecting to {}", self.address.display())));
        let admin = self.bus.admin()?;
        let mut catalog = Catalog::new(self.address.clone());
        slot::check_server(catalog.client().await?).await?;
        let timeout = slot::wal_sender_timeout(catalog.client().await?).await?;

        admin.ensure_topic(TOPIC_DEAD_LETTERS, &dead_letters::topic_spec()).await?;
        let mut wire = Wire::connect(&self.address).await?;
        let background = self.bus.producer(producer_options())?;
        let begun = begin::begin(self, &options, &admin, &background, &mut catalog, &mut wire).await?;
        let Begun { checkpoints, identity, acked, planned } = begun;

        let start = format!(
            "START_REPLICATION SLOT {} LOGICAL 0/0 (proto_version '2', publication_names {}, messages 'true', \
             streaming 'on')",
            options.slot,
            quote_literal(&quote_ident(&options.publication)),
        );
        wire.copy_both(&start).await?;
        // Another process may have held the slot until now.
        let now = checkpoint::load(&admin, &options.source, options.replication).await?;
        if now.acked != acked || now.identity.as_ref() != Some(&identity) {
            return Err(CdcError::Checkpoint("another process wrote the checkpoints meanwhile".into()));
        }

        let (saved, saved_receiver) = watch::channel(acked);
        let reader = ReaderOptions {
            queue_bytes: options.queue_bytes,
            status_interval: (timeout / 3).clamp(Duration::from_millis(100), Duration::from_secs(10)),
        };
        let reading = CancellationToken::new();
        let batches = spawn_reader(wire, reader, saved_receiver, reading.clone());

        let context = Context {
            source: options.source.as_str().into(),
            database: identity.database.as_str().into(),
            shift: identity.shift,
            options: Arc::clone(&options),
            admin,
            checkpoints,
            protector: Arc::clone(&self.protector),
            fill_until: snapshot::fill_until(&now.tables),
            cuts: snapshot::Cuts::of(&now.tables),
        };
        let producer = self.bus.producer(producer_options())?;
        let acks = Arc::new(Acks::default());
        let emitter = Emitter::new(producer.clone(), &options, self.registry.clone(), self.health.clone());
        let publisher = Publisher::new(context.clone(), catalog, emitter, Arc::clone(&acks)).await?;

        let mut tasks = JoinSet::new();
        let (plans, planned_receiver) = mpsc::unbounded_channel();
        for oid in planned {
            let _ = plans.send(oid);
        }
        let workers = snapshot::Workers {
            context: context.clone(),
            address: self.address.clone(),
            producer: background,
            registry: self.registry.clone(),
            health: self.health.clone(),
        };
        tasks.spawn(snapshot::run(workers, planned_receiver, ending.clone()));
        tasks.spawn(upkeep::run(
            context.clone(),
            self.address.clone(),
            self.health.clone(),
            plans,
            ending.clone(),
        ));
        tasks.spawn(save_positions(
            context.clone(),
            producer.clone(),
            Arc::clone(&acks),
            saved,
            ending.clone(),
        ));
        let spill = Spill::new(self.spill_directory.clone())?;
        self.health.set(ROLE, State::Ready);
        tracing::info!(source = options.source, slot = options.slot, at = %affluent_model::Lsn(acked), "streaming");
        // The ways out are used up.
        (self.accept_gap, self.resnapshot) = (false, false);
        let ending = ending.clone();
        Ok(Running {
            publisher,
            producer,
            batches,
            spill,
            streamed: None,
            last_end: acked,
            tasks,
            reading,
            ending,
        })
    }
}

/// Records are bounded by `max_record_bytes`, dead letters by their topic.
fn producer_options() -> ProducerOptions {
    ProducerOptions {
        max_message_bytes: dead_letters::DEAD_LETTER_BYTES_MAX,
        // There are two producers, and memory is promised.
        queue_bytes: 24 << 20,
        queue_records: 50_000,
        ..ProducerOptions::default()
    }
}

/// A run whose tasks are going.
struct Running {
    publisher: Publisher,
    producer: Producer,
    batches: mpsc::Receiver<Result<Batch, CdcError>>,
    spill: Spill,
    /// The transaction of the streamed block we are in.
    streamed: Option<u32>,
    /// The greatest end handed to the acknowledgements.
    last_end: u64,
    tasks: JoinSet<Result<(), CdcError>>,
    reading: CancellationToken,
    ending: CancellationToken,
}

impl Running {
    async fn stream(mut self, shutdown: &CancellationToken) -> Result<(), CdcError> {
        let result = loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break Ok(()),
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => break Err(error),
                    Err(panic) => break Err(CdcError::Checkpoint(format!("a task ended: {panic}"))),
                },
                batch = self.batches.recv() => match batch {
                    Some(Ok(batch)) => {
                        let handled = tokio::select! {
                            handled = handle(&mut self.publisher, &mut self.spill, &mut self.streamed, &mut self.last_end, batch) => handled,
                            () = shutdown.cancelled() => break Ok(()),
                            error = self.producer.failed() => Err(error.into()),
                        };
                        if let Err(error) = handled {
                            break Err(error);
                        }
                    }
                    Some(Err(error)) => break Err(error),
                    None => break Err(CdcError::Protocol("the replication connection ended".into())),
                },
            }
        };
        // What was sent still counts: wait for it, save it, tell the server.
        let flushed =
            self.publisher.flush(if result.is_ok() { DRAIN } else { Duration::from_millis(500) }).await;
        if let Err(error) = flushed {
            tracing::warn!(%error, "records under way at the end");
        }
        self.ending.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            if let Ok(Err(error)) = ended {
                tracing::debug!(%error, "task ended");
            }
        }
        self.reading.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(1), async {
            while self.batches.recv().await.is_some() {}
        });
        let _ = ended.await;
        result
    }
}

/// Handles the messages of a batch in order.
async fn handle(
    publisher: &mut Publisher,
    spill: &mut Spill,
    streamed: &mut Option<u32>,
    last_end: &mut u64,
    batch: Batch,
) -> Result<(), CdcError> {
    for frame in &batch.frames {
        let (wal_start, data) = match frame {
            Frame::Data { wal_start, data } => (*wal_start, data),
            Frame::KeepAlive { wal_end } => {
                if !publisher.is_open() && streamed.is_none() && *wal_end > *last_end {
                    *last_end = *wal_end;
                    publisher.idle_at(*wal_end);
                }
                continue;
            }
        };
        let malformed = |e: super::decode::pgoutput::Malformed| CdcError::Protocol(e.to_string());
        let (subxid, message) = decode(data, streamed.is_some()).map_err(malformed)?;
        match (message, *streamed) {
            (Message::StreamStart { xid, .. }, None) => *streamed = Some(xid),
            (Message::StreamStop, Some(_)) => *streamed = None,
            (_, Some(xid)) => spill.append(xid, subxid.unwrap_or(xid), wal_start, data)?,
            (Message::StreamAbort { xid, subxid }, None) => spill.abort(xid, subxid),
            (Message::StreamCommit { xid, commit_lsn, end_lsn, commit_time }, None) => {
                publisher.begin(commit_lsn, commit_time, xid).await?;
                if let Some(mut replay) = spill.commit(xid)? {
                    while let Some(spilled) = replay.next()? {
                        let (_, message) = decode(&spilled.data, true).map_err(malformed)?;
                        publisher.message(spilled.wal_start, message, spilled.aborted).await?;
                    }
                }
                *last_end = end_lsn;
                publisher.commit(end_lsn).await?;
            }
            (Message::Begin { commit_lsn, commit_time, xid }, None) => {
                publisher.begin(commit_lsn, commit_time, xid).await?;
            }
            (Message::Commit { end_lsn, .. }, None) => {
                *last_end = end_lsn;
                publisher.commit(end_lsn).await?;
            }
            (message, None) => publisher.message(wal_start, message, false).await?,
        }
    }
    Ok(())
}

/// Saves what Kafka has acknowledged, and lets the slot follow.
async fn save_positions(
    context: Context,
    producer: Producer,
    acks: Arc<Acks>,
    saved: watch::Sender<u64>,
    ending: CancellationToken,
) -> Result<(), CdcError> {
    let mut acked = producer.acked();
    let mut period = tokio::time::interval(Duration::from_millis(context.options.checkpoint_ms.max(10)));
    period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // Also without acknowledgements: transactions may be without records.
    let mut look = tokio::time::interval(Duration::from_millis(100));
    let mut covered = *saved.borrow();
    loop {
        let (save, end) = tokio::select! {
            changed = acked.changed() => (false, changed.is_err()),
            _ = look.tick() => (false, false),
            _ = period.tick() => (true, false),
            () = ending.cancelled() => (true, true),
        };
        let sequence = *acked.borrow_and_update();
        covered = covered.max(acks.covered(sequence, affluent_model::time::now_micros()).unwrap_or(0));
        if save {
            metrics_list::records("cdc", "bus", "ok", acks.take_count());
            if covered > *saved.borrow() {
                failpoint("cdc::before_ack");
                context.checkpoints.save_acked(covered).await?;
                saved.send_replace(covered);
                failpoint("cdc::after_ack");
            }
        }
        if end {
            return Ok(());
        }
    }
}
