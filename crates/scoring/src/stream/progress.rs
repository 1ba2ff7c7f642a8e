//! How far scores have come, in the document store: what is recorded and sent, and what is written back. Leader and standbys read it.
//!
//! Invariant: of the payments below `covered`, records are stored, and scores and alerts sent, below `ends` in their topics.

use affluent_bus::TopicPartition;
use affluent_documents::{
    Action, CollectionSpec, Document, DocumentError, DocumentStore, Fields, VersionedWrite,
};
use affluent_model::{Position, Value, time::now_micros};
use std::collections::BTreeMap;
use std::sync::Arc;

const COLLECTION: &str = "score_progress";
const BEGAN: &str = "began";
const OUTPUTS: &str = "outputs";
const WRITTEN_BACK: &str = "written_back";

/// Next offsets, by partition.
pub(super) type Offsets = BTreeMap<TopicPartition, i64>;

/// How far it has come.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Progress {
    /// Of the payments' topic.
    pub(super) covered: Offsets,
    /// Of the topics of scores and alerts.
    pub(super) ends: Offsets,
}

pub(super) async fn ensure(store: &dyn DocumentStore) -> Result<(), DocumentError> {
    store.ensure(&CollectionSpec::new(COLLECTION)).await
}

/// When scoring began, microseconds UTC: now, where it never has.
pub(super) async fn began(store: &dyn DocumentStore) -> Result<i64, DocumentError> {
    let fields = vec![("at".to_owned(), Value::TimestampTz(now_micros()))];
    let inserts = Arc::new([Document::new(BEGAN, fields)].into_iter().collect());
    store.insert_if_absent(COLLECTION, &[inserts]).await?;
    Ok(instant(store, BEGAN).await?.unwrap_or_else(now_micros))
}

pub(super) async fn load(store: &dyn DocumentStore) -> Result<Progress, DocumentError> {
    let Some(document) = get(store, OUTPUTS).await? else { return Ok(Progress::default()) };
    let of = |name: &str| match document.field(name) {
        Some(Value::Json(text)) => offsets(text),
        _ => Offsets::new(),
    };
    Ok(Progress { covered: of("covered"), ends: of("ends") })
}

pub(super) async fn save(store: &dyn DocumentStore, progress: &Progress) -> Result<(), DocumentError> {
    let json = |offsets: &Offsets| Value::Json(text(offsets));
    let fields = [("covered", json(&progress.covered)), ("ends", json(&progress.ends))];
    put(store, OUTPUTS, fields.map(|(name, value)| (name.to_owned(), value)).into()).await
}

/// Up to when records are written back, microseconds UTC; none where nothing ever was.
pub(super) async fn written_back(store: &dyn DocumentStore) -> Result<Option<i64>, DocumentError> {
    instant(store, WRITTEN_BACK).await
}

pub(super) async fn save_written_back(store: &dyn DocumentStore, at: i64) -> Result<(), DocumentError> {
    put(store, WRITTEN_BACK, vec![("at".to_owned(), Value::TimestampTz(at))]).await
}

/// Newer than what is there, also where whoever wrote that has a clock that is ahead.
async fn put(store: &dyn DocumentStore, id: &str, fields: Fields) -> Result<(), DocumentError> {
    let last = get(store, id).await?.map_or(0, |document| document.version.lsn.0);
    let version = Position::new(now_micros().cast_unsigned().max(last.saturating_add(1)), 0);
    let write = VersionedWrite { id: id.to_owned(), version, action: Action::Put(fields) };
    store.apply(COLLECTION, vec![write]).await?;
    Ok(())
}

async fn get(store: &dyn DocumentStore, id: &str) -> Result<Option<Document>, DocumentError> {
    Ok(store.get(COLLECTION, &[id.to_owned()]).await?.pop())
}

async fn instant(store: &dyn DocumentStore, id: &str) -> Result<Option<i64>, DocumentError> {
    let document = get(store, id).await?;
    Ok(document.and_then(|document| match document.field("at") {
        Some(Value::TimestampTz(at)) => Some(*at),
        _ => None,
    }))
}

/// `[["topic", partition, offset], ...]`.
fn text(offsets: &Offsets) -> String {
    let list: Vec<(&str, i32, i64)> =
        offsets.iter().map(|(partition, next)| (&*partition.topic, partition.partition, *next)).collect();
    serde_json::to_string(&list).unwrap_or_default()
}

fn offsets(text: &str) -> Offsets {
    let list: Vec<(String, i32, i64)> = serde_json::from_str(text).unwrap_or_default();
    list.into_iter().map(|(topic, number, next)| (TopicPartition::new(topic, number), next)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use affluent_documents::{EmbeddedOptions, EmbeddedStore};

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_kept_is_newer_than_what_was_kept_by_a_clock_that_is_ahead() {
        let home = tempfile::tempdir().unwrap();
        let options = EmbeddedOptions { path: Some(home.path().join("d")), ..EmbeddedOptions::default() };
        let store = EmbeddedStore::open(options, 3_600).await.unwrap();
        ensure(&store).await.unwrap();
        let tomorrow = Position::new(now_micros().cast_unsigned() + 86_400_000_000, 0);
        let fields = vec![("at".to_owned(), Value::TimestampTz(1))];
        let write =
            VersionedWrite { id: WRITTEN_BACK.to_owned(), version: tomorrow, action: Action::Put(fields) };
        store.apply(COLLECTION, vec![write]).await.unwrap();
        for at in [5, 9] {
            save_written_back(&store, at).await.unwrap();
            assert_eq!(written_back(&store).await.unwrap(), Some(at));
        }
    }

    #[test]
    fn offsets_come_back() {
        let written: Offsets =
            [(TopicPartition::new("a.b", 0), 7), (TopicPartition::new("a.b", 1), 0)].into();
        assert_eq!(offsets(&text(&written)), written);
        assert_eq!(offsets("what is this"), Offsets::new());
    }
}
