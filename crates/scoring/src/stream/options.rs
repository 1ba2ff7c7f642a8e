//! Options of the stream of scores, checked.

use serde::{Deserialize, Serialize};

/// How scores are recorded and sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScoreOptions {
    /// The group in which processes find out which of them sends.
    pub leader_group: String,
    /// What tells this process from others in that group, so that it leads at once where it led before; empty: nothing does.
    #[serde(skip)]
    pub instance: String,
    /// At the first start of all, payments are scored that were committed up to so many seconds before; what is older is history.
    pub backlog_s: u64,
    /// Payments that may wait to be recorded; where there are more, no further ones are read.
    pub waiting_max: usize,
    /// Partitions and replicas of the topics of scores and alerts, where they are made; -1 replicas: the broker's default.
    pub partitions: i32,
    pub replication: i32,
    /// Days that records stay; 0: for ever.
    pub ttl_days: u32,
    pub write_back: WriteBackOptions,
}

impl Default for ScoreOptions {
    fn default() -> Self {
        ScoreOptions {
            leader_group: "affluent-score-leader".to_owned(),
            instance: String::new(),
            backlog_s: 3_600,
            waiting_max: 200_000,
            partitions: 3,
            replication: -1,
            ttl_days: 400,
            write_back: WriteBackOptions::default(),
        }
    }
}

/// How scores come into the payments database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WriteBackOptions {
    /// The statement, given ids, scores, decisions and times as four arrays; empty: nothing is written back.
    pub statement: String,
    /// Payments of one statement.
    pub batch_rows: usize,
    /// How long a statement waits for more of them, milliseconds.
    pub linger_ms: u64,
    /// Payments that may wait; where there are more, they are read from the records once there is room.
    pub waiting_max: usize,
    /// How long a statement may take, milliseconds.
    pub timeout_ms: u64,
    /// How long it waits for a row that somebody else holds, milliseconds.
    pub lock_timeout_ms: u64,
    /// After so many milliseconds, rows that were refused alone are tried again; longer, where none of them is taken.
    pub aside_retry_ms: u64,
    /// First pause after a fault, milliseconds; it doubles up to `retry_max_ms`.
    pub retry_first_ms: u64,
    pub retry_max_ms: u64,
}

/// For the reference schema, whose decisions have other names. What is there stays where it is newer, or the same.
const STATEMENT: &str = "\
update transactions t set
    risk_score = s.score,
    risk_decision = case s.decision when 'approve' then 'allow' when 'decline' then 'block' else 'review' end,
    risk_scored_at = s.scored_at
from unnest($1::text[], $2::float8[], $3::text[], $4::timestamptz[]) as s (id, score, decision, scored_at)
where t.id = s.id::uuid and (t.risk_scored_at is null or t.risk_scored_at < s.scored_at)";

impl Default for WriteBackOptions {
    fn default() -> Self {
        WriteBackOptions {
            statement: STATEMENT.to_owned(),
            batch_rows: 500,
            linger_ms: 10,
            waiting_max: 50_000,
            timeout_ms: 10_000,
            lock_timeout_ms: 500,
            aside_retry_ms: 5_000,
            retry_first_ms: 100,
            retry_max_ms: 10_000,
        }
    }
}

impl ScoreOptions {
    /// Checks what no default can mend.
    ///
    /// # Errors
    /// The name of the option and what it needs.
    pub fn check(&self) -> Result<(), String> {
        let back = &self.write_back;
        let wrong = if self.leader_group.is_empty() {
            "leader_group is empty: name a consumer group"
        } else if self.waiting_max == 0 || self.partitions < 1 {
            "waiting_max and partitions must be at least 1"
        } else if back.batch_rows == 0 || back.waiting_max == 0 || back.timeout_ms == 0 {
            "write_back: batch_rows, waiting_max and timeout_ms must be at least 1"
        } else if back.lock_timeout_ms == 0
            || back.lock_timeout_ms > back.timeout_ms
            || back.aside_retry_ms == 0
        {
            "write_back: lock_timeout_ms and aside_retry_ms must be at least 1, lock_timeout_ms no more than timeout_ms"
        } else if back.retry_first_ms == 0 || back.retry_max_ms < back.retry_first_ms {
            "write_back: retry_first_ms must be at least 1, retry_max_ms no less than it"
        } else {
            return Ok(());
        };
        Err(wrong.to_owned())
    }
}
