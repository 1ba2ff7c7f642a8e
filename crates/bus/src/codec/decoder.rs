//! Decoding changes: by the writer's schema, prepared once an id.

use super::avro::{self, binary::Take, plan::EnvelopePlan};
use super::envelope::{Envelope, Names};
use super::{CodecError, Decoded, json, undecodable};
use crate::Incoming;
use crate::registry::{RegistryClient, RegistryError};
use affluent_model::{Column, TableId, TableSchema};
use std::collections::HashMap;
use std::sync::Arc;

/// Prepared schemas; there is one a table and version.
const CACHE_ENTRIES: usize = 4_096;

/// Decodes changes of both formats, told apart by their first byte. Not shared: each task has its
/// own. Changes of one version of a table share one `Arc<TableSchema>`.
#[derive(Debug, Default)]
pub struct ChangeDecoder {
    registry: Option<RegistryClient>,
    envelopes: HashMap<u32, Option<Arc<EnvelopePlan>>>,
    keys: HashMap<u32, Arc<[String]>>,
    /// By value schema id and key schema id (0: no key); of each, tables that share the schemas.
    tables: HashMap<(u32, u32), Vec<Arc<TableSchema>>>,
    /// Tables of JSON records, the last used first.
    json_tables: Vec<Arc<TableSchema>>,
    names: Names,
}

impl ChangeDecoder {
    /// A decoder; Avro records need a registry.
    #[must_use]
    pub fn new(registry: Option<RegistryClient>) -> Self {
        ChangeDecoder { registry, ..ChangeDecoder::default() }
    }

    /// What the record holds. Waits only for a schema that it has not met.
    ///
    /// # Errors
    /// [`CodecError`]; one without a [`CodecError::reason`] passes, the record may be good.
    pub async fn decode(&mut self, record: &Incoming) -> Result<Decoded, CodecError> {
        let Some(value) = record.value.as_deref() else { return Ok(Decoded::Tombstone) };
        match value {
            [avro::MAGIC, a, b, c, d, body @ ..] => {
                let id = u32::from_be_bytes([*a, *b, *c, *d]);
                let Some(plan) = self.envelope_plan(id).await? else { return Ok(Decoded::Other) };
                let (key_id, key) = self.key_columns(record.key.as_deref()).await?;
                self.avro(body, &plan, (id, key_id), &key)
            }
            [b'{', ..] => self.json(record.key.as_deref(), value),
            _ => Err(undecodable("neither Confluent's wire format nor a JSON object")),
        }
    }

    async fn envelope_plan(&mut self, id: u32) -> Result<Option<Arc<EnvelopePlan>>, CodecError> {
        if let Some(plan) = self.envelopes.get(&id) {
            return Ok(plan.clone());
        }
        let schema = self.schema(id).await?;
        let plan = avro::compile::envelope(&schema).map_err(CodecError::Undecodable)?.map(Arc::new);
        make_room(&mut self.envelopes);
        self.envelopes.insert(id, plan.clone());
        Ok(plan)
    }

    /// The schema id of a key and the names of its columns; a key of any other form has none.
    async fn key_columns(&mut self, key: Option<&[u8]>) -> Result<(u32, Arc<[String]>), CodecError> {
        let Some([avro::MAGIC, a, b, c, d, ..]) = key else { return Ok((0, Arc::default())) };
        let id = u32::from_be_bytes([*a, *b, *c, *d]);
        if let Some(columns) = self.keys.get(&id) {
            return Ok((id, Arc::clone(columns)));
        }
        let schema = self.schema(id).await?;
        let columns = avro::compile::key_columns(&schema).map_err(CodecError::Undecodable)?;
        let columns: Arc<[String]> = columns.unwrap_or_default().into();
        make_room(&mut self.keys);
        self.keys.insert(id, Arc::clone(&columns));
        Ok((id, columns))
    }

    async fn schema(&self, id: u32) -> Result<Arc<str>, CodecError> {
        match &self.registry {
            Some(registry) => Ok(registry.schema(id).await?),
            None => {
                Err(RegistryError::Options("Avro needs a schema registry: set registry.url".to_owned())
                    .into())
            }
        }
    }

    fn avro(
        &mut self,
        body: &[u8],
        plan: &EnvelopePlan,
        ids: (u32, u32),
        key: &[String],
    ) -> Result<Decoded, CodecError> {
        let envelope = avro::read::envelope(body, plan).map_err(|malformed| undecodable(malformed.0))?;
        let (schema, table) = names_of(&envelope)?;
        if !self.tables.contains_key(&ids) {
            make_room(&mut self.tables);
        }
        let tables = self.tables.entry(ids).or_default();
        let found = tables.iter().find(|t| t.table.schema == schema && t.table.name == table);
        let schema = match found {
            Some(found) => Arc::clone(found),
            None => {
                let new = Arc::new(table_schema(schema, table, plan.row.columns.clone(), key)?);
                if tables.len() >= CACHE_ENTRIES {
                    tables.clear();
                }
                tables.push(Arc::clone(&new));
                new
            }
        };
        envelope.into_change(schema, &mut self.names).map(Decoded::Change)
    }

    fn json(&mut self, key: Option<&[u8]>, value: &[u8]) -> Result<Decoded, CodecError> {
        let parse = |bytes: &[u8]| -> Result<serde_json::Value, CodecError> {
            serde_json::from_slice(bytes).map_err(|error| CodecError::Undecodable(error.to_string()))
        };
        let document = parse(value)?;
        let Some(object) = json::read::envelope_of(&document) else { return Ok(Decoded::Other) };
        // A key that is not JSON is a key of another kind, not a broken record.
        let key_document = key.and_then(|key| parse(key).ok());
        let key = key_document.as_ref().map(json::read::key_names).unwrap_or_default();
        let (columns, envelope) = match json::connect::Described::of(&document) {
            Some(described) => {
                let value = |index: usize, json: &serde_json::Value| described.value(index, json);
                let envelope = json::read::envelope(object, &described.columns, value);
                (described.columns, envelope)
            }
            None => {
                let columns =
                    json::read::columns(object).ok_or_else(|| undecodable("source.columns is invalid"))?;
                let value = |index: usize, json: &serde_json::Value| {
                    json::read::value_of(json, &columns[index].column_type)
                };
                let envelope = json::read::envelope(object, &columns, value);
                (columns, envelope)
            }
        };
        let envelope = envelope.map_err(CodecError::Undecodable)?;
        let (schema, table) = names_of(&envelope)?;
        let new = table_schema(schema, table, columns, &key)?;
        let schema = match self.json_tables.iter().position(|known| **known == new) {
            Some(index) => {
                self.json_tables[..=index].rotate_right(1);
                Arc::clone(&self.json_tables[0])
            }
            None => {
                self.json_tables.truncate(CACHE_ENTRIES - 1);
                self.json_tables.insert(0, Arc::new(new));
                Arc::clone(&self.json_tables[0])
            }
        };
        envelope.into_change(schema, &mut self.names).map(Decoded::Change)
    }
}

/// Decodes the body of an Avro record by a schema at hand. For fuzzing: no registry, no waiting.
#[doc(hidden)]
pub fn decode_with_schema(schema: &str, body: &[u8]) -> Result<Decoded, CodecError> {
    let Some(plan) = avro::compile::envelope(schema).map_err(CodecError::Undecodable)? else {
        return Ok(Decoded::Other);
    };
    ChangeDecoder::default().avro(Take(body).0, &plan, (1, 0), &[])
}

fn names_of<'a>(envelope: &Envelope<'a>) -> Result<(&'a str, &'a str), CodecError> {
    match (envelope.source.schema, envelope.source.table) {
        (Some(schema), Some(table)) => Ok((schema, table)),
        _ => Err(undecodable("envelope without source.schema and source.table")),
    }
}

fn table_schema(
    schema: &str,
    table: &str,
    columns: Vec<Column>,
    key: &[String],
) -> Result<TableSchema, CodecError> {
    let key: Option<Vec<usize>> =
        key.iter().map(|name| columns.iter().position(|column| column.name == *name)).collect();
    let key = key.ok_or_else(|| undecodable("the key names a column that the value has not"))?;
    Ok(TableSchema { table: TableId::new(schema, table), columns, key })
}

fn make_room<K, V>(cache: &mut HashMap<K, V>) {
    if cache.len() >= CACHE_ENTRIES {
        cache.clear();
    }
}
