//! Encoding changes: prepared once for each version of a table, then without waiting.

use super::avro::{self, binary::Put as _};
use super::json::write::Template;
use super::{CodecError, EncodedRecord, Format, REFUSAL_KEPT};
use crate::registry::{RegistryClient, RegistryError};
use affluent_model::{ChangeEvent, TableSchema};
use bytes::{Bytes, BytesMut};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// Prepared tables; more than this means that schemas are not shared, and the cache starts anew.
const CACHE_ENTRIES: usize = 4_096;
/// Records share allocations of this size.
const BUFFER_BYTES: usize = 64 << 10;

/// Encodes changes in one format. Not shared: each task has its own.
#[derive(Debug)]
pub struct ChangeEncoder {
    format: Format,
    registry: Option<RegistryClient>,
    /// By the address of the table's schema, which the entry keeps alive.
    prepared: HashMap<usize, Vec<Entry>>,
    buffer: BytesMut,
}

#[derive(Debug)]
struct Entry {
    topic: String,
    schema: Arc<TableSchema>,
    prepared: Prepared,
}

#[derive(Debug)]
enum Prepared {
    Avro { key_id: u32, value_id: u32, key: Vec<bool> },
    Json(Template),
    Refused { error: RegistryError, until: Instant },
}

impl ChangeEncoder {
    /// An encoder; Avro needs a registry, JSON does not.
    #[must_use]
    pub fn new(format: Format, registry: Option<RegistryClient>) -> Self {
        ChangeEncoder { format, registry, prepared: HashMap::new(), buffer: BytesMut::new() }
    }

    /// The record of a change for `topic`. Waits only for a table's first change, while its schemas
    /// are registered (subjects `<topic>-key` and `<topic>-value`).
    ///
    /// # Errors
    /// [`CodecError`]; a passing one (no [`CodecError::reason`]) leaves nothing behind.
    pub async fn encode(&mut self, topic: &str, change: &ChangeEvent) -> Result<EncodedRecord, CodecError> {
        let address = Arc::as_ptr(&change.schema) as usize;
        let known = |entries: &Vec<Entry>| {
            entries.iter().position(|e| {
                e.topic == topic
                    && !matches!(&e.prepared, Prepared::Refused { until, .. } if Instant::now() > *until)
            })
        };
        let index = match self.prepared.get(&address).and_then(known) {
            Some(index) => index,
            None => self.prepare(address, topic, &change.schema).await?,
        };
        let Self { prepared, buffer, .. } = self;
        let entry = prepared.get(&address).and_then(|entries| entries.get(index));
        let Some(entry) = entry else {
            let problem = "not prepared".to_owned();
            return Err(CodecError::Row { table: change.schema.table.to_string(), problem });
        };
        if buffer.capacity() < 4_096 {
            buffer.reserve(BUFFER_BYTES);
        }
        let outcome = write(&entry.prepared, buffer, change);
        // After an error, half a record is in the buffer.
        buffer.clear();
        outcome
    }

    async fn prepare(
        &mut self,
        address: usize,
        topic: &str,
        schema: &Arc<TableSchema>,
    ) -> Result<usize, CodecError> {
        let prepared = match self.format {
            Format::Json => Prepared::Json(Template::new(schema)),
            Format::Avro => match self.register(topic, schema).await {
                Ok(prepared) => prepared,
                Err(error) if error.reason().is_some() => {
                    Prepared::Refused { error, until: Instant::now() + REFUSAL_KEPT }
                }
                Err(error) => return Err(error.into()),
            },
        };
        if self.prepared.len() >= CACHE_ENTRIES {
            self.prepared.clear();
        }
        let entries = self.prepared.entry(address).or_default();
        entries.retain(|entry| entry.topic != topic);
        entries.push(Entry { topic: topic.to_owned(), schema: Arc::clone(schema), prepared });
        debug_assert!(entries.iter().all(|entry| Arc::ptr_eq(&entry.schema, schema)));
        Ok(entries.len() - 1)
    }

    async fn register(&self, topic: &str, schema: &TableSchema) -> Result<Prepared, RegistryError> {
        let registry = self.registry.as_ref().ok_or_else(|| {
            RegistryError::Options("Avro needs a schema registry: set registry.url".to_owned())
        })?;
        let key_id = match avro::schema::key_schema(topic, schema) {
            Some(key) => registry.register(&format!("{topic}-key"), &key).await?,
            None => 0,
        };
        let value = avro::schema::value_schema(topic, schema);
        let value_id = registry.register(&format!("{topic}-value"), &value).await?;
        let key = (0..schema.columns.len()).map(|index| schema.key.contains(&index)).collect();
        Ok(Prepared::Avro { key_id, value_id, key })
    }
}

/// The key comes from the row after the change, for deletes from the row before it.
fn write(
    prepared: &Prepared,
    buffer: &mut BytesMut,
    change: &ChangeEvent,
) -> Result<EncodedRecord, CodecError> {
    let key_row = change.after.as_ref().or(change.before.as_ref()).filter(|_| !change.schema.key.is_empty());
    let mut key: Option<Bytes> = None;
    match prepared {
        Prepared::Refused { error, .. } => return Err(error.clone().into()),
        Prepared::Avro { key_id, value_id, key: in_key } => {
            if let Some(row) = key_row {
                put_header(buffer, *key_id);
                avro::write::put_key(buffer, &change.schema, row)?;
                key = Some(buffer.split().freeze());
            }
            put_header(buffer, *value_id);
            avro::write::put_envelope(buffer, change, in_key)?;
        }
        Prepared::Json(template) => {
            if let Some(row) = key_row {
                template.put_key(buffer, &change.schema, row)?;
                key = Some(buffer.split().freeze());
            }
            template.put_envelope(buffer, change)?;
        }
    }
    Ok(EncodedRecord { key, value: buffer.split().freeze() })
}

fn put_header(buffer: &mut BytesMut, id: u32) {
    buffer.put_raw(&[avro::MAGIC]);
    buffer.put_raw(&id.to_be_bytes());
}
