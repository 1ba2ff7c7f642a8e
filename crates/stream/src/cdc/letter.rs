//! The record of a dead letter: JSON, bytes in base64.

use affluent_bus::Outgoing;
use affluent_model::DeadLetter;
use affluent_model::names::TOPIC_DEAD_LETTERS;
use bytes::Bytes;
use serde_json::json;

/// The letter as a record.
pub(crate) fn record(letter: &DeadLetter) -> Outgoing {
    let headers: serde_json::Map<_, _> =
        letter.headers.iter().map(|(name, value)| (name.clone(), base64(value).into())).collect();
    let value = json!({
        "topic": letter.topic, "partition": letter.partition, "offset": letter.offset, "stage": letter.stage,
        "reason": letter.reason, "error": letter.error, "first_seen": letter.first_seen,
        "key": letter.key.as_deref().map(base64), "value": letter.value.as_deref().map(base64), "headers": headers,
    });
    Outgoing {
        topic: TOPIC_DEAD_LETTERS.into(),
        partition: None,
        key: Some(Bytes::from(format!("{}/{}/{}", letter.topic, letter.partition, letter.offset))),
        value: Some(Bytes::from(value.to_string())),
        headers: Vec::new(),
        timestamp_ms: None,
    }
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |chunk: &[u8]| {
        let bits = chunk.iter().fold(0_u32, |bits, &b| bits << 8 | u32::from(b)) << (8 * (3 - chunk.len()));
        let digit = |i: usize| {
            if i <= chunk.len() { char::from(DIGITS[(bits >> (18 - 6 * i)) as usize & 63]) } else { '=' }
        };
        [digit(0), digit(1), digit(2), digit(3)]
    };
    bytes.chunks(3).flat_map(group).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_of_the_rfc() {
        for (text, expected) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(super::base64(text.as_bytes()), expected);
        }
    }
}
