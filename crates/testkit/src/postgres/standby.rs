//! A standby of a private cluster: a copy that follows it by streaming, until it is promoted.

use super::{Postgres, PostgresError, make_directory};
use crate::unique;
use std::process::{Command, Stdio};
use std::sync::Mutex;

impl Postgres {
    /// Copies this running cluster (`pg_basebackup`) and starts the copy as its hot standby, on a port of its own.
    /// `select pg_promote()` on the copy makes it a server of its own, on a new timeline.
    ///
    /// # Errors
    /// What `pg_basebackup` says, or the end of the standby's log.
    pub fn standby(&self) -> Result<Self, PostgresError> {
        let root = std::env::temp_dir().join(unique("affluent-standby"));
        make_directory(&root, self.account.as_ref())?;
        let mut standby = Postgres {
            root,
            keep: false,
            bin: self.bin.clone(),
            account: self.account,
            settings: self.settings.clone(),
            password: self.password.clone(),
            port: 0,
            server: Mutex::new(None),
        };
        standby.copy(self)?;
        standby.start_on_free_port()?;
        Ok(standby)
    }

    fn copy(&self, of: &Postgres) -> Result<(), PostgresError> {
        let mut command = Command::new(self.bin.join("pg_basebackup"));
        command.args(["--checkpoint=fast", "--no-sync", "--wal-method=stream", "--write-recovery-conf"]);
        command.args(["--dbname", &of.database("postgres").url, "--pgdata"]).arg(self.data());
        command.current_dir(&self.root).env("HOME", &self.root).stdin(Stdio::null());
        if let Some(account) = &self.account {
            account.apply(&mut command);
        }
        let output = command.output().map_err(|e| self.io("run pg_basebackup in", e))?;
        if output.status.success() {
            return Ok(());
        }
        let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(PostgresError::Program { program: "pg_basebackup", output })
    }
}
