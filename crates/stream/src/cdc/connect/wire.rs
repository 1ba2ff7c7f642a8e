//! One raw PostgreSQL connection in replication mode: startup, TLS, authentication, simple queries.
//!
//! tokio-postgres has no replication mode, and pgwire-replication speaks only version 1 of
//! pgoutput (docs/adr/0003-replication-protocol.md). What the stream means is `decode`'s.

use super::SESSION;
use super::address::{Address, SslMode};
use crate::cdc::CdcError;
use bytes::{Buf, Bytes, BytesMut};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::config::Host;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};

/// The largest message we take from a server: PostgreSQL's own limit of a field and some.
const MAX_MESSAGE_BYTES: usize = (1 << 30) + (1 << 20);

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Stream for T {}

/// A message of the server: its tag and its body.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) tag: u8,
    pub(crate) body: Bytes,
}

/// An authenticated connection.
pub(crate) struct Wire {
    stream: Box<dyn Stream>,
    input: BytesMut,
    output: BytesMut,
}

pub(crate) type Rows = Vec<Vec<Option<String>>>;

impl Wire {
    /// Connects and authenticates a session that understands replication commands and SQL.
    pub(crate) async fn connect(address: &Address) -> Result<Self, CdcError> {
        let stream = dial(address).await?;
        let mut wire = Wire { stream, input: BytesMut::with_capacity(256 << 10), output: BytesMut::new() };
        let options: Vec<String> =
            SESSION.iter().map(|(name, value)| format!("-c {name}={}", value.replace(' ', "\\ "))).collect();
        let options = options.join(" ");
        let config = &address.config;
        let user = config.get_user().unwrap_or_default();
        let parameters = [
            ("user", user),
            ("database", config.get_dbname().unwrap_or_default()),
            ("replication", "database"),
            ("client_encoding", "UTF8"),
            ("application_name", "affluent cdc"),
            ("options", &options),
        ];
        frontend::startup_message(parameters, &mut wire.output).map_err(|e| broken(&e))?;
        wire.flush().await?;
        wire.authenticate(user, config.get_password().unwrap_or_default()).await?;
        Ok(wire)
    }

    async fn authenticate(&mut self, user: &str, password: &[u8]) -> Result<(), CdcError> {
        let mut scram: Option<ScramSha256> = None;
        loop {
            let Message { tag, mut body } = self.read().await?;
            match tag {
                b'E' => return Err(server_error("log in for replication", &body)),
                b'Z' => return Ok(()),
                b'R' if body.len() >= 4 => match body.get_i32() {
                    0 => {}
                    3 => frontend::password_message(password, &mut self.output).map_err(|e| broken(&e))?,
                    5 if body.len() == 4 => {
                        let salt = [body[0], body[1], body[2], body[3]];
                        let hash = md5_hash(user.as_bytes(), password, salt);
                        frontend::password_message(hash.as_bytes(), &mut self.output)
                            .map_err(|e| broken(&e))?;
                    }
                    10 => {
                        if !body.split(|&b| b == 0).any(|name| name == SCRAM_SHA_256.as_bytes()) {
                            return Err(CdcError::Setup("the server offers no SCRAM-SHA-256".into()));
                        }
                        let client = ScramSha256::new(password, ChannelBinding::unsupported());
                        frontend::sasl_initial_response(SCRAM_SHA_256, client.message(), &mut self.output)
                            .map_err(|e| broken(&e))?;
                        scram = Some(client);
                    }
                    11 => {
                        let client = scram.as_mut().ok_or_else(|| protocol("SASL out of order"))?;
                        client.update(&body).map_err(|e| refused(&e))?;
                        frontend::sasl_response(client.message(), &mut self.output)
                            .map_err(|e| broken(&e))?;
                    }
                    12 => {
                        let client = scram.as_mut().ok_or_else(|| protocol("SASL out of order"))?;
                        client.finish(&body).map_err(|e| refused(&e))?;
                    }
                    other => {
                        return Err(CdcError::Setup(format!(
                            "the server asks for authentication method {other}, which is not supported: \
                             use scram-sha-256, md5, password, cert or trust in pg_hba.conf"
                        )));
                    }
                },
                _ => {}
            }
            self.flush().await?;
        }
    }

    /// Runs one statement or replication command; its rows as text.
    pub(crate) async fn query(&mut self, context: &'static str, sql: &str) -> Result<Rows, CdcError> {
        frontend::query(sql, &mut self.output).map_err(|e| broken(&e))?;
        self.flush().await?;
        let (mut rows, mut error) = (Vec::new(), None);
        loop {
            let message = self.read().await?;
            match message.tag {
                b'D' => rows.push(data_row(message.body).ok_or_else(|| protocol("malformed row"))?),
                b'E' => error = Some(server_error(context, &message.body)),
                b'Z' => return error.map_or(Ok(rows), Err),
                _ => {}
            }
        }
    }

    /// Sends a command that opens a two-way copy and waits for it to open.
    pub(crate) async fn copy_both(&mut self, sql: &str) -> Result<(), CdcError> {
        frontend::query(sql, &mut self.output).map_err(|e| broken(&e))?;
        self.flush().await?;
        loop {
            let message = self.read().await?;
            match message.tag {
                b'W' => return Ok(()),
                b'E' => return Err(server_error("start replication", &message.body)),
                _ => {}
            }
        }
    }

    /// The next message. Cancel-safe: what was read stays in the buffer.
    pub(crate) async fn read(&mut self) -> Result<Message, CdcError> {
        loop {
            if let Some(message) = self.buffered()? {
                return Ok(message);
            }
            self.fill().await?;
        }
    }

    /// A complete message that has been read already.
    pub(crate) fn buffered(&mut self) -> Result<Option<Message>, CdcError> {
        if self.input.len() < 5 {
            return Ok(None);
        }
        let length =
            u32::from_be_bytes([self.input[1], self.input[2], self.input[3], self.input[4]]) as usize;
        if !(4..=MAX_MESSAGE_BYTES).contains(&length) {
            return Err(protocol("message of impossible length"));
        }
        if self.input.len() < length + 1 {
            return Ok(None);
        }
        let mut body = self.input.split_to(length + 1);
        let tag = body[0];
        body.advance(5);
        Ok(Some(Message { tag, body: body.freeze() }))
    }

    /// Reads what the socket has. Cancel-safe.
    pub(crate) async fn fill(&mut self) -> Result<(), CdcError> {
        if self.input.capacity() - self.input.len() < 16 << 10 {
            self.input.reserve(256 << 10);
        }
        match self.stream.read_buf(&mut self.input).await {
            Ok(0) => Err(lost(&io::Error::from(io::ErrorKind::UnexpectedEof))),
            Ok(_) => Ok(()),
            Err(error) => Err(lost(&error)),
        }
    }

    /// Queues bytes of a copy.
    pub(crate) fn queue_copy(&mut self, data: &[u8]) -> Result<(), CdcError> {
        frontend::CopyData::new(data).map_err(|e| broken(&e))?.write(&mut self.output);
        Ok(())
    }

    /// Queues the end of a copy and of the session.
    pub(crate) fn queue_end(&mut self) {
        frontend::copy_done(&mut self.output);
        frontend::terminate(&mut self.output);
    }

    /// Writes what is queued.
    pub(crate) async fn flush(&mut self) -> Result<(), CdcError> {
        while self.output.has_remaining() {
            self.stream.write_buf(&mut self.output).await.map_err(|e| lost(&e))?;
        }
        self.stream.flush().await.map_err(|e| lost(&e))
    }
}

async fn dial(address: &Address) -> Result<Box<dyn Stream>, CdcError> {
    let (host, port) = address.first_host();
    let name = match host {
        Host::Unix(directory) => {
            let path = directory.join(format!(".s.PGSQL.{port}"));
            return Ok(Box::new(UnixStream::connect(&path).await.map_err(|e| lost(&e))?));
        }
        Host::Tcp(name) => name,
    };
    let mut tcp = TcpStream::connect((name.as_str(), port)).await.map_err(|e| lost(&e))?;
    tcp.set_nodelay(true).map_err(|e| lost(&e))?;
    if address.ssl_mode == SslMode::Disable {
        return Ok(Box::new(tcp));
    }
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    tcp.write_all(&request).await.map_err(|e| lost(&e))?;
    let answer = tcp.read_u8().await.map_err(|e| lost(&e))?;
    if answer == b'S' {
        let connect = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut address.tls()?, &name);
        let connect = connect.map_err(|e| CdcError::Config(e.to_string()))?;
        return Ok(Box::new(connect.connect(tcp).await.map_err(|e| lost(&e))?));
    }
    if address.ssl_mode == SslMode::Prefer {
        return Ok(Box::new(tcp));
    }
    Err(CdcError::Setup("sslmode asks for TLS, but the server has none (ssl = off)".into()))
}

fn data_row(mut body: Bytes) -> Option<Vec<Option<String>>> {
    let count = body.try_get_u16().ok()?;
    let mut row = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let length = body.try_get_i32().ok()?;
        row.push(match usize::try_from(length) {
            Err(_) => None,
            Ok(length) if length <= body.remaining() => {
                Some(String::from_utf8_lossy(&body.split_to(length)).into_owned())
            }
            Ok(_) => return None,
        });
    }
    Some(row)
}

/// The message and SQLSTATE of an error response.
pub(crate) fn server_error(context: &'static str, body: &Bytes) -> CdcError {
    let field = |tag: u8| {
        let mut fields = body.split(|&b| b == 0).filter(|f| !f.is_empty());
        fields
            .find(|f| f[0] == tag)
            .map(|f| String::from_utf8_lossy(&f[1..]).into_owned())
            .unwrap_or_default()
    };
    let code = field(b'C');
    let class = code.get(..2).unwrap_or_default();
    let passing = matches!(class, "08" | "53" | "57" | "58" | "55" | "40" | "XX");
    CdcError::Postgres { context, error: format!("{} ({code})", field(b'M')), passing }
}

fn lost(error: &io::Error) -> CdcError {
    CdcError::Postgres { context: "replication connection", error: error.to_string(), passing: true }
}

fn refused(error: &io::Error) -> CdcError {
    CdcError::Postgres { context: "log in for replication", error: error.to_string(), passing: false }
}

fn broken(error: &io::Error) -> CdcError {
    CdcError::Protocol(error.to_string())
}

fn protocol(what: &str) -> CdcError {
    CdcError::Protocol(what.to_owned())
}
