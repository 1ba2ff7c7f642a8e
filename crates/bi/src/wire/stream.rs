//! A connection: whole messages in, buffered messages out.

use super::answers::Answers;
use super::start::START_BYTES_MAX;
use super::{Request, Start};
use crate::error::{PgError, code};
use bytes::{Buf as _, Bytes, BytesMut};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};

/// Type and length of a message.
const HEADER: usize = 5;
/// Bytes that are read ahead while a statement runs.
const AHEAD_MAX: usize = 64 << 10;
/// Bytes read at once.
const READ: usize = 4 << 10;
/// Room that is kept for messages while none is there.
const KEPT: usize = 64 << 10;
/// Room that is kept for answers between statements.
const RESTING: usize = 16 << 10;
/// A goodbye takes no longer.
const GOODBYE: Duration = Duration::from_secs(1);

/// Bytes both ways, plain or through TLS.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection to a client.
pub(crate) struct Wire {
    read: ReadHalf<Box<dyn Duplex>>,
    write: WriteHalf<Box<dyn Duplex>>,
    input: BytesMut,
    pub(crate) out: Answers,
    message_bytes_max: usize,
    /// Half a message may be out.
    is_broken: bool,
}

impl Wire {
    /// A connection whose messages are as short as those before the password has to be.
    pub(crate) fn new(stream: Box<dyn Duplex>) -> Self {
        let (read, write) = tokio::io::split(stream);
        let (input, out) = (BytesMut::new(), Answers::default());
        Wire { read, write, input, out, message_bytes_max: START_BYTES_MAX, is_broken: false }
    }

    /// Allows messages of this length.
    pub(crate) fn allow(&mut self, message_bytes_max: usize) {
        self.message_bytes_max = message_bytes_max;
    }

    /// The first message; `None`: the client has left without one. Nothing is lost when this is dropped.
    ///
    /// # Errors
    /// A message that is none.
    pub(crate) async fn start(&mut self) -> Result<Option<Start>, PgError> {
        if !self.fill(4).await {
            return Ok(None);
        }
        let length = length(&self.input[..4]).filter(|length| *length <= START_BYTES_MAX);
        let Some(length) = length else {
            return Err(PgError::fatal(code::PROTOCOL_VIOLATION, "invalid length of the first message"));
        };
        if !self.fill(4 + length).await {
            return Ok(None);
        }
        self.input.advance(4);
        let body = self.input.split_to(length).freeze();
        Start::read(body).map(Some)
    }

    /// The next message; `None`: the client has left. Nothing is lost when this is dropped.
    ///
    /// # Errors
    /// A message that is none, or too long.
    pub(crate) async fn request(&mut self) -> Result<Option<Request>, PgError> {
        if !self.fill(HEADER).await {
            return Ok(None);
        }
        let length = length(&self.input[1..HEADER]);
        let Some(length) = length else {
            return Err(PgError::fatal(code::PROTOCOL_VIOLATION, "invalid length of a message"));
        };
        if length > self.message_bytes_max {
            let most = self.message_bytes_max;
            let message = format!("a message of {length} bytes: at most {most} are read");
            return Err(PgError::fatal(code::PROTOCOL_VIOLATION, message));
        }
        if !self.fill(HEADER + length).await {
            return Ok(None);
        }
        let kind = self.input[0];
        self.input.advance(HEADER);
        let body = self.body(length);
        Request::read(kind, body).map(Some)
    }

    /// The body of a message, which is there. Of a long one the room goes with it.
    fn body(&mut self, length: usize) -> Bytes {
        let body = self.input.split_to(length).freeze();
        if self.input.is_empty() && length > KEPT {
            self.input = BytesMut::new();
        }
        body
    }

    /// Reads until so many bytes are there; false where the client leaves before.
    async fn fill(&mut self, bytes: usize) -> bool {
        while self.input.len() < bytes {
            let missing = bytes - self.input.len();
            self.input.reserve(missing.clamp(512, READ));
            if !matches!(self.read.read_buf(&mut self.input).await, Ok(1..)) {
                return false;
            }
        }
        true
    }

    /// Nothing has come that was not read.
    pub(crate) fn is_drained(&self) -> bool {
        self.input.is_empty()
    }

    /// Waits until the client has left, and keeps what it sends meanwhile. Nothing is lost when this is dropped.
    pub(crate) async fn gone(&mut self) {
        while self.input.len() < AHEAD_MAX {
            self.input.reserve(READ);
            if !matches!(self.read.read_buf(&mut self.input).await, Ok(1..)) {
                return;
            }
        }
        // It is read no further; whether the client is there shows when it is answered.
        std::future::pending().await
    }

    /// Sends what was said. When this is dropped half a message may be out: the connection is of no more use then.
    ///
    /// # Errors
    /// The client has left, or an earlier message is out by half.
    pub(crate) async fn send(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.is_broken, true) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.write.write_all(&self.out.buffer).await?;
        self.write.flush().await?;
        self.is_broken = false;
        self.out.buffer.clear();
        Ok(())
    }

    /// Gives back the room of large answers: nothing is sent for a while.
    pub(crate) fn rest(&mut self) {
        if self.out.buffer.capacity() > RESTING {
            self.out.buffer = BytesMut::new();
        }
    }

    /// One byte, the answer to a question about encryption.
    ///
    /// # Errors
    /// The client has left.
    pub(crate) async fn send_byte(&mut self, byte: u8) -> io::Result<()> {
        self.write.write_all(&[byte]).await?;
        self.write.flush().await
    }

    /// Says goodbye to the other side.
    pub(crate) async fn close(mut self) {
        if !matches!(tokio::time::timeout(GOODBYE, self.write.shutdown()).await, Ok(Ok(()))) {
            tracing::trace!("the other side did not wait for a goodbye");
        }
    }

    /// The connection itself, nothing of it being read ahead.
    pub(crate) fn into_stream(self) -> Box<dyn Duplex> {
        self.read.unsplit(self.write)
    }
}

/// Bytes that follow a length of four bytes, which counts itself.
fn length(bytes: &[u8]) -> Option<usize> {
    let bytes = <[u8; 4]>::try_from(bytes).ok()?;
    usize::try_from(i32::from_be_bytes(bytes)).ok()?.checked_sub(4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::DuplexStream;

    fn wire() -> (DuplexStream, Wire) {
        let (client, server) = tokio::io::duplex(1 << 16);
        (client, Wire::new(Box::new(server)))
    }

    #[tokio::test]
    async fn messages_come_whole_however_they_are_cut() {
        let (mut client, mut wire) = wire();
        let bytes = b"Q\0\0\0\x0dselect 1\0S\0\0\0\x04";
        let (first, second) = bytes.split_at(7);
        client.write_all(first).await.unwrap();
        {
            let mut early = Box::pin(wire.request());
            assert!(futures::poll!(early.as_mut()).is_pending());
        }
        client.write_all(second).await.unwrap();
        assert_eq!(wire.request().await.unwrap(), Some(Request::Query("select 1".to_owned())));
        assert_eq!(wire.request().await.unwrap(), Some(Request::Sync));
        drop(client);
        assert_eq!(wire.request().await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_message_that_is_too_long_is_not_waited_for() {
        for header in [&b"Q\x7f\xff\xff\xff"[..], b"Q\xff\xff\xff\xff", b"Q\0\0\0\x03"] {
            let (mut client, mut wire) = wire();
            client.write_all(header).await.unwrap();
            assert!(wire.request().await.unwrap_err().is_fatal, "{header:?}");
        }
        let (mut client, mut wire) = wire();
        client.write_all(&20_000_i32.to_be_bytes()).await.unwrap();
        assert!(wire.start().await.unwrap_err().is_fatal);
    }

    #[tokio::test]
    async fn after_half_a_message_nothing_more_is_sent() {
        let (_client, server) = tokio::io::duplex(8);
        let mut wire = Wire::new(Box::new(server));
        wire.out.complete("SELECT 1000000");
        {
            let mut sending = Box::pin(wire.send());
            assert!(futures::poll!(sending.as_mut()).is_pending());
        }
        wire.send().await.unwrap_err();
    }

    #[tokio::test]
    async fn what_comes_while_a_statement_runs_is_kept() {
        let (mut client, mut wire) = wire();
        client.write_all(b"S\0\0\0\x04").await.unwrap();
        drop(client);
        wire.gone().await;
        assert_eq!(wire.request().await.unwrap(), Some(Request::Sync));
    }
}
