//! A server over a lake, and connections to it.

use crate::warehouse::Warehouse;
use affluent_bi::{BiOptions, RoleOptions, Service, ServiceError, UserOptions};
use affluent_telemetry::health::Health;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Error, NoTls, SimpleQueryMessage};
use tokio_util::sync::CancellationToken;

/// Far longer than anything here takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at what is waited for.
pub(crate) const LOOK: Duration = Duration::from_millis(10);

pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    serving: JoinHandle<Result<(), ServiceError>>,
}

impl Endpoint {
    /// Serves the warehouse with these options, on a free port.
    pub(crate) async fn start(warehouse: &Warehouse, options: BiOptions) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let health = Health::default();
        let options = BiOptions { listen: address, ..options };
        let service = Service::new(options, warehouse.lake.clone(), health.clone()).unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(service.run(stop.clone()));
        let deadline = Instant::now() + LIMIT;
        while !health.is_ready() {
            assert!(!serving.is_finished() && Instant::now() < deadline, "the endpoint does not listen");
            tokio::time::sleep(LOOK).await;
        }
        Endpoint { address, stop, serving }
    }

    /// As whoever is trusted.
    pub(crate) async fn client(&self) -> Client {
        self.connect("user=affluent").await.unwrap()
    }

    /// With these parameters of a connection.
    pub(crate) async fn connect(&self, parameters: &str) -> Result<Client, Error> {
        let text = self.parameters(parameters);
        let (client, connection) = tokio_postgres::connect(&text, NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    pub(crate) fn parameters(&self, parameters: &str) -> String {
        format!("host=127.0.0.1 port={} dbname=affluent {parameters}", self.address.port())
    }

    /// A connection as whoever is trusted, byte by byte: it has been told that the server is ready.
    pub(crate) async fn raw(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let body = b"\0\x03\0\0user\0affluent\0database\0affluent\0\0";
        let length = u32::try_from(body.len() + 4).unwrap();
        stream.write_all(&length.to_be_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        loop {
            let (kind, body) = message(&mut stream).await.expect("an answer");
            assert_ne!(kind, b'E', "{}", String::from_utf8_lossy(&body));
            if kind == b'Z' {
                return stream;
            }
        }
    }

    /// Stops it; what it says of its end.
    pub(crate) async fn end(self) -> Result<(), ServiceError> {
        self.stop.cancel();
        tokio::time::timeout(LIMIT, self.serving).await.unwrap().unwrap()
    }
}

/// The next message of the server: type and body; `None`: the connection was closed.
pub(crate) async fn message(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut header = [0; 5];
    tokio::time::timeout(LIMIT, stream.read_exact(&mut header)).await.unwrap().ok()?;
    let length = u32::from_be_bytes(header[1..].try_into().unwrap());
    let mut body = vec![0; usize::try_from(length).unwrap() - 4];
    tokio::time::timeout(LIMIT, stream.read_exact(&mut body)).await.unwrap().ok()?;
    Some((header[0], body))
}

/// The code of an error that the server told.
pub(crate) fn code(error: &Error) -> String {
    let told = error.as_db_error().unwrap_or_else(|| panic!("not told by the server: {error:?}"));
    told.code().code().to_owned()
}

/// The rows of a query as text, columns between bars.
pub(crate) async fn rows(client: &Client, query: &str) -> Vec<String> {
    let messages = client.simple_query(query).await.unwrap_or_else(|error| panic!("{query}: {error:?}"));
    let row = |message: SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            let cells = (0..row.len()).map(|place| row.get(place).unwrap_or("null"));
            Some(cells.collect::<Vec<_>>().join("|"))
        }
        _ => None,
    };
    messages.into_iter().filter_map(row).collect()
}

/// The code that a query fails with.
pub(crate) async fn refusal(client: &Client, query: &str) -> String {
    match client.simple_query(query).await {
        Ok(_) => panic!("{query} was done"),
        Err(error) => code(&error),
    }
}

pub(crate) fn user(name: &str, password: &str, roles: &[&str]) -> UserOptions {
    let roles = roles.iter().map(|&role| role.to_owned()).collect();
    UserOptions { name: name.to_owned(), password: password.to_owned(), roles }
}

pub(crate) fn role(name: &str, schemas: &[&str], tables: &[&str]) -> RoleOptions {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let (schemas, tables) = (owned(schemas), owned(tables));
    RoleOptions { name: name.to_owned(), schemas, tables, ..RoleOptions::default() }
}
