//! One connection: requests are begun in the order in which they came and answered in that order.
//!
//! A produce request waits for its fsync without holding up the next one; everything else is done
//! before the next request of the same connection is looked at, as Apache Kafka does it.

use super::frame::{FrameError, FrameReader};
use super::request::{Answer, RequestHead};
use crate::broker::Shared;
use crate::handlers::{self, Caller};
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Answers that wait for their turn on one connection.
const UNANSWERED: usize = 64;
/// A peer that takes nothing for this long is dropped.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// Serves `stream` until the peer leaves, misbehaves, or `stop`.
pub(crate) async fn serve(stream: TcpStream, peer: SocketAddr, shared: Arc<Shared>, stop: CancellationToken) {
    let Ok(local) = stream.local_addr() else { return };
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "connection without nodelay");
    }
    let (read, write) = stream.into_split();
    let (sender, receiver) = mpsc::channel(UNANSWERED);
    let broken = stop.child_token();
    let writer = tokio::spawn(write_answers(write, receiver, peer, broken.clone()));
    let caller = Caller { shared: Arc::clone(&shared), peer, local, stop: broken.clone() };
    let frames = FrameReader::new(read, shared.options.max_request_bytes, Arc::clone(&shared.inbound));
    read_requests(frames, &caller, sender, &broken).await;
    if writer.await.is_err() {
        tracing::debug!(%peer, "connection writer ended early");
    }
}

async fn read_requests(
    mut frames: FrameReader<tokio::net::tcp::OwnedReadHalf>,
    caller: &Caller,
    answers: mpsc::Sender<Answer>,
    broken: &CancellationToken,
) {
    let peer = caller.peer;
    let idle = Duration::from_millis(caller.shared.options.connection_idle_ms);
    loop {
        let frame = tokio::select! {
            frame = tokio::time::timeout(idle, frames.next()) => frame,
            () = broken.cancelled() => return,
        };
        let frame = match frame {
            Ok(Ok(Some(frame))) => frame,
            Ok(Ok(None)) => return,
            // Clients leave without a word as often as not.
            Ok(Err(FrameError::Lost(error))) => {
                tracing::debug!(%peer, %error, "connection lost");
                return;
            }
            Ok(Err(error)) => {
                tracing::warn!(%peer, %error, "connection closed: bad frame");
                return;
            }
            Err(_) => {
                tracing::debug!(%peer, "connection closed: idle");
                return;
            }
        };
        let answer = match RequestHead::parse(frame.content.clone()) {
            Ok((head, body)) => {
                tokio::select! {
                    answer = Box::pin(handlers::answer(caller, head, body)) => answer,
                    () = broken.cancelled() => return,
                }
            }
            Err(malformed) => Err(malformed),
        };
        drop(frame);
        match answer {
            Ok(Answer::Nothing) => {}
            Ok(answer) => {
                if answers.send(answer).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%peer, %error, "connection closed: bad request");
                return;
            }
        }
    }
}

async fn write_answers(
    mut stream: OwnedWriteHalf,
    mut answers: mpsc::Receiver<Answer>,
    peer: SocketAddr,
    broken: CancellationToken,
) {
    while let Some(answer) = answers.recv().await {
        let (frame, _memory) = match answer {
            Answer::Now(frame, memory) => (frame, memory),
            Answer::Later(frame) => match frame.await {
                Ok(frame) => (frame, None),
                Err(error) => {
                    tracing::warn!(%peer, %error, "connection closed: no answer");
                    break;
                }
            },
            Answer::Nothing => continue,
        };
        if let Err(error) = write_frame(&mut stream, &frame).await {
            tracing::debug!(%peer, %error, "connection closed: answer not taken");
            break;
        }
    }
    broken.cancel();
}

async fn write_frame(stream: &mut OwnedWriteHalf, frame: &Bytes) -> std::io::Result<()> {
    match tokio::time::timeout(WRITE_TIMEOUT, stream.write_all(frame)).await {
        Ok(written) => written,
        Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
    }
}
