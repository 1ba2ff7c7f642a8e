//! The task that owns the replication connection: reads, and answers the server, whatever the rest
//! of the process is doing.
//!
//! Invariant: the server gets a status at least every `status_interval`, also while the queue to
//! Kafka is full; the flushed position in it is only ever the one that was saved.

use super::wire::Wire;
use crate::cdc::CdcError;
use bytes::{Buf, Bytes, BytesMut};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

/// Microseconds between 1970-01-01 and 2000-01-01, PostgreSQL's epoch.
pub(crate) const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// Payload that is handed over at once.
const BATCH_BYTES: usize = 64 << 10;

/// One message of the stream.
#[derive(Debug)]
pub(crate) enum Frame {
    /// A pgoutput message and the LSN of its record (0 for the borders of streamed blocks).
    Data { wal_start: u64, data: Bytes },
    /// The server has sent everything up to here.
    KeepAlive { wal_end: u64 },
}

/// Messages in order. Their bytes count against the queue's bound until the batch is dropped.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) frames: Vec<Frame>,
    _room: OwnedSemaphorePermit,
}

pub(crate) struct ReaderOptions {
    pub(crate) queue_bytes: usize,
    pub(crate) status_interval: Duration,
}

/// Starts the task on a connection whose copy is open. It ends with the connection, with
/// `shutdown`, or when the receiver is dropped.
pub(crate) fn spawn_reader(
    wire: Wire,
    options: ReaderOptions,
    saved: watch::Receiver<u64>,
    shutdown: CancellationToken,
) -> mpsc::Receiver<Result<Batch, CdcError>> {
    let (sender, receiver) = mpsc::channel(4096);
    let room = Arc::new(Semaphore::new(options.queue_bytes));
    let reader = Reader { wire, options, saved, received: 0, room };
    tokio::spawn(async move {
        if let Err(error) = reader.run(&sender, &shutdown).await {
            let _ = sender.send(Err(error)).await;
        }
    });
    receiver
}

struct Reader {
    wire: Wire,
    options: ReaderOptions,
    saved: watch::Receiver<u64>,
    received: u64,
    room: Arc<Semaphore>,
}

impl Reader {
    async fn run(
        mut self,
        out: &mpsc::Sender<Result<Batch, CdcError>>,
        shutdown: &CancellationToken,
    ) -> Result<(), CdcError> {
        let period = self.options.status_interval;
        let mut tick = interval_at(Instant::now() + period, period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.send_status().await?;
        loop {
            let (frames, bytes) = self.take_frames().await?;
            if frames.is_empty() {
                tokio::select! {
                    filled = self.wire.fill() => { filled?; continue }
                    _ = tick.tick() => {}
                    changed = self.saved.changed() => if changed.is_err() { break },
                    () = shutdown.cancelled() => break,
                    () = out.closed() => break,
                }
                self.send_status().await?;
                continue;
            }
            let wanted = u32::try_from(bytes.clamp(1, self.options.queue_bytes)).unwrap_or(u32::MAX);
            let room = Arc::clone(&self.room);
            let place = async {
                let room = room.acquire_many_owned(wanted).await.ok()?;
                Some((room, out.reserve().await.ok()?))
            };
            tokio::pin!(place);
            let (room, slot) = loop {
                tokio::select! {
                    place = &mut place => match place {
                        Some(place) => break place,
                        None => return Ok(()),
                    },
                    _ = tick.tick() => {}
                    changed = self.saved.changed() => if changed.is_err() { return Ok(()) },
                    () = shutdown.cancelled() => return self.end().await,
                }
                let flushed = *self.saved.borrow_and_update();
                status(&mut self.wire, self.received, flushed).await?;
            };
            slot.send(Ok(Batch { frames, _room: room }));
        }
        self.end().await
    }

    /// The last status, and the end of the session.
    async fn end(&mut self) -> Result<(), CdcError> {
        self.send_status().await?;
        self.wire.queue_end();
        self.wire.flush().await
    }

    /// The complete messages that are in the buffer, and their size.
    async fn take_frames(&mut self) -> Result<(Vec<Frame>, usize), CdcError> {
        let (mut frames, mut bytes) = (Vec::new(), 0);
        while bytes < BATCH_BYTES {
            let Some(message) = self.wire.buffered()? else { break };
            match message.tag {
                b'd' => {
                    let size = message.body.len();
                    let (frame, answer) = parse(message.body)
                        .ok_or_else(|| CdcError::Protocol("malformed replication message".into()))?;
                    match &frame {
                        Frame::Data { wal_start, .. } => self.received = self.received.max(*wal_start),
                        Frame::KeepAlive { wal_end } => self.received = self.received.max(*wal_end),
                    }
                    if answer {
                        self.send_status().await?;
                    }
                    bytes += size;
                    frames.push(frame);
                }
                b'E' => return Err(super::wire::server_error("replication stream", &message.body)),
                b'c' => {
                    return Err(CdcError::Postgres {
                        context: "replication stream",
                        error: "the server ended the stream".into(),
                        passing: true,
                    });
                }
                _ => {}
            }
        }
        Ok((frames, bytes))
    }

    async fn send_status(&mut self) -> Result<(), CdcError> {
        let flushed = *self.saved.borrow_and_update();
        status(&mut self.wire, self.received, flushed).await
    }
}

/// Tells the server what was received and what is safe.
async fn status(wire: &mut Wire, received: u64, flushed: u64) -> Result<(), CdcError> {
    let mut update = BytesMut::with_capacity(34);
    update.extend_from_slice(b"r");
    update.extend_from_slice(&received.max(flushed).to_be_bytes());
    update.extend_from_slice(&flushed.to_be_bytes());
    update.extend_from_slice(&flushed.to_be_bytes());
    update.extend_from_slice(&(affluent_model::time::now_micros() - POSTGRES_EPOCH_MICROS).to_be_bytes());
    update.extend_from_slice(&[0]);
    wire.queue_copy(&update)?;
    wire.flush().await
}

/// A copy message, and whether the server wants an answer now.
fn parse(mut body: Bytes) -> Option<(Frame, bool)> {
    match body.try_get_u8().ok()? {
        b'w' if body.len() >= 24 => {
            let wal_start = body.get_u64();
            body.advance(16);
            Some((Frame::Data { wal_start, data: body }, false))
        }
        b'k' if body.len() >= 17 => {
            let wal_end = body.get_u64();
            body.advance(8);
            Some((Frame::KeepAlive { wal_end }, body.get_u8() != 0))
        }
        _ => None,
    }
}
