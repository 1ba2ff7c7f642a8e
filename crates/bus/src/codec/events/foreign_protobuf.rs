//! Protobuf records of any schema, as JSON: Protobuf's own mapping, with the fields' names as they
//! are written in the file (<https://protobuf.dev/programming-guides/json/>).

use crate::codec::avro::binary::{Malformed, Take};
use prost_reflect::{DescriptorPool, DynamicMessage, FileDescriptor, MessageDescriptor, SerializeOptions};
use serde_json::Value as Json;

/// Messages in messages. Confluent's indexes name one; a longer path is nonsense.
const MAX_INDEXES: usize = 32;

/// A compiled schema.
#[derive(Debug, Clone)]
pub(super) struct Protobuf {
    file: FileDescriptor,
}

impl Protobuf {
    pub(super) fn new(pool: &DescriptorPool, file: &str) -> Option<Self> {
        pool.get_file_by_name(file).map(|file| Protobuf { file })
    }

    /// The message that a path of indexes leads to.
    pub(super) fn message(&self, indexes: &[usize]) -> Option<MessageDescriptor> {
        let (first, nested) = indexes.split_first()?;
        let mut message = self.file.messages().nth(*first)?;
        for index in nested {
            let child = message.child_messages().nth(*index)?;
            message = child;
        }
        Some(message)
    }

    /// Whether the first message has just the fields of another schema's first message.
    pub(super) fn is_like(&self, other: &Protobuf) -> bool {
        let fields = |schema: &Protobuf| {
            let message = schema.message(&[0])?;
            let mut fields: Vec<_> = message
                .fields()
                .map(|field| {
                    let kind = format!("{:?}", field.kind());
                    (
                        field.number(),
                        field.name().to_owned(),
                        kind,
                        field.is_list(),
                        field.supports_presence(),
                    )
                })
                .collect();
            fields.sort();
            Some(fields)
        };
        fields(self) == fields(other)
    }
}

/// Takes the indexes that stand before the message; those of the first message are a single 0.
pub(super) fn take_indexes(from: &mut Take<'_>) -> Result<Vec<usize>, Malformed> {
    let count = index(from)?;
    match count {
        0 => Ok(vec![0]),
        1..=MAX_INDEXES => (0..count).map(|_| index(from)).collect(),
        _ => Err(Malformed("too many message indexes")),
    }
}

fn index(from: &mut Take<'_>) -> Result<usize, Malformed> {
    // Zigzag variable-length integers, as Avro's.
    usize::try_from(from.long()?).map_err(|_| Malformed("negative message index"))
}

/// Reads a message. Fields that have their default value and no presence are left out.
pub(super) fn read(body: &[u8], message: MessageDescriptor) -> Result<Json, String> {
    let message = DynamicMessage::decode(message, body).map_err(|error| error.to_string())?;
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(false)
        .skip_default_fields(true);
    message.serialize_with_options(serde_json::value::Serializer, &options).map_err(|error| error.to_string())
}
