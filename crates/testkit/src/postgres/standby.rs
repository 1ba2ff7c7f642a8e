//! A standby of a private cluster: a copy that follows it by streaming, until it is promoted.

use super::{Postgres, PostgresError, Stop, give, make_directory};
use crate::unique;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Mutex;

impl Postgres {
    /// Makes a copy of this running cluster and starts it as its hot standby, on a port of its own. Sessions end: the cluster
    /// stands still while it is copied, so that it takes the server's programs alone, of any version (no `pg_basebackup`).
    /// `select pg_promote()` on the copy makes it a server of its own, on a new timeline.
    ///
    /// # Errors
    /// What `cp` says, or the end of a server's log.
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
        self.stop(Stop::Fast)?;
        let copied = standby.copy(self);
        self.start_again()?;
        copied?;
        standby.start_on_free_port()?;
        Ok(standby)
    }

    /// The files of a cluster that stands still, and what makes them follow it.
    fn copy(&self, of: &Postgres) -> Result<(), PostgresError> {
        let mut command = Command::new("cp");
        command.arg("--archive").args([of.data(), self.data()]).current_dir(&self.root).stdin(Stdio::null());
        if let Some(account) = &self.account {
            account.apply(&mut command);
        }
        let output = command.output().map_err(|e| self.io("copy a cluster to", e))?;
        if !output.status.success() {
            let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(PostgresError::Program { program: "cp", output });
        }
        let secret = of.password.as_ref().map(|secret| format!(" password={secret}")).unwrap_or_default();
        let primary = format!("host=127.0.0.1 port={} user={}{secret}", of.port, super::SUPERUSER);
        let line = format!("primary_conninfo = '{primary}'\n");
        let settings = self.data().join("postgresql.auto.conf");
        std::fs::File::options()
            .append(true)
            .open(settings)
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .map_err(|e| self.io("write the primary's address to", e))?;
        let signal = self.data().join("standby.signal");
        std::fs::write(&signal, "").map_err(|e| self.io("write standby.signal to", e))?;
        give(&signal, self.account.as_ref())
    }
}
