//! Reads length-prefixed frames from a connection, with a bound on each and on all together.

use bytes::{Bytes, BytesMut};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Frames up to this size are not counted against the memory of all connections.
const FREE_BYTES: usize = 16 << 10;
/// A frame that has begun must be whole within this time.
const WHOLE_WITHIN: Duration = Duration::from_secs(60);

/// The content of one frame and its share of the memory.
pub(super) struct Frame {
    pub(super) content: Bytes,
    pub(super) _memory: Option<OwnedSemaphorePermit>,
}

/// Why no frame could be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error("frame of {0} bytes")]
    Size(i32),
    #[error("frame takes too long")]
    Stalled,
    #[error("connection lost within a frame: {0}")]
    Lost(#[from] io::Error),
}

/// Splits what arrives into frames.
pub(super) struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
    most_bytes: usize,
    memory: Arc<Semaphore>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) fn new(stream: R, most_bytes: usize, memory: Arc<Semaphore>) -> Self {
        Self { stream, buffer: BytesMut::new(), most_bytes, memory }
    }

    /// The next frame; `None` when the peer has closed between frames. Not cancellation safe once a
    /// frame has been waited for; the caller drops the connection then.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        while self.buffer.len() < 4 {
            self.buffer.reserve(8 << 10);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(lost()) };
            }
        }
        let mut prefix = [0; 4];
        prefix.copy_from_slice(&self.buffer[..4]);
        let claimed = i32::from_be_bytes(prefix);
        let length = usize::try_from(claimed)
            .ok()
            .filter(|n| *n <= self.most_bytes)
            .ok_or(FrameError::Size(claimed))?;
        let memory = if length > FREE_BYTES {
            let permits = u32::try_from(length).map_err(|_| FrameError::Size(claimed))?;
            Arc::clone(&self.memory).acquire_many_owned(permits).await.ok()
        } else {
            None
        };
        let needed = 4 + length;
        if self.buffer.len() < needed {
            self.buffer.reserve(needed - self.buffer.len());
        }
        let deadline = tokio::time::Instant::now() + WHOLE_WITHIN;
        while self.buffer.len() < needed {
            let read = tokio::time::timeout_at(deadline, self.stream.read_buf(&mut self.buffer)).await;
            if read.map_err(|_| FrameError::Stalled)?? == 0 {
                return Err(lost());
            }
        }
        let content = self.buffer.split_to(needed).freeze().slice(4..);
        Ok(Some(Frame { content, _memory: memory }))
    }
}

fn lost() -> FrameError {
    FrameError::Lost(io::ErrorKind::UnexpectedEof.into())
}
