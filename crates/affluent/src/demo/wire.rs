//! The warehouse as tools of business intelligence see it: by `psql`, over the PostgreSQL protocol.

use super::report::Answer;
use anyhow::{Context as _, bail};
use chrono::DateTime;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Command;

/// Rows of an answer that are shown.
const ANSWER_ROWS: u32 = 5;
/// A version that was published is seen after this long at the latest.
const VISIBLE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(100);
const NEWEST: &str = "select max(updated_at) from dwh.fact_transactions";
/// `2026-11-22 12:00:00.5+00`.
const TIME: &str = "%Y-%m-%d %H:%M:%S%.f%#z";

/// How the endpoint is asked.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    psql: PathBuf,
    url: String,
}

impl Wire {
    /// `psql` is in the directory `bin`, the endpoint at `address` of this machine, where it trusts.
    pub(super) fn new(bin: &Path, address: SocketAddr) -> Self {
        let url = format!("postgres://affluent@{address}/affluent?sslmode=disable");
        Wire { psql: bin.join("psql"), url }
    }

    /// Waits until a payment can be seen that was changed at `newest`, microseconds.
    ///
    /// # Errors
    /// It cannot within [`VISIBLE`], or the endpoint fails.
    pub(super) async fn sees(&self, newest: i64) -> anyhow::Result<()> {
        let deadline = Instant::now() + VISIBLE;
        loop {
            let text = self.psql(&["--tuples-only", "--no-align"], NEWEST).await?;
            if micros(text.trim())? >= Some(newest) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("what was published is not seen over the wire within {VISIBLE:?}: {text}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// A question and its first rows; what it asks is its opening comment.
    ///
    /// # Errors
    /// The endpoint fails.
    pub(super) async fn answer(&self, text: &str) -> anyhow::Result<Answer> {
        let question: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("-- ")).collect();
        let first = format!("{}\nlimit {ANSWER_ROWS}", text.trim_end());
        let table = self.psql(&["--pset", "footer=off", "--pset", "pager=off"], &first).await?;
        Ok(Answer { question: question.join(" "), table })
    }

    async fn psql(&self, options: &[&str], text: &str) -> anyhow::Result<String> {
        let mut command = Command::new(&self.psql);
        command.args(["--no-psqlrc", "--no-password", "--quiet", "--dbname", &self.url]).args(options);
        command.args(["--command", text]).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.with_context(|| format!("run {}", self.psql.display()))?;
        if !output.status.success() {
            bail!("psql: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        String::from_utf8(output.stdout).context("read what psql printed")
    }
}

/// Microseconds of a time as PostgreSQL writes it; none of nothing.
fn micros(text: &str) -> anyhow::Result<Option<i64>> {
    if text.is_empty() {
        return Ok(None);
    }
    let time = DateTime::parse_from_str(text, TIME).with_context(|| format!("read the time {text}"))?;
    Ok(Some(time.timestamp_micros()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_postgresql_is_read_to_the_microsecond() {
        assert_eq!(micros("1970-01-01 00:00:01.5+00").unwrap(), Some(1_500_000));
        assert_eq!(micros("1970-01-01 02:00:00.000001+02").unwrap(), Some(1));
        assert_eq!(micros("1970-01-01 00:00:02+00").unwrap(), Some(2_000_000));
        assert_eq!(micros("").unwrap(), None);
        micros("yesterday").unwrap_err();
    }
}
