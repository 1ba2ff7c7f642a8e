//! Decoding clicks and log lines: by the writer's schema, prepared once an id.

use super::fields::{self, Origin};
use super::foreign_avro::{self, Tree};
use super::foreign_protobuf::{self, Protobuf, take_indexes};
use super::{avro_schema, own_avro, own_protobuf, protobuf_file};
use crate::Incoming;
use crate::codec::avro::MAGIC;
use crate::codec::avro::binary::{Malformed, Take};
use crate::codec::{CodecError, undecodable};
use crate::registry::{Named, RegistryClient, RegistryError, Schema, SchemaType, compile_protobuf};
use affluent_model::{ClickEvent, EventKind, LogEvent};
use serde_json::Value as Json;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// Prepared schemas; there is one a topic and version.
const CACHE_ENTRIES: usize = 4_096;

/// Decodes events of all formats. Not shared: each task has its own.
#[derive(Debug, Default)]
pub struct EventDecoder {
    registry: Option<RegistryClient>,
    writers: HashMap<u32, Arc<Writer>>,
}

/// How to read records of one schema.
#[derive(Debug)]
pub(super) enum Writer {
    /// One of our own schemas, with the tree for what does not fit it.
    OwnAvro(EventKind, Tree),
    Avro(Tree),
    /// The first message is one of ours.
    OwnProtobuf(EventKind, Protobuf),
    Protobuf(Protobuf),
    Json,
    /// Nothing of this schema can be read; why.
    Unusable(String),
}

impl EventDecoder {
    /// A decoder; Avro and Protobuf records need a registry.
    #[must_use]
    pub fn new(registry: Option<RegistryClient>) -> Self {
        EventDecoder { registry, writers: HashMap::new() }
    }

    /// The click that a record holds. Fields are found by name; what has no field of its own is in
    /// `properties`. A missing id is derived from the record's position, a missing time is the
    /// record's. Its texts are lent from the record where they can be. Waits only for a schema that it has
    /// not met.
    ///
    /// # Errors
    /// [`CodecError`]; one without a [`CodecError::reason`] passes, the record may be good. A record
    /// without a value, or without `event_type`, is undecodable.
    pub async fn click<'a>(&mut self, record: &'a Incoming) -> Result<ClickEvent<Cow<'a, str>>, CodecError> {
        let (writer, body) = self.writer_of(record).await?;
        click(&writer, body, Origin::new(record))
    }

    /// The log line that a record holds; as [`EventDecoder::click`], with `attributes`.
    ///
    /// # Errors
    /// As [`EventDecoder::click`]; what cannot be missing is `service`.
    pub async fn log<'a>(&mut self, record: &'a Incoming) -> Result<LogEvent<Cow<'a, str>>, CodecError> {
        let (writer, body) = self.writer_of(record).await?;
        log(&writer, body, Origin::new(record))
    }

    async fn writer_of<'a>(&mut self, record: &'a Incoming) -> Result<(Arc<Writer>, &'a [u8]), CodecError> {
        let value = record.value.as_deref().ok_or_else(|| undecodable("the record has no value"))?;
        match value {
            [MAGIC, a, b, c, d, body @ ..] => {
                Ok((self.writer(u32::from_be_bytes([*a, *b, *c, *d])).await?, body))
            }
            _ if value.trim_ascii_start().starts_with(b"{") => Ok((Arc::clone(&PLAIN_JSON), value)),
            _ => Err(undecodable("neither Confluent's wire format nor a JSON object")),
        }
    }

    async fn writer(&mut self, id: u32) -> Result<Arc<Writer>, CodecError> {
        if let Some(writer) = self.writers.get(&id) {
            return Ok(Arc::clone(writer));
        }
        let registry = self.registry.as_ref().ok_or_else(|| {
            let problem = "Avro and Protobuf need a schema registry: set registry.url";
            RegistryError::Options(problem.to_owned())
        })?;
        let schema = registry.schema_by_id(id).await?;
        let references = registry.references(&schema).await?;
        let writer = Arc::new(Writer::new(&schema, &references));
        if self.writers.len() >= CACHE_ENTRIES {
            self.writers.clear();
        }
        self.writers.insert(id, Arc::clone(&writer));
        Ok(writer)
    }
}

static PLAIN_JSON: LazyLock<Arc<Writer>> = LazyLock::new(|| Arc::new(Writer::Json));

/// Our own schemas, compiled. That they compile, a test holds.
struct Own {
    kind: EventKind,
    avro: Option<Tree>,
    protobuf: Option<Protobuf>,
}

static OWN: LazyLock<[Own; 2]> = LazyLock::new(|| {
    EventKind::ALL.map(|kind| Own {
        kind,
        avro: foreign_avro::compile(avro_schema(kind)).ok(),
        protobuf: protobuf(protobuf_file(kind), &[]).ok(),
    })
});

fn protobuf(text: &str, references: &[Named]) -> Result<Protobuf, String> {
    let (pool, file) = compile_protobuf(text, references)?;
    Protobuf::new(&pool, file).ok_or_else(|| "the file was not compiled".to_owned())
}

impl Writer {
    pub(super) fn new(schema: &Schema, references: &[Named]) -> Self {
        match schema.schema_type {
            SchemaType::Avro => match foreign_avro::compile_with(&schema.text, references) {
                Ok(tree) => match OWN.iter().find(|own| own.avro.as_ref() == Some(&tree)) {
                    Some(own) => Writer::OwnAvro(own.kind, tree),
                    None => Writer::Avro(tree),
                },
                Err(problem) => Writer::Unusable(problem),
            },
            SchemaType::Protobuf => match protobuf(&schema.text, references) {
                Ok(schema) => {
                    let is_like = |own: &&Own| own.protobuf.as_ref().is_some_and(|own| own.is_like(&schema));
                    match OWN.iter().find(is_like) {
                        Some(own) => Writer::OwnProtobuf(own.kind, schema),
                        None => Writer::Protobuf(schema),
                    }
                }
                Err(problem) => Writer::Unusable(problem),
            },
            SchemaType::Json => Writer::Json,
        }
    }

    /// The record as a tree.
    fn tree(&self, body: &[u8]) -> Result<Json, CodecError> {
        match self {
            Writer::OwnAvro(_, tree) | Writer::Avro(tree) => {
                foreign_avro::read(body, tree).map_err(malformed)
            }
            Writer::OwnProtobuf(_, schema) | Writer::Protobuf(schema) => {
                let mut from = Take(body);
                let indexes = take_indexes(&mut from).map_err(malformed)?;
                let message = schema.message(&indexes);
                let message = message.ok_or_else(|| undecodable("the schema has no such message"))?;
                foreign_protobuf::read(from.0, message).map_err(CodecError::Undecodable)
            }
            Writer::Json => {
                serde_json::from_slice(body).map_err(|error| CodecError::Undecodable(error.to_string()))
            }
            Writer::Unusable(problem) => Err(CodecError::Undecodable(problem.clone())),
        }
    }
}

pub(super) fn click<'a>(
    writer: &Writer,
    body: &'a [u8],
    origin: Origin<'_>,
) -> Result<ClickEvent<Cow<'a, str>>, CodecError> {
    match (writer, body) {
        (Writer::OwnAvro(EventKind::Clicks, _), body) => {
            if let Some(event) = own_avro::take_click(body).map_err(malformed)? {
                return Ok(event);
            }
        }
        (Writer::OwnProtobuf(EventKind::Clicks, _), [0, body @ ..]) => {
            if let Some(read) = own_protobuf::take_click(body).map_err(malformed)? {
                if !read.has_event_type {
                    return Err(undecodable("field event_type is missing"));
                }
                return Ok(ClickEvent {
                    event_id: read.event_id.unwrap_or_else(|| origin.id()),
                    occurred_at: read.occurred_at.unwrap_or(origin.time()),
                    received_at: read.received_at.unwrap_or(origin.time()),
                    ..read.event
                }
                .map(Cow::Owned));
            }
        }
        _ => {}
    }
    Ok(fields::click(writer.tree(body)?, origin)?.map(Cow::Owned))
}

pub(super) fn log<'a>(
    writer: &Writer,
    body: &'a [u8],
    origin: Origin<'_>,
) -> Result<LogEvent<Cow<'a, str>>, CodecError> {
    match (writer, body) {
        (Writer::OwnAvro(EventKind::Logs, _), body) => {
            if let Some(event) = own_avro::take_log(body).map_err(malformed)? {
                return Ok(event);
            }
        }
        (Writer::OwnProtobuf(EventKind::Logs, _), [0, body @ ..]) => {
            if let Some(read) = own_protobuf::take_log(body).map_err(malformed)? {
                if !read.has_service {
                    return Err(undecodable("field service is missing"));
                }
                return Ok(LogEvent {
                    event_id: read.event_id.unwrap_or_else(|| origin.id()),
                    occurred_at: read.occurred_at.unwrap_or(origin.time()),
                    received_at: read.received_at.unwrap_or(origin.time()),
                    ..read.event
                }
                .map(Cow::Owned));
            }
        }
        _ => {}
    }
    Ok(fields::log(writer.tree(body)?, origin)?.map(Cow::Owned))
}

fn malformed(problem: Malformed) -> CodecError {
    undecodable(problem.0)
}

/// Decodes a record's body as a click and as a log line, by a schema at hand. For fuzzing: no
/// registry, no waiting.
#[doc(hidden)]
pub fn decode_event_with_schema(schema: &Schema, body: &[u8]) -> Result<(ClickEvent, LogEvent), CodecError> {
    let record = Incoming {
        topic: "fuzz".into(),
        partition: 0,
        offset: 0,
        timestamp_ms: 0,
        key: None,
        value: None,
        headers: Vec::new(),
    };
    let (writer, origin) = (Writer::new(schema, &[]), Origin::new(&record));
    let outcome = click(&writer, body, origin);
    Ok((outcome?.into_owned(), log(&writer, body, origin)?.into_owned()))
}
