//! Records that could not be processed, kept with their reason in the topic `dead-letters`.
//!
//! Here is the form of such a record; [`writer`] makes them durable, [`browse`] lists, shows and replays
//! them. The key names the origin, so that one record refused twice is one dead letter, and a tombstone
//! on that key says that it was replayed.
//!
//! Invariant: what is read back is what was refused, byte for byte.

pub mod browse;
pub mod writer;

pub use browse::{DeadLetters, Filter, Listed, Replayed};
pub use writer::DeadLetterWriter;

use affluent_bus::{Outgoing, TopicSpec};
use affluent_model::names::TOPIC_DEAD_LETTERS;
use affluent_model::{DeadLetter, Reason};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Header of a replayed record: the id of the dead letter that it was.
pub const HEADER_REPLAYED: &str = "replayed";
/// Largest dead letter in bytes: the largest record, in base64, with room.
pub const DEAD_LETTER_BYTES_MAX: u64 = 16 << 20;

/// The value of a dead letter: JSON, its bytes in base64.
#[derive(Serialize, Deserialize)]
struct Form {
    topic: String,
    partition: i32,
    offset: i64,
    stage: String,
    reason: Reason,
    error: String,
    first_seen: i64,
    key: Option<String>,
    value: Option<String>,
    headers: Vec<(String, String)>,
}

/// The topic as the platform makes it: kept for ever, replayed ones compacted away.
#[must_use]
pub fn topic_spec() -> TopicSpec {
    TopicSpec::new(1)
        .set("cleanup.policy", "compact")
        .set("max.message.bytes", &DEAD_LETTER_BYTES_MAX.to_string())
}

/// The name of a dead letter: `topic/partition/offset` of the original record. One that never reached
/// Kafka (partition -1) shares its LSN with others; a part of its content's hash tells them apart.
#[must_use]
pub fn id(letter: &DeadLetter) -> String {
    let id = format!("{}/{}/{}", letter.topic, letter.partition, letter.offset);
    if letter.partition >= 0 {
        return id;
    }
    let mut content = Sha256::new();
    for bytes in letter.headers.iter().map(|(_, value)| value).chain(&letter.key).chain(&letter.value) {
        content.update((bytes.len() as u64).to_be_bytes());
        content.update(bytes);
    }
    format!("{id}/{}", hex::encode(&content.finalize()[..4]))
}

/// The record to send.
#[must_use]
pub fn outgoing(letter: &DeadLetter) -> Outgoing {
    let base64 = |bytes: &Vec<u8>| BASE64_STANDARD.encode(bytes);
    let form = Form {
        topic: letter.topic.clone(),
        partition: letter.partition,
        offset: letter.offset,
        stage: letter.stage.clone(),
        reason: letter.reason,
        error: letter.error.clone(),
        first_seen: letter.first_seen,
        key: letter.key.as_ref().map(base64),
        value: letter.value.as_ref().map(base64),
        headers: letter.headers.iter().map(|(name, value)| (name.clone(), base64(value))).collect(),
    };
    Outgoing {
        topic: TOPIC_DEAD_LETTERS.into(),
        partition: None,
        key: Some(id(letter).into()),
        // Text, numbers and strings as keys: this cannot fail.
        value: Some(serde_json::to_vec(&form).unwrap_or_default().into()),
        headers: vec![("reason".to_owned(), Bytes::from_static(letter.reason.code().as_bytes()))],
        timestamp_ms: None,
    }
}

/// The value is no dead letter of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a dead letter: {0}")]
pub struct NotADeadLetter(String);

/// Reads the value of a record of the topic.
///
/// # Errors
/// Where it is not what [`outgoing`] writes.
pub fn decode(value: &[u8]) -> Result<DeadLetter, NotADeadLetter> {
    let form: Form = serde_json::from_slice(value).map_err(|error| NotADeadLetter(error.to_string()))?;
    let bytes = |text: String| {
        BASE64_STANDARD.decode(text).map_err(|error| NotADeadLetter(format!("base64: {error}")))
    };
    let headers = form.headers.into_iter().map(|(name, value)| Ok((name, bytes(value)?)));
    Ok(DeadLetter {
        topic: form.topic,
        partition: form.partition,
        offset: form.offset,
        stage: form.stage,
        reason: form.reason,
        error: form.error,
        first_seen: form.first_seen,
        key: form.key.map(bytes).transpose()?,
        value: form.value.map(bytes).transpose()?,
        headers: headers.collect::<Result<_, NotADeadLetter>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn letters_round_trip(
            (topic, partition, offset) in ("[a-z.]{1,12}", -1i32..100, any::<i64>()),
            error in ".{0,20}",
            key in option::of(vec(any::<u8>(), 0..20)),
            value in option::of(vec(any::<u8>(), 0..200)),
            headers in vec(("[a-z]{1,4}", vec(any::<u8>(), 0..8)), 0..3),
        ) {
            let (stage, reason) = ("sink-lake".to_owned(), Reason::Undecodable);
            let letter = DeadLetter { topic, partition, offset, stage, reason, error, first_seen: 7, key, value, headers };
            let record = outgoing(&letter);
            prop_assert_eq!(decode(record.value.as_deref().unwrap()).unwrap(), letter);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..64)) {
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn rows_that_share_an_lsn_have_ids_of_their_own() {
        let letter = |value: &str| DeadLetter {
            topic: "oltp.public.t".to_owned(),
            partition: -1,
            offset: 5,
            stage: "cdc".to_owned(),
            reason: Reason::ValueOutOfRange,
            error: String::new(),
            first_seen: 0,
            key: None,
            value: Some(value.as_bytes().to_vec()),
            headers: Vec::new(),
        };
        assert_ne!(id(&letter("a")), id(&letter("b")));
        assert_eq!(id(&letter("a")), id(&letter("a")));
    }
}
