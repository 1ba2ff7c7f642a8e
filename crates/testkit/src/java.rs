//! Programs that run on Java, from a directory of jars that a script of `interop/` has fetched.
//!
//! Invariant: no program started here outlives the thread that started it, also when that is killed.

use anyhow::Context as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(100);
const LOG_LINES: usize = 40;

/// A directory of jars.
#[derive(Debug, Clone)]
pub struct Java {
    jars: PathBuf,
}

impl Java {
    /// The directory that this variable of the environment names; absent where it names none.
    #[must_use]
    pub fn named_by(variable: &str) -> Option<Self> {
        let jars = std::env::var_os(variable).filter(|jars| !jars.is_empty())?;
        Some(Java { jars: jars.into() })
    }

    /// The program of this class; arguments are still to be given.
    #[must_use]
    pub fn program(&self, class: &str, heap_mb: u32) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "java", &format!("-Xmx{heap_mb}m")]);
        command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=info");
        // Java itself expands the asterisk.
        command.arg("-cp").arg(self.jars.join("*")).arg(class).stdin(Stdio::null());
        command
    }
}

/// A program in the background. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts the program; what it prints is added to the file `log`, what it logs to `log` with `.err` behind it.
    ///
    /// # Errors
    /// Where it cannot be started: `java` and `setpriv` (of util-linux) have to be there.
    pub fn start(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let open = |path: &Path| {
            let file = std::fs::File::options().create(true).append(true).open(path);
            file.with_context(|| format!("open {}", path.display()))
        };
        command.stdout(open(log)?).stderr(open(&log.with_extension("err"))?);
        let child = command.spawn().context("start a Java program by setpriv of util-linux")?;
        Ok(Running { child, log: log.to_owned() })
    }

    /// Its process, whose memory somebody may want to know.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself, and how.
    ///
    /// # Errors
    /// What the system answers.
    pub fn ended(&mut self) -> std::io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits until `condition` holds.
    ///
    /// # Errors
    /// With the end of the log, where the program ends first or the time is over.
    pub fn until(
        &mut self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut() -> bool,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + limit;
        while !condition() {
            if let Some(status) = self.ended()? {
                anyhow::bail!("{what}: it ended with {status}\n{}", self.log_end());
            }
            anyhow::ensure!(Instant::now() < deadline, "{what}: not within {limit:?}\n{}", self.log_end());
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// Where it still runs after `limit`; it is killed then.
    pub fn stop(mut self, limit: Duration) -> anyhow::Result<()> {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        let deadline = Instant::now() + limit;
        while self.ended()?.is_none() {
            anyhow::ensure!(Instant::now() < deadline, "it does not stop\n{}", self.log_end());
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// The last lines that it printed, and that it logged.
    #[must_use]
    pub fn log_end(&self) -> String {
        let end = |path: &Path| {
            let log = std::fs::read(path).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<&str> = log.lines().collect();
            lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
        };
        format!("{}\n{}", end(&self.log), end(&self.log.with_extension("err")))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
