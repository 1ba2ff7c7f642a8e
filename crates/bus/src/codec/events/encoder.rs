//! Encoding clicks and log lines: registered once a topic, then without waiting.

use super::{EventFormat, avro_schema, json, own_avro, own_protobuf, protobuf_file};
use crate::codec::avro::{MAGIC, binary::Put as _};
use crate::codec::{CodecError, REFUSAL_KEPT};
use crate::registry::{RegistryClient, RegistryError, Schema, SchemaType};
use affluent_model::{ClickEvent, EventKind, LogEvent};
use bytes::{Bytes, BytesMut};
use std::collections::HashMap;
use std::time::Instant;

/// Topics with a registered schema; more than this, and the cache starts anew.
const CACHE_ENTRIES: usize = 4_096;
/// Records share allocations of this size.
const BUFFER_BYTES: usize = 64 << 10;
/// Room that is made before a record; a larger one makes more by itself.
const RECORD_BYTES: usize = 4 << 10;

/// Encodes events in one format. Not shared: each task has its own.
#[derive(Debug)]
pub struct EventEncoder {
    format: EventFormat,
    registry: Option<RegistryClient>,
    clicks: HashMap<String, Prepared>,
    logs: HashMap<String, Prepared>,
    buffer: BytesMut,
}

#[derive(Debug)]
enum Prepared {
    Registered(u32),
    Refused { error: RegistryError, until: Instant },
}

impl EventEncoder {
    /// An encoder; Avro and Protobuf need a registry, JSON does not.
    #[must_use]
    pub fn new(format: EventFormat, registry: Option<RegistryClient>) -> Self {
        EventEncoder {
            format,
            registry,
            clicks: HashMap::new(),
            logs: HashMap::new(),
            buffer: BytesMut::new(),
        }
    }

    /// The value of a click's record for `topic`. Waits only for a topic's first event, while the
    /// schema is registered (subject `<topic>-value`). JSON carries `properties` as an object: they
    /// have to be one.
    ///
    /// # Errors
    /// [`CodecError::Registry`]; a passing one (no [`CodecError::reason`]) leaves nothing behind.
    pub async fn click<S: AsRef<str>>(
        &mut self,
        topic: &str,
        event: &ClickEvent<S>,
    ) -> Result<Bytes, CodecError> {
        self.header(EventKind::Clicks, topic).await?;
        let event = &event.lent();
        match self.format {
            EventFormat::Avro => own_avro::put_click(&mut self.buffer, event),
            EventFormat::Protobuf => own_protobuf::put_click(&mut self.buffer, event),
            EventFormat::Json => json::put_click(&mut self.buffer, event),
        }
        Ok(self.buffer.split().freeze())
    }

    /// The value of a log line's record for `topic`; otherwise as [`EventEncoder::click`].
    ///
    /// # Errors
    /// As [`EventEncoder::click`].
    pub async fn log(&mut self, topic: &str, event: &LogEvent) -> Result<Bytes, CodecError> {
        self.header(EventKind::Logs, topic).await?;
        match self.format {
            EventFormat::Avro => own_avro::put_log(&mut self.buffer, event),
            EventFormat::Protobuf => own_protobuf::put_log(&mut self.buffer, event),
            EventFormat::Json => json::put_log(&mut self.buffer, event),
        }
        Ok(self.buffer.split().freeze())
    }

    /// Writes what stands before the event.
    async fn header(&mut self, kind: EventKind, topic: &str) -> Result<(), CodecError> {
        let schema_type = match self.format {
            EventFormat::Avro => SchemaType::Avro,
            EventFormat::Protobuf => SchemaType::Protobuf,
            EventFormat::Json => return Ok(()),
        };
        let prepared = match kind {
            EventKind::Clicks => self.clicks.get(topic),
            EventKind::Logs => self.logs.get(topic),
        };
        let id = match prepared {
            Some(Prepared::Registered(id)) => *id,
            Some(Prepared::Refused { error, until }) if Instant::now() < *until => {
                return Err(error.clone().into());
            }
            Some(Prepared::Refused { .. }) | None => self.register(kind, topic, schema_type).await?,
        };
        if self.buffer.capacity() < RECORD_BYTES {
            self.buffer.reserve(BUFFER_BYTES);
        }
        self.buffer.put_raw(&[MAGIC]);
        self.buffer.put_raw(&id.to_be_bytes());
        if schema_type == SchemaType::Protobuf {
            // The first message of the file.
            self.buffer.put_raw(&[0]);
        }
        Ok(())
    }

    async fn register(
        &mut self,
        kind: EventKind,
        topic: &str,
        schema_type: SchemaType,
    ) -> Result<u32, CodecError> {
        let registry = self.registry.as_ref().ok_or_else(|| {
            let problem = "Avro and Protobuf need a schema registry: set registry.url";
            RegistryError::Options(problem.to_owned())
        })?;
        let text = match schema_type {
            SchemaType::Avro => avro_schema(kind),
            SchemaType::Protobuf | SchemaType::Json => protobuf_file(kind),
        };
        let schema = Schema::new(schema_type, text);
        let outcome = registry.register_schema(&format!("{topic}-value"), &schema).await;
        let prepared = match &outcome {
            Ok(id) => Prepared::Registered(*id),
            Err(error) if error.reason().is_some() => {
                Prepared::Refused { error: error.clone(), until: Instant::now() + REFUSAL_KEPT }
            }
            Err(error) => return Err(error.clone().into()),
        };
        let cache = match kind {
            EventKind::Clicks => &mut self.clicks,
            EventKind::Logs => &mut self.logs,
        };
        if cache.len() >= CACHE_ENTRIES {
            cache.clear();
        }
        cache.insert(topic.to_owned(), prepared);
        Ok(outcome?)
    }
}
