//! Section `[bi]`.

use crate::publish::PublishOptions;
use affluent_lake::sql::EngineOptions;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Nothing is waited for longer than a year, seconds.
const WAIT_MAX_S: u64 = 366 * 86_400;
/// A shorter password could be guessed.
const PASSWORD_CHARS_MIN: usize = 8;

/// Where the server listens, who may connect, and what a statement may take.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BiOptions {
    /// Port 0 takes any free port. Beyond loopback only with `users` and `tls`.
    pub listen: SocketAddr,
    /// None: `affluent` is trusted, which only this machine can be.
    pub users: Vec<UserOptions>,
    pub roles: Vec<RoleOptions>,
    /// Connections at the same time; more are refused.
    pub max_connections: usize,
    /// Statements that run at the same time; more wait, within their time.
    pub max_running: usize,
    /// Largest message of a client, bytes.
    pub message_bytes_max: usize,
    /// A connection without a statement is closed after so many seconds.
    pub idle_timeout_s: u64,
    /// A transaction without a statement is ended after so many seconds, and its connection with it.
    pub idle_in_transaction_timeout_s: u64,
    /// A statement takes no longer, from its first byte to its last row, where no role says otherwise.
    pub statement_timeout_s: u64,
    /// Rows of a statement at most, where no role says otherwise; 0 is no limit. Beyond it is an error.
    pub max_rows: u64,
    /// Statements may see a state of the lake that is so old, milliseconds.
    pub snapshot_age_max_ms: u64,
    /// Every statement is logged: who, how long, how many rows, the text without its values.
    pub query_log: bool,
    pub tls: TlsOptions,
    pub engine: BiEngineOptions,
    pub publish: PublishOptions,
}

/// TLS: both files, or none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsOptions {
    /// PEM: the server's certificate, then those that lead to its root.
    pub certificate_file: PathBuf,
    /// PEM: PKCS #8, PKCS #1 or SEC 1.
    pub key_file: PathBuf,
}

impl TlsOptions {
    /// Nothing is served without TLS.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.certificate_file.as_os_str().is_empty() || !self.key_file.as_os_str().is_empty()
    }
}

/// What all statements may use together.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BiEngineOptions {
    /// Memory of sorts, joins and groups, bytes; what does not fit goes to disk, and where it cannot, the statement fails.
    pub memory_bytes: u64,
    /// Bytes on disk at most; beyond them a statement fails.
    pub spill_bytes_max: u64,
    /// Directory for them; empty: the system's for temporary files.
    pub spill_directory: PathBuf,
    /// Parts of a statement that run at once; 0: as many as the machine has cores.
    pub partitions: usize,
}

/// Somebody who may connect.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserOptions {
    pub name: String,
    /// A password, or its verifier as PostgreSQL keeps it (`SCRAM-SHA-256$…`).
    pub password: String,
    /// Names of `bi.roles`.
    pub roles: Vec<String>,
}

/// What may be read, and how much at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoleOptions {
    pub name: String,
    /// Every table of these; `*` is every schema.
    pub schemas: Vec<String>,
    /// Single tables, as `schema.table`.
    pub tables: Vec<String>,
    /// Absent: `bi.statement_timeout_s`.
    pub statement_timeout_s: Option<u64>,
    /// Absent: `bi.max_rows`; 0 is no limit.
    pub max_rows: Option<u64>,
}

impl Default for BiOptions {
    fn default() -> Self {
        BiOptions {
            listen: SocketAddr::from(([127, 0, 0, 1], 5433)),
            users: Vec::new(),
            roles: Vec::new(),
            max_connections: 2_000,
            max_running: 16,
            message_bytes_max: 1 << 20,
            idle_timeout_s: 28_800,
            idle_in_transaction_timeout_s: 600,
            statement_timeout_s: 300,
            max_rows: 0,
            snapshot_age_max_ms: 1_000,
            query_log: true,
            tls: TlsOptions::default(),
            engine: BiEngineOptions::default(),
            publish: PublishOptions::default(),
        }
    }
}

impl Default for BiEngineOptions {
    fn default() -> Self {
        BiEngineOptions {
            memory_bytes: 1 << 30,
            spill_bytes_max: 20 << 30,
            spill_directory: PathBuf::new(),
            partitions: 0,
        }
    }
}

impl BiEngineOptions {
    pub(crate) fn engine(&self) -> EngineOptions {
        let spill = Some(self.spill_directory.clone()).filter(|path| !path.as_os_str().is_empty());
        EngineOptions {
            memory_bytes: self.memory_bytes,
            spill_directory: spill,
            spill_bytes_max: self.spill_bytes_max,
            partitions: self.partitions,
            ..EngineOptions::default()
        }
    }
}

impl BiOptions {
    pub(crate) fn idle_timeout(&self, in_transaction: bool) -> Duration {
        let seconds = if in_transaction { self.idle_in_transaction_timeout_s } else { self.idle_timeout_s };
        Duration::from_secs(seconds)
    }

    /// Says what is wrong with the options, and what to do.
    ///
    /// # Errors
    /// The first problem, by its key.
    pub fn check(&self) -> Result<(), String> {
        self.check_reach()?;
        for (key, value) in [
            ("max_connections", self.max_connections as u64),
            ("max_running", self.max_running as u64),
            ("idle_timeout_s", self.idle_timeout_s),
            ("idle_in_transaction_timeout_s", self.idle_in_transaction_timeout_s),
            ("statement_timeout_s", self.statement_timeout_s),
        ] {
            if value == 0 {
                return Err(format!("`bi.{key}` = 0: must be at least 1"));
            }
        }
        let timeouts = self.roles.iter().filter_map(|role| role.statement_timeout_s);
        let waits = [self.idle_timeout_s, self.idle_in_transaction_timeout_s, self.statement_timeout_s];
        if let Some(seconds) = timeouts.chain(waits).find(|seconds| *seconds > WAIT_MAX_S) {
            return Err(format!("a timeout of `bi` is {seconds} s: must be at most {WAIT_MAX_S}"));
        }
        if !(1 << 14..=1 << 30).contains(&self.message_bytes_max) {
            return Err("`bi.message_bytes_max` must be between 16384 and 1073741824".to_owned());
        }
        self.engine.engine().check().map_err(|error| format!("`bi.engine`: {error}"))?;
        self.check_users()?;
        self.publish.check()
    }

    /// Beyond this machine nobody is let in who is not known, and nothing goes out that others can read.
    fn check_reach(&self) -> Result<(), String> {
        let tls = &self.tls;
        if tls.is_on() && (tls.certificate_file.as_os_str().is_empty() || tls.key_file.as_os_str().is_empty())
        {
            return Err("`bi.tls` has one of certificate_file and key_file: give both, or none".to_owned());
        }
        let lacks = match (self.users.is_empty(), tls.is_on()) {
            _ if self.listen.ip().is_loopback() => return Ok(()),
            (false, true) => return Ok(()),
            (true, true) => "`bi.users` is empty",
            (false, false) => "`bi.tls` is not set",
            (true, false) => "`bi.users` is empty and `bi.tls` not set",
        };
        Err(format!(
            "`bi.listen` = \"{}\" is reachable from other machines, and {lacks}; listen on 127.0.0.1, or add \
             [[bi.users]] with name, password and roles, and [bi.tls] with certificate_file and key_file",
            self.listen
        ))
    }

    fn check_users(&self) -> Result<(), String> {
        for (place, role) in self.roles.iter().enumerate() {
            if role.name.is_empty() {
                return Err("a role in `bi.roles` has no name".to_owned());
            }
            if self.roles[..place].iter().any(|other| other.name == role.name) {
                return Err(format!("the role {:?} is twice in `bi.roles`", role.name));
            }
            if role.statement_timeout_s == Some(0) {
                return Err(format!(
                    "the role {:?} in `bi.roles` has statement_timeout_s = 0: must be at least 1",
                    role.name
                ));
            }
            if let Some(table) = role.tables.iter().find(|table| !table.contains('.')) {
                return Err(format!(
                    "the role {:?} in `bi.roles` grants the table {table:?}: schema.table is meant",
                    role.name
                ));
            }
        }
        for (place, user) in self.users.iter().enumerate() {
            if user.name.is_empty() {
                return Err("a user in `bi.users` has no name".to_owned());
            }
            if self.users[..place].iter().any(|other| other.name == user.name) {
                return Err(format!("the user {:?} is twice in `bi.users`", user.name));
            }
            if user.password.chars().count() < PASSWORD_CHARS_MIN {
                return Err(format!(
                    "the password of {:?} in `bi.users` is shorter than {PASSWORD_CHARS_MIN} characters; make \
                     one with `openssl rand -hex 16`",
                    user.name
                ));
            }
            let known = |role: &&String| self.roles.iter().any(|known| known.name == **role);
            if let Some(role) = user.roles.iter().find(|role| !known(role)) {
                return Err(format!(
                    "the user {:?} in `bi.users` has the role {role:?}, which is not in `bi.roles`",
                    user.name
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(password: &str, role: &str) -> UserOptions {
        UserOptions { name: "ana".to_owned(), password: password.to_owned(), roles: vec![role.to_owned()] }
    }

    fn with(users: Vec<UserOptions>, listen: &str, has_tls: bool) -> BiOptions {
        let file = |name: &str| PathBuf::from(if has_tls { name } else { "" });
        BiOptions {
            listen: listen.parse().unwrap(),
            users,
            roles: vec![RoleOptions { name: "reader".to_owned(), ..RoleOptions::default() }],
            tls: TlsOptions { certificate_file: file("a.pem"), key_file: file("b.pem") },
            ..BiOptions::default()
        }
    }

    #[test]
    fn beyond_this_machine_users_and_tls_are_asked_for() {
        let known = || vec![user("long enough", "reader")];
        for (users, listen, has_tls, named) in [
            (vec![], "127.0.0.1:5433", false, None),
            (known(), "127.0.0.1:5433", false, None),
            (vec![], "0.0.0.0:5433", false, Some("bi.users")),
            (vec![], "0.0.0.0:5433", true, Some("bi.users")),
            (known(), "0.0.0.0:5433", false, Some("bi.tls")),
            (known(), "[::]:5433", false, Some("bi.tls")),
            (known(), "0.0.0.0:5433", true, None),
            (vec![user("", "reader")], "127.0.0.1:5433", false, Some("shorter")),
            (vec![user("1234567", "reader")], "127.0.0.1:5433", false, Some("shorter")),
            (vec![user("long enough", "writer")], "127.0.0.1:5433", false, Some("writer")),
            ([known(), known()].concat(), "127.0.0.1:5433", false, Some("twice")),
        ] {
            let checked = with(users, listen, has_tls).check();
            match named {
                None => checked.unwrap(),
                Some(named) => assert!(checked.clone().unwrap_err().contains(named), "{listen}: {checked:?}"),
            }
        }
    }

    #[test]
    fn nonsense_is_refused() {
        BiOptions::default().check().unwrap();
        BiOptions { max_running: 0, ..BiOptions::default() }.check().unwrap_err();
        BiOptions { message_bytes_max: 100, ..BiOptions::default() }.check().unwrap_err();
        let half = TlsOptions { certificate_file: "a.pem".into(), ..TlsOptions::default() };
        BiOptions { tls: half, ..BiOptions::default() }.check().unwrap_err();
        let role =
            RoleOptions { name: "r".to_owned(), tables: vec!["runs".to_owned()], ..RoleOptions::default() };
        BiOptions { roles: vec![role], ..BiOptions::default() }.check().unwrap_err();
    }
}
