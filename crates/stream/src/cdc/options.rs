//! The configuration of a PostgreSQL source, and the checks that need no server.

use super::CdcError;
use super::protect::Protection;
use affluent_bus::codec::Format;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// One PostgreSQL source. Tables are named `schema.table`; patterns may use `*`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct CdcOptions {
    /// Logical name of the source and first part of its topics.
    pub source: String,
    /// libpq connection string, URL or `key=value` form. Beside what tokio-postgres knows:
    /// `sslmode` (`disable`, `prefer`, `require`, `verify-ca`, `verify-full`), `sslrootcert`,
    /// `sslcert`, `sslkey`.
    pub connection: String,
    /// Name of the logical replication slot.
    pub slot: String,
    /// Name of the publication.
    pub publication: String,
    /// Create slot and publication, and add tables to the publication. When off, they must exist.
    pub manage: bool,
    /// Patterns of the tables to capture.
    pub tables: Vec<String>,
    /// Patterns of tables to leave out, after `tables`.
    pub exclude: Vec<String>,
    /// How often the source is searched for new tables that match, seconds; 0 = only at start.
    pub discover_s: u64,
    /// Encoding of keys and values.
    pub format: Format,
    /// Partitions of a new topic. An existing topic keeps its count for good.
    pub partitions: i32,
    /// Replicas of a new topic.
    pub replication: i32,
    pub snapshot: SnapshotOptions,
    /// A heartbeat is written into the source this often, seconds; 0 = never.
    pub heartbeat_s: u64,
    /// The slot's position is saved, and the slot advanced, at most this often, milliseconds.
    pub checkpoint_ms: u64,
    /// Warn when the slot keeps more write-ahead log than this.
    pub retained_warning_bytes: u64,
    /// Publish begin and end of every transaction to `<source>.transaction`.
    pub transaction_topic: bool,
    /// Follow every delete with a tombstone.
    pub tombstones: bool,
    /// Where a renamed table's changes go.
    pub on_rename: OnRename,
    /// Changes between PostgreSQL and Kafka, at most, bytes of pgoutput messages.
    pub queue_bytes: usize,
    /// Largest record; a larger one goes to the dead letters.
    pub max_record_bytes: usize,
    /// Directory for large transactions that are still open at the source. Default: a directory
    /// of the system's temporary directory.
    pub spill_dir: Option<PathBuf>,
    /// `"public.customers.email" = "token"`: columns transformed before they leave the process.
    /// Schema and table may be `*`.
    pub protect: BTreeMap<String, Protection>,
    /// Secret key of `token` and `hash`.
    #[serde(skip_serializing)]
    pub protect_key: Option<String>,
    /// Go on although changes between the saved position and the slot's are lost (`--accept-gap`).
    pub accept_gap: bool,
    /// Read every table again and go on from now (`--resnapshot`).
    pub resnapshot: bool,
}

/// How tables are read before their changes are.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SnapshotOptions {
    pub mode: SnapshotMode,
    /// Rows of a chunk, roughly: the unit that is redone after a crash.
    pub chunk_rows: u64,
    /// Chunks read at the same time.
    pub workers: usize,
}

/// Whether rows that existed before the slot are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotMode {
    /// Every table once, when it is first captured.
    #[default]
    Initial,
    /// Changes only.
    Never,
}

/// Where the changes of a renamed table go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnRename {
    /// To the topic of the name under which it was first captured, so that consumers, mirrors and
    /// lake tables go on.
    #[default]
    Keep,
    /// To the topic of the new name, from the first change after the rename on.
    Follow,
}

impl Default for CdcOptions {
    fn default() -> Self {
        CdcOptions {
            source: "oltp".into(),
            connection: String::new(),
            slot: "affluent".into(),
            publication: "affluent".into(),
            manage: true,
            tables: vec!["public.*".into()],
            exclude: Vec::new(),
            discover_s: 10,
            format: Format::Avro,
            partitions: 3,
            replication: 1,
            snapshot: SnapshotOptions::default(),
            heartbeat_s: 10,
            checkpoint_ms: 1000,
            retained_warning_bytes: 1 << 30,
            transaction_topic: false,
            tombstones: true,
            on_rename: OnRename::Keep,
            queue_bytes: 16 << 20,
            max_record_bytes: 1_000_000,
            spill_dir: None,
            protect: BTreeMap::new(),
            protect_key: None,
            accept_gap: false,
            resnapshot: false,
        }
    }
}

impl Default for SnapshotOptions {
    fn default() -> Self {
        SnapshotOptions { mode: SnapshotMode::Initial, chunk_rows: 50_000, workers: 2 }
    }
}

impl CdcOptions {
    /// Checks what can be checked without a server.
    ///
    /// # Errors
    /// [`CdcError::Config`] naming the key, what is wrong and what would be right.
    pub fn check(&self) -> Result<(), CdcError> {
        let wrong = |key: &str, problem: &str| Err(CdcError::Config(format!("cdc.{key}: {problem}")));
        let topic_safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if self.source.is_empty() || !self.source.chars().all(topic_safe) {
            return wrong("source", "must be of letters, digits, `.`, `_` and `-`, as it begins topic names");
        }
        if self.connection.is_empty() {
            return wrong(
                "connection",
                "is empty: give a URL like postgresql://user:password@host:5432/database",
            );
        }
        let slot_safe = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if self.slot.is_empty() || self.slot.len() > 63 || !self.slot.chars().all(slot_safe) {
            return wrong(
                "slot",
                "must be of lower-case letters, digits and `_`, at most 63 (PostgreSQL's rule)",
            );
        }
        if self.publication.is_empty() || self.publication.contains([',', '"', '\'']) {
            return wrong("publication", "must be a name without quotes and commas");
        }
        if self.tables.is_empty() {
            return wrong("tables", "names no table: give patterns like \"public.*\"");
        }
        for pattern in self.tables.iter().chain(&self.exclude) {
            if !pattern.contains('.') {
                return wrong("tables", &format!("`{pattern}` lacks the schema: write `public.{pattern}`"));
            }
        }
        if self.partitions < 1 || self.replication < 1 {
            return wrong("partitions", "partitions and replication must be at least 1");
        }
        if self.snapshot.chunk_rows < 100 || !(1..=64).contains(&self.snapshot.workers) {
            return wrong("snapshot", "chunk_rows must be at least 100, workers 1 to 64");
        }
        if self.queue_bytes < 1 << 16 {
            return wrong("queue_bytes", "must be at least 65536");
        }
        for column in self.protect.keys() {
            if column.split('.').count() != 3 {
                return wrong("protect", &format!("`{column}` must be `schema.table.column`"));
            }
        }
        let keyed = self.protect.values().any(|p| matches!(p, Protection::Token | Protection::Hash));
        if keyed && self.protect_key.as_ref().is_none_or(|key| key.len() < 16) {
            return wrong(
                "protect_key",
                "columns are marked `token` or `hash`, which needs a secret key of at least 16 characters, \
                 for example protect_key = \"${file:/etc/affluent/protect.key}\"",
            );
        }
        Ok(())
    }

    /// Whether the table is to be captured.
    #[must_use]
    pub fn selects(&self, schema: &str, table: &str) -> bool {
        let name = format!("{schema}.{table}");
        let any = |patterns: &[String]| patterns.iter().any(|p| matches_pattern(p, &name));
        any(&self.tables) && !any(&self.exclude)
    }
}

/// Whether `text` fits `pattern`, in which `*` stands for any characters.
pub(crate) fn matches_pattern(pattern: &str, text: &str) -> bool {
    let (mut p, mut t) = (0, 0);
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let mut retry = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            p += 1;
            t += 1;
        } else if let Some((star, from)) = retry {
            retry = Some((star, from + 1));
            p = star + 1;
            t = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_select_tables() {
        let options = CdcOptions {
            tables: vec!["public.*".into(), "audit.log_*".into()],
            exclude: vec!["*.tmp_*".into()],
            ..CdcOptions::default()
        };
        for (schema, table, expected) in [
            ("public", "customers", true),
            ("public", "tmp_1", false),
            ("audit", "log_2024", true),
            ("audit", "logs", false),
            ("publicity", "x", false),
        ] {
            assert_eq!(options.selects(schema, table), expected, "{schema}.{table}");
        }
        assert!(matches_pattern("a*b*c", "aXbYbZc"));
        assert!(!matches_pattern("a*b*c", "aXbYbZ"));
    }

    #[test]
    fn mistakes_are_named() {
        let good = CdcOptions { connection: "host=localhost".into(), ..CdcOptions::default() };
        assert!(good.check().is_ok());
        type Spoil = fn(&mut CdcOptions);
        let cases: Vec<(&str, Spoil)> = vec![
            ("cdc.slot", |o| o.slot = "Bad-Slot".into()),
            ("cdc.tables", |o| o.tables = vec!["customers".into()]),
            ("cdc.source", |o| o.source = "a b".into()),
            ("cdc.connection", |o| o.connection.clear()),
            ("cdc.protect_key", |o| _ = o.protect.insert("a.b.c".into(), Protection::Hash)),
            ("cdc.protect", |o| _ = o.protect.insert("b.c".into(), Protection::Mask)),
        ];
        for (key, spoil) in cases {
            let mut options = good.clone();
            spoil(&mut options);
            let error = options.check().expect_err(key).to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
