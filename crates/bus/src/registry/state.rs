//! The registry in memory: subjects, versions, ids and levels, as the records of `_schemas` say.
//!
//! Pure: it decides what a registration leads to, and applies records; reading and writing the
//! topic is `log.rs`. Record format: Confluent's, so that its registry can take the topic over.
//!
//! Invariant: an id once given to a schema is never given to another.

use super::compatibility::{CompatibilityLevel, ParsedSchema};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

#[derive(Debug, Default)]
pub(super) struct State {
    subjects: BTreeMap<String, BTreeMap<i32, Version>>,
    schemas: BTreeMap<u32, Arc<str>>,
    ids: HashMap<Arc<str>, u32>,
    global_level: CompatibilityLevel,
    levels: BTreeMap<String, CompatibilityLevel>,
}

#[derive(Debug, Clone, Copy)]
struct Version {
    id: u32,
    deleted: bool,
}

/// A version of a subject, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct SubjectVersion {
    pub(super) subject: String,
    pub(super) version: i32,
    pub(super) id: u32,
    pub(super) schema: Arc<str>,
}

/// A record of `_schemas`: key and value as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) key: String,
    pub(super) value: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "keytype")]
enum Key {
    #[serde(rename = "SCHEMA")]
    Schema { subject: String, version: i32, magic: u8 },
    #[serde(rename = "CONFIG")]
    Config { subject: Option<String>, magic: u8 },
    #[serde(rename = "DELETE_SUBJECT")]
    DeleteSubject { subject: String, magic: u8 },
    #[serde(rename = "CLEAR_SUBJECT")]
    ClearSubject { subject: String, magic: u8 },
    #[serde(other)]
    Other,
}

#[derive(Debug, Serialize, Deserialize)]
struct SchemaValue {
    subject: String,
    version: i32,
    id: u32,
    #[serde(rename = "schemaType", default, skip_serializing_if = "Option::is_none")]
    schema_type: Option<String>,
    schema: String,
    #[serde(default)]
    deleted: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct ConfigValue {
    #[serde(rename = "compatibilityLevel")]
    level: CompatibilityLevel,
}

#[derive(Debug, Deserialize)]
struct DeleteValue {
    version: i32,
}

/// What a registration leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Registration {
    /// The subject has this schema already.
    Known(u32),
    /// To be written; then the id holds.
    New(u32, Record),
    Incompatible(Vec<String>),
}

impl State {
    /// Applies a record of the topic; says what is wrong with one that it cannot read.
    pub(super) fn apply(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), String> {
        let words = |error: serde_json::Error| error.to_string();
        match (serde_json::from_slice(key).map_err(words)?, value) {
            (Key::Schema { .. }, Some(value)) => {
                let value: SchemaValue = serde_json::from_slice(value).map_err(words)?;
                let version = Version { id: value.id, deleted: value.deleted };
                let schema: Arc<str> = canonical(&value.schema).unwrap_or(value.schema).into();
                self.subjects.entry(value.subject).or_default().insert(value.version, version);
                self.schemas.insert(value.id, Arc::clone(&schema));
                if value.schema_type.is_none_or(|t| t == "AVRO") {
                    self.ids.entry(schema).or_insert(value.id);
                }
            }
            (Key::Schema { subject, version, .. }, None) => {
                if let Some(versions) = self.subjects.get_mut(&subject) {
                    versions.remove(&version);
                }
            }
            (Key::Config { subject, .. }, value) => {
                let level = match value {
                    Some(value) => Some(serde_json::from_slice::<ConfigValue>(value).map_err(words)?.level),
                    None => None,
                };
                match (subject, level) {
                    (None, level) => self.global_level = level.unwrap_or_default(),
                    (Some(subject), Some(level)) => {
                        self.levels.insert(subject, level);
                    }
                    (Some(subject), None) => {
                        self.levels.remove(&subject);
                    }
                }
            }
            (Key::DeleteSubject { subject, .. }, Some(value)) => {
                let upto: DeleteValue = serde_json::from_slice(value).map_err(words)?;
                for (_, version) in self.subjects.entry(subject).or_default().range_mut(..=upto.version) {
                    version.deleted = true;
                }
            }
            (Key::ClearSubject { subject, .. }, Some(_)) => {
                self.levels.remove(&subject);
            }
            // Modes and no-ops: nothing of them is kept.
            (Key::DeleteSubject { .. } | Key::ClearSubject { .. }, None) | (Key::Other, _) => {}
        }
        Ok(())
    }

    /// Decides on a schema for a subject. `schema` is canonical and parsed.
    pub(super) fn register(&self, subject: &str, schema: &str, parsed: &ParsedSchema) -> Registration {
        let known = self.ids.get(schema).copied();
        if let Some(id) = known
            && self.live(subject).any(|(_, version)| version.id == id)
        {
            return Registration::Known(id);
        }
        let violations = self.level(subject).violations(parsed, &self.earlier(subject));
        if !violations.is_empty() {
            return Registration::Incompatible(violations);
        }
        let id = known.unwrap_or_else(|| self.schemas.last_key_value().map_or(1, |(&id, _)| id + 1));
        // Deleted versions keep their numbers.
        let last = self.subjects.get(subject).and_then(|versions| versions.last_key_value());
        let version = last.map_or(1, |(&version, _)| version + 1);
        let key = Key::Schema { subject: subject.to_owned(), version, magic: 1 };
        let value = SchemaValue {
            subject: subject.to_owned(),
            version,
            id,
            schema_type: None,
            schema: schema.to_owned(),
            deleted: false,
        };
        Registration::New(id, record(&key, &value))
    }

    /// The record that sets a level, of a subject or of all that have none of their own.
    pub(super) fn set_level(subject: Option<&str>, level: CompatibilityLevel) -> Record {
        let key = Key::Config { subject: subject.map(ToOwned::to_owned), magic: 0 };
        record(&key, &ConfigValue { level })
    }

    /// What does not fit between `parsed` and one version, or all that the level looks at.
    pub(super) fn check(&self, subject: &str, parsed: &ParsedSchema, version: Option<i32>) -> Vec<String> {
        let mut earlier = self.earlier(subject);
        if let Some(version) = version {
            earlier.retain(|(v, _)| *v == version);
        }
        self.level(subject).violations(parsed, &earlier)
    }

    pub(super) fn subjects(&self) -> Vec<&str> {
        self.subjects.keys().map(String::as_str).filter(|s| self.live(s).next().is_some()).collect()
    }

    pub(super) fn versions(&self, subject: &str) -> Vec<i32> {
        self.live(subject).map(|(version, _)| version).collect()
    }

    /// A version, or with `None` the latest.
    pub(super) fn version(&self, subject: &str, version: Option<i32>) -> Option<SubjectVersion> {
        let (version, found) =
            self.live(subject).rfind(|(v, _)| version.is_none_or(|version| version == *v))?;
        let schema = Arc::clone(self.schemas.get(&found.id)?);
        Some(SubjectVersion { subject: subject.to_owned(), version, id: found.id, schema })
    }

    /// The version under which the subject has this (canonical) schema.
    pub(super) fn lookup(&self, subject: &str, schema: &str) -> Option<SubjectVersion> {
        let id = *self.ids.get(schema)?;
        let (version, _) = self.live(subject).find(|(_, version)| version.id == id)?;
        self.version(subject, Some(version))
    }

    pub(super) fn schema(&self, id: u32) -> Option<&Arc<str>> {
        self.schemas.get(&id)
    }

    /// Where the schema with this id is registered.
    pub(super) fn uses(&self, id: u32) -> Vec<(&str, i32)> {
        let subjects = self.subjects.keys().map(String::as_str);
        subjects
            .flat_map(|subject| self.live(subject).map(move |(version, found)| (subject, version, found.id)))
            .filter(|(_, _, found)| *found == id)
            .map(|(subject, version, _)| (subject, version))
            .collect()
    }

    /// The level that holds for a subject.
    pub(super) fn level(&self, subject: &str) -> CompatibilityLevel {
        self.levels.get(subject).copied().unwrap_or(self.global_level)
    }

    /// The level set for all, or for a subject itself.
    pub(super) fn level_set(&self, subject: Option<&str>) -> Option<CompatibilityLevel> {
        match subject {
            None => Some(self.global_level),
            Some(subject) => self.levels.get(subject).copied(),
        }
    }

    fn live(&self, subject: &str) -> impl DoubleEndedIterator<Item = (i32, Version)> {
        let versions = self.subjects.get(subject).into_iter().flatten();
        versions.map(|(&version, found)| (version, *found)).filter(|(_, found)| !found.deleted)
    }

    fn earlier(&self, subject: &str) -> Vec<(i32, ParsedSchema)> {
        let parse = |(version, found): (i32, Version)| {
            Some((version, ParsedSchema::parse(self.schemas.get(&found.id)?).ok()?))
        };
        self.live(subject).filter_map(parse).collect()
    }
}

/// The schema's JSON without insignificant white space: what two equal schemas have in common.
pub(super) fn canonical(schema: &str) -> Option<String> {
    serde_json::from_str::<serde_json::Value>(schema).ok().map(|json| json.to_string())
}

fn record(key: &impl Serialize, value: &impl Serialize) -> Record {
    // Structures of texts and numbers: serialising cannot fail.
    let json = |outcome: serde_json::Result<String>| outcome.unwrap_or_default();
    Record { key: json(serde_json::to_string(key)), value: json(serde_json::to_string(value)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(fields: &str) -> String {
        canonical(&format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)).unwrap()
    }

    fn register(state: &mut State, subject: &str, schema: &str) -> Result<u32, Vec<String>> {
        match state.register(subject, schema, &ParsedSchema::parse(schema).unwrap()) {
            Registration::Known(id) => Ok(id),
            Registration::New(id, record) => {
                state.apply(record.key.as_bytes(), Some(record.value.as_bytes())).unwrap();
                Ok(id)
            }
            Registration::Incompatible(violations) => Err(violations),
        }
    }

    #[test]
    fn ids_are_of_schemas_and_versions_of_subjects() {
        let mut state = State::default();
        let (empty, one) = (schema(""), schema(r#"{"name":"a","type":"int","default":1}"#));
        assert_eq!(register(&mut state, "s", &empty), Ok(1));
        assert_eq!(register(&mut state, "s", &one), Ok(2));
        assert_eq!(register(&mut state, "s", &empty), Ok(1));
        assert_eq!(register(&mut state, "t", &one), Ok(2));
        assert_eq!(state.versions("s"), [1, 2]);
        assert_eq!(state.uses(2), [("s", 2), ("t", 1)]);
        assert_eq!(state.subjects(), ["s", "t"]);
        assert_eq!(state.lookup("s", &one).map(|v| v.version), Some(2));
        assert_eq!(state.version("s", None).map(|v| v.version), Some(2));
    }

    #[test]
    fn an_incompatible_schema_is_refused_until_the_level_allows_it() {
        let mut state = State::default();
        register(&mut state, "s", &schema("")).unwrap();
        let strict = schema(r#"{"name":"a","type":"int"}"#);
        assert!(register(&mut state, "s", &strict).is_err());
        let record = State::set_level(Some("s"), CompatibilityLevel::None);
        state.apply(record.key.as_bytes(), Some(record.value.as_bytes())).unwrap();
        assert_eq!(register(&mut state, "s", &strict), Ok(2));
        assert_eq!(state.level_set(None), Some(CompatibilityLevel::Backward));
    }

    #[test]
    fn records_are_confluents() {
        let state = State::default();
        let text = schema("");
        let Registration::New(1, record) = state.register("s", &text, &ParsedSchema::parse(&text).unwrap())
        else {
            panic!("expected a new schema");
        };
        assert_eq!(record.key, r#"{"keytype":"SCHEMA","subject":"s","version":1,"magic":1}"#);
        assert_eq!(
            record.value,
            r#"{"subject":"s","version":1,"id":1,"schema":"{\"type\":\"record\",\"name\":\"R\",\"fields\":[]}","deleted":false}"#
        );
        let config = State::set_level(None, CompatibilityLevel::FullTransitive);
        assert_eq!(config.key, r#"{"keytype":"CONFIG","subject":null,"magic":0}"#);
        assert_eq!(config.value, r#"{"compatibilityLevel":"FULL_TRANSITIVE"}"#);
    }

    #[test]
    fn foreign_records_are_read() {
        let mut state = State::default();
        for (key, value) in [
            (r#"{"keytype":"NOOP","magic":0}"#, None),
            (r#"{"keytype":"MODE","subject":null,"magic":0}"#, Some(r#"{"mode":"READWRITE"}"#)),
            (
                r#"{"keytype":"SCHEMA","subject":"s","version":1,"magic":1}"#,
                Some(r#"{"subject":"s","version":1,"id":7,"schema":"\"string\"","deleted":false}"#),
            ),
            (
                r#"{"keytype":"SCHEMA","subject":"s","version":2,"magic":1}"#,
                Some(r#"{"subject":"s","version":2,"id":9,"md5":"x","schema":"\"int\"","deleted":false}"#),
            ),
            (
                r#"{"keytype":"DELETE_SUBJECT","subject":"s","magic":0}"#,
                Some(r#"{"subject":"s","version":1}"#),
            ),
        ] {
            state.apply(key.as_bytes(), value.map(str::as_bytes)).unwrap();
        }
        assert_eq!(state.versions("s"), [2]);
        assert!(state.apply(b"{", None).is_err());
        let level = State::set_level(Some("s"), CompatibilityLevel::None);
        state.apply(level.key.as_bytes(), Some(level.value.as_bytes())).unwrap();
        assert_eq!(register(&mut state, "s", "\"long\""), Ok(10));
        assert_eq!(state.versions("s"), [2, 3]);
    }
}
