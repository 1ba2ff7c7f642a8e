//! A private PostgreSQL cluster made from the installed binaries.
//!
//! The cluster lives in its own directory, listens on a free port of 127.0.0.1 and on a socket in that
//! directory, and runs as an unprivileged user when this process is root (PostgreSQL refuses root).
//! Invariant: it never outlives this process, however this process ends (see [`supervisor`]).

mod binaries;
mod standby;
mod supervisor;

use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::unique;
use binaries::{Account, unprivileged_account};
use supervisor::{Launch, Supervisor};

const START_TIMEOUT: Duration = Duration::from_secs(60);
const START_ATTEMPTS: u32 = 5;
/// What `pg_hba.conf` and every URL call the superuser of the cluster.
const SUPERUSER: &str = "postgres";

/// Why a cluster could not be made or controlled.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    #[error(
        "no PostgreSQL server found in PG_BIN, PATH or /usr/lib/postgresql/*/bin; install it \
         (Debian, Ubuntu: apt-get install postgresql postgresql-client) or name the directory of its \
         binaries in PG_BIN"
    )]
    Missing,
    #[error("{0} is named by PG_BIN but holds no initdb and postgres")]
    NotABinDirectory(PathBuf),
    #[error("PostgreSQL does not run as root, and no account `postgres` or `nobody` exists to run it as")]
    NoAccount,
    #[error("{action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{program} failed: {output}")]
    Program { program: &'static str, output: String },
    #[error("PostgreSQL did not get ready in {}: {log}", data.display())]
    NotReady { data: PathBuf, log: String },
    #[error("the cluster is stopped")]
    Stopped,
    #[error(transparent)]
    Sql(#[from] tokio_postgres::Error),
}

/// How a cluster is made.
#[derive(Debug, Clone, Default)]
pub struct PostgresOptions {
    /// Where the cluster lives; a fresh temporary directory when absent. A directory named here is
    /// kept when the process ends, and must be reachable by the account the server runs as.
    pub directory: Option<PathBuf>,
    /// Survives a loss of power: `fsync` on. Off, commits are faster, and a kill loses nothing either.
    pub durable: bool,
    /// With a password every connection authenticates with SCRAM-SHA-256; without one, none does.
    pub password: Option<String>,
    /// Further server settings, which win over the ones made here.
    pub settings: Vec<(String, String)>,
}

/// How a running server is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Ends sessions and writes a checkpoint.
    Fast,
    /// No farewell: the server recovers at its next start.
    Immediate,
}

/// A private cluster. Dropping it stops the server and removes its temporary directory.
#[derive(Debug)]
pub struct Postgres {
    root: PathBuf,
    keep: bool,
    bin: PathBuf,
    account: Option<Account>,
    settings: Vec<(String, String)>,
    password: Option<String>,
    port: u16,
    server: Mutex<Option<Supervisor>>,
}

/// A database of a private cluster, empty when it was made.
#[derive(Debug, Clone)]
pub struct Database {
    pub name: String,
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: Option<String>,
    /// `postgres://user:password@127.0.0.1:port/name`.
    pub url: String,
}

impl Postgres {
    /// Makes a cluster and starts it; returns once it takes connections (about two seconds).
    ///
    /// # Errors
    /// [`PostgresError::Missing`] names the packages to install; the others say what failed.
    pub fn start(options: PostgresOptions) -> Result<Self, PostgresError> {
        let bin = binaries::find()?;
        let account = unprivileged_account()?;
        let keep = options.directory.is_some();
        let root = match options.directory {
            Some(directory) => directory,
            None => std::env::temp_dir().join(unique("affluent-postgres")),
        };
        make_directory(&root, account.as_ref())?;
        let mut settings = base_settings(options.durable);
        settings.extend(options.settings);
        let mut cluster = Postgres {
            root,
            keep,
            bin,
            account,
            settings,
            password: options.password,
            port: 0,
            server: Mutex::new(None),
        };
        cluster.initialise()?;
        cluster.start_on_free_port()?;
        Ok(cluster)
    }

    /// The one cluster that all tests of this process share; made at the first call.
    ///
    /// # Panics
    /// When it cannot be made: the message says what to install.
    pub fn shared() -> &'static Postgres {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| {
            Postgres::start(PostgresOptions::default())
                .unwrap_or_else(|error| panic!("start PostgreSQL for the tests (see `make setup`): {error}"))
        })
    }

    /// TCP port on 127.0.0.1; the same after every restart.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Directory of `postgres`, `psql`, `pgbench`, ….
    #[must_use]
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// Directory with the data, the socket and the server's log.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.root
    }

    /// Process id of the server.
    ///
    /// # Errors
    /// [`PostgresError::Stopped`].
    pub fn process_id(&self) -> Result<u32, PostgresError> {
        self.locked()
            .as_ref()
            .and_then(|_| supervisor::server_pid(&self.data()))
            .ok_or(PostgresError::Stopped)
    }

    /// How to reach the database `name`, which may or may not exist.
    #[must_use]
    pub fn database(&self, name: &str) -> Database {
        let secret = self.password.as_ref().map(|p| format!(":{p}")).unwrap_or_default();
        Database {
            name: name.to_owned(),
            host: "127.0.0.1".to_owned(),
            port: self.port,
            user: SUPERUSER.to_owned(),
            password: self.password.clone(),
            url: format!("postgres://{SUPERUSER}{secret}@127.0.0.1:{}/{name}", self.port),
        }
    }

    /// Makes an empty database with a name of its own.
    ///
    /// # Errors
    /// What the server answers.
    pub async fn fresh_database(&self) -> Result<Database, PostgresError> {
        let database = self.database(&unique("test"));
        let client = self.database("postgres").connect().await?;
        client.batch_execute(&format!("create database {}", database.name)).await?;
        Ok(database)
    }

    /// Stops the server; it can be started again with [`Postgres::start_again`].
    ///
    /// # Errors
    /// [`PostgresError::Stopped`] when it was stopped already.
    pub fn stop(&self, how: Stop) -> Result<(), PostgresError> {
        let server = self.locked().take().ok_or(PostgresError::Stopped)?;
        server.stop(how).map_err(|source| self.io("stop", source))
    }

    /// Starts a stopped server on the port it had.
    ///
    /// # Errors
    /// [`PostgresError::NotReady`] with the end of the server's log.
    pub fn start_again(&self) -> Result<(), PostgresError> {
        let mut server = self.locked();
        if server.is_none() {
            *server = Some(self.launch(self.port)?);
        }
        Ok(())
    }

    /// Stops and starts; sessions end.
    ///
    /// # Errors
    /// As [`Postgres::stop`] and [`Postgres::start_again`].
    pub fn restart(&self, how: Stop) -> Result<(), PostgresError> {
        self.stop(how)?;
        self.start_again()
    }

    fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    fn locked(&self) -> MutexGuard<'_, Option<Supervisor>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn io(&self, action: &'static str, source: std::io::Error) -> PostgresError {
        PostgresError::Io { action, path: self.root.clone(), source }
    }

    fn initialise(&self) -> Result<(), PostgresError> {
        if self.data().join("PG_VERSION").exists() {
            return Ok(());
        }
        let secret = self.root.join("password");
        let mut command = Command::new(self.bin.join("initdb"));
        command.args(["--encoding=UTF8", "--locale=C", "--no-sync", "--username", SUPERUSER, "-D"]);
        command.arg(self.data()).current_dir(&self.root).stdin(Stdio::null());
        if let Some(password) = &self.password {
            std::fs::write(&secret, password).map_err(|e| self.io("write the password to", e))?;
            give(&secret, self.account.as_ref())?;
            command.arg("--auth=scram-sha-256").arg(format!("--pwfile={}", secret.display()));
        } else {
            command.arg("--auth=trust");
        }
        if let Some(account) = &self.account {
            account.apply(&mut command);
        }
        let output = command.output().map_err(|e| self.io("run initdb in", e))?;
        let _ = std::fs::remove_file(&secret);
        if output.status.success() {
            return Ok(());
        }
        let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(PostgresError::Program { program: "initdb", output })
    }

    /// Another process may take the port between asking for it and using it: ask again.
    fn start_on_free_port(&mut self) -> Result<(), PostgresError> {
        let mut attempt = 1;
        loop {
            let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| self.io("find a port for", e))?;
            let port = listener.local_addr().map_err(|e| self.io("find a port for", e))?.port();
            drop(listener);
            match self.launch(port) {
                Ok(server) => {
                    *self.locked() = Some(server);
                    self.port = port;
                    return Ok(());
                }
                Err(error) if attempt == START_ATTEMPTS => return Err(error),
                Err(error) => tracing::debug!(%error, attempt, "retry starting postgresql"),
            }
            attempt += 1;
        }
    }

    fn launch(&self, port: u16) -> Result<Supervisor, PostgresError> {
        let mut settings = self.settings.clone();
        settings.push(("port".to_owned(), port.to_string()));
        settings.push(("unix_socket_directories".to_owned(), self.root.display().to_string()));
        let data = self.data();
        let launch = Launch {
            program: &self.bin.join("postgres"),
            data: &data,
            log: &self.root.join("postgres.log"),
            remove: (!self.keep).then_some(self.root.as_path()),
            account: self.account.as_ref(),
            settings: &settings,
        };
        let mut server = Supervisor::start(&launch).map_err(|e| self.io("start PostgreSQL in", e))?;
        if server.wait_ready(&data, START_TIMEOUT) {
            return Ok(server);
        }
        let log = std::fs::read_to_string(launch.log).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(8).collect();
        let log = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
        let _ = server.stop(Stop::Immediate);
        Err(PostgresError::NotReady { data, log })
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(server) = self.locked().take() {
            let _ = server.stop(Stop::Immediate);
        }
        if !self.keep {
            let _ = std::fs::remove_dir_all(&self.root);
        }
    }
}

impl Database {
    /// A connection whose driver task runs until the client is dropped.
    ///
    /// # Errors
    /// What the server answers.
    pub async fn connect(&self) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(&self.url, tokio_postgres::NoTls).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to postgresql ended");
            }
        });
        Ok(client)
    }
}

fn base_settings(durable: bool) -> Vec<(String, String)> {
    let durable = if durable { "on" } else { "off" };
    [
        ("listen_addresses", "127.0.0.1"),
        ("wal_level", "logical"),
        ("max_wal_senders", "64"),
        ("max_replication_slots", "64"),
        ("max_connections", "200"),
        ("shared_buffers", "64MB"),
        ("max_wal_size", "4GB"),
        ("autovacuum_naptime", "30s"),
        ("fsync", durable),
        ("full_page_writes", durable),
        ("timezone", "UTC"),
        ("log_timezone", "UTC"),
        ("jit", "off"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .to_vec()
}

fn make_directory(path: &Path, account: Option<&Account>) -> Result<(), PostgresError> {
    let io = |source| PostgresError::Io { action: "make the directory", path: path.to_owned(), source };
    std::fs::create_dir_all(path).map_err(io)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).map_err(io)?;
    give(path, account)
}

fn give(path: &Path, account: Option<&Account>) -> Result<(), PostgresError> {
    let Some(account) = account else { return Ok(()) };
    chown(path, Some(account.uid), Some(account.gid)).map_err(|source| PostgresError::Io {
        action: "hand to the unprivileged account",
        path: path.to_owned(),
        source,
    })
}
