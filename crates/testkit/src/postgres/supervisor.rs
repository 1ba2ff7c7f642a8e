//! The shell that stands between this process and the server, so that the server never outlives it.
//!
//! The shell waits on a pipe whose other end only this process holds. A line on the pipe names the
//! signal to stop the server with. The pipe's end without a line means that this process is gone,
//! `kill -9` included: the shell then stops the server at once and removes its directory.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use super::Stop;
use super::binaries::Account;

/// `$1` is the directory to remove at the unannounced end (or empty), the rest the server's command.
const SCRIPT: &str = r#"
remove=$1; shift
"$@" </dev/null &
server=$!
if read -r signal; then remove=; else signal=QUIT; fi
kill -s "$signal" "$server" 2>/dev/null
wait "$server"
if [ -n "$remove" ]; then rm -rf -- "$remove"; fi
"#;

const POLL: Duration = Duration::from_millis(20);

/// What to start, and as whom.
pub(super) struct Launch<'a> {
    pub(super) program: &'a Path,
    pub(super) data: &'a Path,
    pub(super) log: &'a Path,
    /// The directory that goes when this process is killed.
    pub(super) remove: Option<&'a Path>,
    pub(super) account: Option<&'a Account>,
    pub(super) settings: &'a [(String, String)],
}

/// A running server and the shell that watches over it.
#[derive(Debug)]
pub(super) struct Supervisor {
    shell: Child,
    orders: ChildStdin,
}

impl Supervisor {
    pub(super) fn start(launch: &Launch<'_>) -> std::io::Result<Self> {
        let log = std::fs::File::options().create(true).append(true).open(launch.log)?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "affluent-postgres"]);
        command.arg(launch.remove.unwrap_or(Path::new("")));
        command.arg(launch.program).arg("-D").arg(launch.data);
        for (key, value) in launch.settings {
            command.arg("-c").arg(format!("{key}={value}"));
        }
        if let Some(account) = launch.account {
            account.apply(&mut command);
        }
        // Its own group: Ctrl-C in a terminal reaches this process alone, which then stops in order.
        command.process_group(0).current_dir("/");
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        let mut shell = command.spawn()?;
        let orders = shell.stdin.take().ok_or_else(|| std::io::Error::other("the shell has no input"))?;
        Ok(Supervisor { shell, orders })
    }

    /// Waits until the server takes connections; false when it ended or the time is up.
    pub(super) fn wait_ready(&mut self, data: &Path, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut seen = false;
        while Instant::now() < deadline {
            let pid = server_pid(data).filter(|pid| self.is_parent_of(*pid));
            match pid {
                Some(_) if is_ready(data) => return true,
                Some(_) => seen = true,
                None if seen || !self.has_child() => return false,
                None => {}
            }
            std::thread::sleep(POLL);
        }
        false
    }

    pub(super) fn stop(mut self, how: Stop) -> std::io::Result<()> {
        let signal = match how {
            Stop::Fast => "INT",
            Stop::Immediate => "QUIT",
        };
        self.orders.write_all(format!("{signal}\n").as_bytes())?;
        self.shell.wait()?;
        Ok(())
    }

    fn is_parent_of(&self, pid: u32) -> bool {
        parent_of(pid) == Some(self.shell.id())
    }

    /// The shell has started the server and not seen it end (a dead server stays a zombie).
    fn has_child(&self) -> bool {
        let id = self.shell.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        // Kernels without the file give no answer: then only the deadline ends the wait.
        let Ok(children) = children else { return true };
        let alive = |child: &str| child.parse().is_ok_and(|child| state_of(child) != Some('Z'));
        children.trim().is_empty() || children.split_whitespace().any(alive)
    }
}

/// First line of `postmaster.pid`.
pub(super) fn server_pid(data: &Path) -> Option<u32> {
    std::fs::read_to_string(data.join("postmaster.pid")).ok()?.lines().next()?.trim().parse().ok()
}

/// Line 8 of `postmaster.pid` is the state, as `pg_ctl` reads it.
fn is_ready(data: &Path) -> bool {
    std::fs::read_to_string(data.join("postmaster.pid"))
        .is_ok_and(|text| text.lines().nth(7).is_some_and(|state| state.trim() == "ready"))
}

fn parent_of(pid: u32) -> Option<u32> {
    stat_field(pid, 1)?.parse().ok()
}

fn state_of(pid: u32) -> Option<char> {
    stat_field(pid, 0)?.chars().next()
}

/// A field of `/proc/<pid>/stat` counted from the state; the name before it may hold anything.
fn stat_field(pid: u32, index: usize) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(index).map(str::to_owned)
}
