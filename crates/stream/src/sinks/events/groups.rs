//! Error records counted by service and fingerprint: the collection `logs_error_groups`.
//!
//! A document stands for one service, fingerprint and partition; its version is the offset up to
//! which the partition is counted. So a record that is read again is not counted again, and of two
//! processes that hold the partition for a moment (a rebalance) both write the same state of the same
//! version. A service is the key of its lines: they are in one partition, and with it in one
//! document, unless the topic was given more partitions since.
//!
//! Invariant: an event counts once. Of several records with one event id (a client sent again), the
//! one counts whose document the store kept: the document carries its record's place
//! ([`ORIGIN`]), and is durable before anything is counted.

use super::documents::EXPIRES;
use super::fingerprint::{Fingerprint, cut, fingerprint};
use affluent_bus::TopicPartition;
use affluent_documents::{
    Action, CollectionSpec, Document, DocumentError, DocumentStore, IndexSpec, Ttl, VersionedWrite,
};
use affluent_model::names::{COLLECTION_ERROR_GROUPS, COLLECTION_LOGS};
use affluent_model::{LogEvent, LogKind, Position, Value};
use std::collections::{BTreeMap, HashMap};

/// Field of an error's document in `logs`: `topic/partition/offset` of the record it was made from.
pub(super) const ORIGIN: &str = "origin";
/// Bytes of an example's message and of a pattern that are kept.
const MESSAGE_BYTES: usize = 1024;
/// Bytes of a service's name in the id of its groups; of a longer name, the rest goes by its hash.
const SERVICE_BYTES: usize = 200;
/// Documents that are read at once.
const READ_AT_ONCE: usize = 1_000;
const DAY_MICROS: i64 = 86_400_000_000;

/// One error record, as far as its group looks at it. Times are microseconds UTC.
#[derive(Debug, Clone)]
pub(super) struct ErrorLine {
    event_id: String,
    service: String,
    offset: i64,
    occurred_at: i64,
    received_at: i64,
    fingerprint: Fingerprint,
    /// Cut to [`MESSAGE_BYTES`].
    message: String,
}

impl ErrorLine {
    /// The record at `offset`, where it is an error: by its severity or by its kind.
    pub(super) fn of<S: AsRef<str>>(log: &LogEvent<S>, offset: i64) -> Option<Self> {
        let is_error = log.severity >= <LogEvent>::SEVERITY_ERROR || log.kind == LogKind::Error;
        is_error.then(|| ErrorLine {
            event_id: log.event_id.to_string(),
            service: log.service.as_ref().to_owned(),
            offset,
            occurred_at: log.occurred_at,
            received_at: log.received_at,
            fingerprint: fingerprint(log.message.as_ref(), log.attributes.as_ref()),
            message: cut(log.message.as_ref(), MESSAGE_BYTES).to_owned(),
        })
    }
}

/// The collection of groups: by service and when an error was last seen, gone when it was not seen
/// for long.
pub(super) fn collection() -> CollectionSpec {
    CollectionSpec {
        name: COLLECTION_ERROR_GROUPS.to_owned(),
        indexes: vec![IndexSpec::on(&["service", "last_seen"])],
        ttl: Some(Ttl { seconds: 0, field: Some(EXPIRES.to_owned()) }),
    }
}

/// The text under which a record's place is stored with its document.
pub(super) fn origin(partition: &TopicPartition, offset: i64) -> String {
    format!("{partition}/{offset}")
}

/// Counts the lines of each partition. Their documents are in the store already; with `all_new`, each
/// was made just now from the line's record, so that nothing has to be looked up. Repeating it, also
/// with other cuts, counts nothing twice; groups are kept for `days` after their last error arrived.
pub(super) async fn count(
    store: &dyn DocumentStore,
    partitions: &[(&TopicPartition, &[ErrorLine])],
    all_new: bool,
    days: u32,
) -> Result<(), DocumentError> {
    let origins = if all_new { HashMap::new() } else { origins(store, partitions).await? };
    let mut groups: BTreeMap<String, (&TopicPartition, Vec<&ErrorLine>)> = BTreeMap::new();
    for (partition, lines) in partitions {
        for line in lines.iter().filter(|line| is_first(&origins, partition, line)) {
            groups.entry(group_id(line, partition)).or_insert_with(|| (partition, Vec::new())).1.push(line);
        }
    }
    let ids: Vec<String> = groups.keys().cloned().collect();
    let mut stored: HashMap<String, Document> = HashMap::new();
    for ids in ids.chunks(READ_AT_ONCE) {
        let found = store.get(COLLECTION_ERROR_GROUPS, ids).await?;
        stored.extend(found.into_iter().map(|document| (document.id.clone(), document)));
    }
    let writes: Vec<VersionedWrite> = groups
        .into_iter()
        .filter_map(|(id, (partition, lines))| {
            let stored = stored.get(&id);
            counted(id, stored, partition, &lines, days)
        })
        .collect();
    if !writes.is_empty() {
        store.apply(COLLECTION_ERROR_GROUPS, writes).await?;
    }
    Ok(())
}

/// From which record each line's document was made.
async fn origins(
    store: &dyn DocumentStore,
    partitions: &[(&TopicPartition, &[ErrorLine])],
) -> Result<HashMap<String, Option<String>>, DocumentError> {
    let ids: Vec<String> =
        partitions.iter().flat_map(|(_, lines)| lines.iter()).map(|line| line.event_id.clone()).collect();
    let mut origins = HashMap::with_capacity(ids.len());
    for ids in ids.chunks(READ_AT_ONCE) {
        for document in store.get(COLLECTION_LOGS, ids).await? {
            let origin = match document.field(ORIGIN) {
                Some(Value::Text(origin)) => Some(origin.clone()),
                Some(_) | None => None,
            };
            origins.insert(document.id, origin);
        }
    }
    Ok(origins)
}

/// Whether the event's document was made from this very record. One whose document is gone again is
/// past its lifetime: nothing is known against it.
fn is_first(origins: &HashMap<String, Option<String>>, partition: &TopicPartition, line: &ErrorLine) -> bool {
    match origins.get(&line.event_id) {
        Some(Some(stored)) => *stored == origin(partition, line.offset),
        Some(None) => false,
        None => true,
    }
}

/// `service/fingerprint/topic/partition`; neither of the last three has a slash in it.
fn group_id(line: &ErrorLine, partition: &TopicPartition) -> String {
    let hash = &line.fingerprint.hash;
    if line.service.len() <= SERVICE_BYTES {
        return format!("{}/{hash}/{partition}", line.service);
    }
    let rest = super::fingerprint::digest(&line.service);
    format!("{}~{rest}/{hash}/{partition}", cut(&line.service, SERVICE_BYTES))
}

/// The group with the lines past its version added; `None` where there are none. `lines` are in the
/// order of their offsets.
fn counted(
    id: String,
    stored: Option<&Document>,
    partition: &TopicPartition,
    lines: &[&ErrorLine],
    days: u32,
) -> Option<VersionedWrite> {
    let mut counted = stored.map_or(Position::default(), |document| document.version);
    let mut fresh: Vec<&ErrorLine> = Vec::with_capacity(lines.len());
    for &line in lines.iter().filter(|line| version(line) > counted) {
        // Once, also where a record was staged twice.
        if fresh.last().is_none_or(|last| last.offset < line.offset) {
            fresh.push(line);
        }
    }
    counted = fresh.last().map(|line| version(line))?;
    let first = fresh.first()?;
    let number = |name: &str| match stored?.field(name) {
        Some(Value::Int(number) | Value::TimestampTz(number)) => Some(*number),
        Some(_) | None => None,
    };
    let seen = || fresh.iter().map(|line| line.occurred_at);
    let first_seen = seen().chain(number("first_seen")).min()?;
    let last_seen = seen().chain(number("last_seen")).max()?;
    let lifetime = i64::from(days).saturating_mul(DAY_MICROS);
    let expires =
        fresh.iter().map(|line| line.received_at.saturating_add(lifetime)).chain(number(EXPIRES)).max()?;
    let count = number("count").unwrap_or(0).saturating_add(i64::try_from(fresh.len()).unwrap_or(i64::MAX));
    let kept = |name: &str| stored.and_then(|document| document.field(name)).cloned();
    let fields = vec![
        field("service", Value::Text(first.service.clone())),
        field("fingerprint", Value::Text(first.fingerprint.hash.clone())),
        field("exception", first.fingerprint.exception.clone().map_or(Value::Null, Value::Text)),
        field("first_seen", Value::TimestampTz(first_seen)),
        field("last_seen", Value::TimestampTz(last_seen)),
        field("count", Value::Int(count)),
        field("pattern", kept("pattern").unwrap_or_else(|| pattern(first))),
        field(
            "example_event_id",
            kept("example_event_id").unwrap_or_else(|| Value::Text(first.event_id.clone())),
        ),
        field(
            "example_message",
            kept("example_message").unwrap_or_else(|| Value::Text(first.message.clone())),
        ),
        field("topic", Value::Text(partition.topic.to_string())),
        field("partition", Value::Int(partition.partition.into())),
        field(EXPIRES, Value::TimestampTz(expires)),
    ];
    Some(VersionedWrite { id, version: counted, action: Action::Put(fields) })
}

fn field(name: &str, value: Value) -> (String, Value) {
    (name.to_owned(), value)
}

fn pattern(line: &ErrorLine) -> Value {
    Value::Text(cut(&line.fingerprint.pattern, MESSAGE_BYTES).to_owned())
}

/// Above the zero position also at offset 0.
fn version(line: &ErrorLine) -> Position {
    Position::new(u64::try_from(line.offset).unwrap_or(0), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_by_severity_or_kind() {
        for (severity, kind, expected) in [
            (17, LogKind::App, true),
            (24, LogKind::Audit, true),
            (16, LogKind::App, false),
            (0, LogKind::Error, true),
            (0, LogKind::Security, false),
        ] {
            let log = LogEvent { severity, kind, ..<LogEvent>::default() };
            assert_eq!(ErrorLine::of(&log, 0).is_some(), expected, "{severity} {kind:?}");
        }
    }

    #[test]
    fn long_names_of_services_stay_apart_and_short() {
        let partition = TopicPartition::new("logs.events", 3);
        let id = |service: String| {
            let log = LogEvent { service, severity: 17, ..<LogEvent>::default() };
            group_id(&ErrorLine::of(&log, 0).unwrap(), &partition)
        };
        let short = id("checkout".to_owned());
        assert!(short.starts_with("checkout/") && short.ends_with("/logs.events/3"), "{short}");
        let long = ["a", "b"].map(|end| id(format!("{}{end}", "ü".repeat(5_000))));
        assert!(long[0] != long[1] && long.iter().all(|id| id.len() < 300), "{long:?}");
    }
}
