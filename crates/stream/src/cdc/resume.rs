//! What Kafka holds already, found in the topics themselves.
//!
//! Changes are sent to a partition in the order of their positions by an idempotent producer, so
//! what a partition holds of the stream is a prefix: its last position says which changes not to
//! send again. Snapshot rows (header `chunk`) lie in between and say nothing of it.

use super::CdcError;
use affluent_bus::{Admin, Incoming, TopicPartition};
use affluent_model::Position;
use affluent_model::names::{HEADER_CHUNK, HEADER_POSITION};
use std::collections::HashSet;
use std::time::Duration;

/// Records that are read back at once.
const BLOCK: i64 = 4096;

/// The last streamed position of each partition of a topic; none where there is no streamed record.
pub(crate) async fn delivered(
    admin: &Admin,
    topic: &str,
    partitions: i32,
) -> Result<Vec<Option<Position>>, CdcError> {
    // All at once: the first change of a table waits for it.
    let last = |partition| async move { last_position(admin, &TopicPartition::new(topic, partition)).await };
    futures::future::try_join_all((0..partitions).map(last)).await
}

async fn last_position(admin: &Admin, partition: &TopicPartition) -> Result<Option<Position>, CdcError> {
    let (low, high) = settled(admin, partition).await?;
    let (mut to, mut block) = (high, 64);
    while to > low {
        let from = (to - block).max(low);
        let records = admin.read_range(partition, from, to).await?;
        if let Some(position) = greatest_streamed(&records) {
            return Ok(Some(position));
        }
        to = from;
        block = (block * 4).min(BLOCK * 16);
    }
    Ok(None)
}

/// The ends of a partition once they stand still: a writer that was killed may have requests under
/// way in the broker.
async fn settled(admin: &Admin, partition: &TopicPartition) -> Result<(i64, i64), CdcError> {
    let mut last = admin.watermarks(partition).await?;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let now = admin.watermarks(partition).await?;
        if now.1 == last.1 {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}

/// The greatest position of streamed changes among the records.
pub(crate) fn greatest_streamed(records: &[Incoming]) -> Option<Position> {
    records.iter().filter(|r| r.header(HEADER_CHUNK).is_none()).filter_map(position_of).max()
}

/// The position header of a record.
pub(crate) fn position_of(record: &Incoming) -> Option<Position> {
    std::str::from_utf8(record.header(HEADER_POSITION)?).ok()?.parse().ok()
}

/// Whether a change is in its partition already.
pub(crate) fn is_delivered(last: Option<Position>, position: Position) -> bool {
    last.is_some_and(|last| position <= last)
}

/// The keys of the rows that an unfinished chunk has put into the topic since `from`.
pub(crate) async fn chunk_rows(
    admin: &Admin,
    topic: &str,
    chunk: &str,
    from: &[i64],
) -> Result<HashSet<Vec<u8>>, CdcError> {
    let mut rows = HashSet::new();
    for (partition, &from) in (0..).zip(from) {
        let partition = TopicPartition::new(topic, partition);
        let (low, high) = settled(admin, &partition).await?;
        let mut at = from.max(low);
        while at < high {
            let to = (at + BLOCK).min(high);
            for record in admin.read_range(&partition, at, to).await? {
                if record.header(HEADER_CHUNK).is_some_and(|name| name.as_ref() == chunk.as_bytes()) {
                    rows.extend(record.key.map(|key| key.to_vec()));
                }
            }
            at = to;
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn record(position: Option<Position>, chunk: bool) -> Incoming {
        let mut headers = Vec::new();
        headers.extend(position.map(|p| (HEADER_POSITION.to_owned(), Bytes::from(p.to_string()))));
        if chunk {
            headers.push((HEADER_CHUNK.to_owned(), Bytes::from_static(b"t#1.0")));
        }
        Incoming {
            topic: "t".into(),
            partition: 0,
            offset: 0,
            timestamp_ms: 0,
            key: None,
            value: None,
            headers,
        }
    }

    proptest! {
        /// Any prefix of a partition's history, replayed from any earlier point, ends as the history.
        #[test]
        fn replay_after_any_cut_gives_each_change_once(
            ordinals in prop::collection::btree_set((1_u64..20, 1_u64..20), 1..40),
            cut: prop::sample::Index,
            back: prop::sample::Index,
            chunks in prop::collection::vec(any::<bool>(), 40),
        ) {
            let history: Vec<Position> = ordinals.iter().map(|&(lsn, ordinal)| Position::new(lsn, ordinal)).collect();
            let cut = cut.index(history.len() + 1);
            let from = if cut == 0 { 0 } else { back.index(cut) };
            let mut topic: Vec<Incoming> = Vec::new();
            for (position, &chunk) in history[..cut].iter().zip(&chunks) {
                topic.push(record(Some(*position), false));
                if chunk {
                    topic.push(record(Some(Position::new(u64::MAX, 0)), true));
                }
            }
            let last = greatest_streamed(&topic);
            let mut sent: Vec<Position> = history[..cut].to_vec();
            sent.extend(history[from..].iter().filter(|&&p| !is_delivered(last, p)));
            prop_assert_eq!(sent, history);
        }
    }
}
