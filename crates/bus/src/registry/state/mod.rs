//! The registry in memory: subjects, versions, ids and levels, as the records of `_schemas` say.
//!
//! Pure: it decides what a registration or a deletion leads to, and applies records; reading and
//! writing the topic is `log.rs`.
//!
//! Invariant: an id once given to a schema is never given to another.

mod deletion;
mod records;
#[cfg(test)]
mod tests;

pub(super) use deletion::Refusal;
pub(super) use records::Record;

use super::compatibility::CompatibilityLevel;
use super::schema::{Candidate, Named, ParsedSchema, Schema, SchemaReference, identity};
use records::{ConfigValue, DeleteValue, Key, LastId, SchemaValue, record};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// References of references.
const MAX_REFERENCE_DEPTH: usize = 16;
/// Schemas that one schema needs, all together.
const MAX_REFERENCES: usize = 256;

#[derive(Debug, Default)]
pub(super) struct State {
    subjects: BTreeMap<String, BTreeMap<i32, Version>>,
    schemas: BTreeMap<u32, Arc<Schema>>,
    /// By identity: what two equal schemas have in common.
    ids: HashMap<Arc<str>, u32>,
    /// Schemas whose identity waits for a record that comes later in the compacted topic.
    unidentified: Vec<u32>,
    last_id: u32,
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
    #[serde(flatten)]
    pub(super) schema: Schema,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) deleted: bool,
}

/// Which versions count: those that were not deleted, all, or only those that were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    Live,
    All,
    Deleted,
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
                self.apply_schema(value);
            }
            (Key::Schema { subject, version, .. }, None) => self.forget(&subject, version),
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
                if let Some(versions) = self.subjects.get_mut(&subject) {
                    versions.range_mut(..=upto.version).for_each(|(_, version)| version.deleted = true);
                }
            }
            (Key::ClearSubject { subject, .. }, Some(_)) => {
                self.levels.remove(&subject);
            }
            (Key::Noop { .. }, Some(value)) => {
                // Confluent's has no value, and another's may have any.
                if let Ok(LastId { last_id }) = serde_json::from_slice(value) {
                    self.last_id = self.last_id.max(last_id);
                }
            }
            // Modes and whatever else there is: nothing of them is kept.
            (Key::DeleteSubject { .. } | Key::ClearSubject { .. } | Key::Noop { .. }, None)
            | (Key::Other, _) => {}
        }
        Ok(())
    }

    fn apply_schema(&mut self, value: SchemaValue) {
        let SchemaValue { subject, version, id, schema_type, references, schema, deleted } = value;
        let schema = Schema { schema_type, references: references.unwrap_or_default(), text: schema };
        let versions = self.subjects.entry(subject).or_default();
        versions.insert(version, Version { id, deleted });
        self.last_id = self.last_id.max(id);
        if self.schemas.get(&id).is_none_or(|known| **known != schema) {
            self.schemas.insert(id, Arc::new(schema));
            self.unidentified.push(id);
        }
        for id in std::mem::take(&mut self.unidentified) {
            let Some(schema) = self.schemas.get(&id) else { continue };
            match self.parse(schema) {
                Ok(parsed) => {
                    self.ids.entry(identity(schema, &parsed, false)).or_insert(id);
                }
                Err(_) => self.unidentified.push(id),
            }
        }
    }

    fn forget(&mut self, subject: &str, version: i32) {
        let Some(versions) = self.subjects.get_mut(subject) else { return };
        let forgotten = versions.remove(&version);
        if versions.is_empty() {
            self.subjects.remove(subject);
        }
        if let Some(Version { id, .. }) = forgotten
            && !self.subjects.values().flatten().any(|(_, version)| version.id == id)
        {
            self.schemas.remove(&id);
            self.ids.retain(|_, known| *known != id);
            self.unidentified.retain(|unidentified| *unidentified != id);
        }
    }

    /// The schemas that references lead to, each after those that it needs itself.
    pub(super) fn resolve(&self, references: &[SchemaReference]) -> Result<Vec<Named>, String> {
        let mut found = Vec::new();
        self.resolve_into(references, &mut found, 0)?;
        Ok(found)
    }

    fn resolve_into(
        &self,
        references: &[SchemaReference],
        found: &mut Vec<Named>,
        depth: usize,
    ) -> Result<(), String> {
        for SchemaReference { name, subject, version } in references {
            if found.iter().any(|named| named.name == *name) {
                continue;
            }
            if depth >= MAX_REFERENCE_DEPTH || found.len() >= MAX_REFERENCES {
                return Err("too many references, or references in a circle".to_owned());
            }
            let number = Some(*version).filter(|version| *version != -1);
            // As in Confluent's registry, what was deleted can still be referred to.
            let schema = self
                .version(subject, number, Show::All)
                .ok_or_else(|| {
                    format!("No schema reference found for subject \"{subject}\" and version {version}")
                })?
                .schema;
            self.resolve_into(&schema.references, found, depth + 1)?;
            found.push(Named { name: name.clone(), text: schema.text });
        }
        Ok(())
    }

    fn parse(&self, schema: &Schema) -> Result<ParsedSchema, String> {
        ParsedSchema::parse(schema, &self.resolve(&schema.references)?)
    }

    /// Decides on a schema for a subject.
    pub(super) fn register(&self, subject: &str, candidate: &Candidate) -> Registration {
        let known = self.ids.get(&candidate.identity).copied();
        if let Some(id) = known
            && self.shown(subject, Show::Live).any(|(_, version)| version.id == id)
        {
            return Registration::Known(id);
        }
        let violations = self.check(subject, &candidate.parsed, None);
        if !violations.is_empty() {
            return Registration::Incompatible(violations);
        }
        let id = known.unwrap_or(self.last_id + 1);
        // Deleted versions keep their numbers.
        let last = self.subjects.get(subject).and_then(|versions| versions.last_key_value());
        let version = last.map_or(1, |(&version, _)| version + 1);
        // A known id keeps the text that it was given for.
        let schema = known.and_then(|id| self.schemas.get(&id)).map_or(&candidate.schema, |known| &**known);
        let value = SchemaValue::new(subject, version, id, schema, false);
        Registration::New(id, record(&Key::schema(subject, version), Some(&value)))
    }

    /// The record that sets a level, of a subject or of all that have none of their own.
    pub(super) fn set_level(subject: Option<&str>, level: CompatibilityLevel) -> Record {
        record(&Key::config(subject), Some(&ConfigValue { level }))
    }

    /// What does not fit between `parsed` and one version, or all that the level looks at.
    pub(super) fn check(&self, subject: &str, parsed: &ParsedSchema, version: Option<i32>) -> Vec<String> {
        let earlier = self.shown(subject, Show::Live).filter(|(v, _)| version.is_none_or(|only| only == *v));
        let parse = |(version, found): (i32, Version)| {
            Some((version, self.parse(self.schemas.get(&found.id)?).ok()?))
        };
        self.level(subject).violations(parsed, &earlier.filter_map(parse).collect::<Vec<_>>())
    }

    pub(super) fn subjects(&self, show: Show) -> Vec<&str> {
        let deleted_only = |s: &&str| show != Show::Deleted || self.shown(s, Show::Live).next().is_none();
        let subjects = self.subjects.keys().map(String::as_str);
        subjects.filter(|s| self.shown(s, show).next().is_some()).filter(deleted_only).collect()
    }

    pub(super) fn versions(&self, subject: &str, show: Show) -> Vec<i32> {
        self.shown(subject, show).map(|(version, _)| version).collect()
    }

    /// A version, or with `None` the latest.
    pub(super) fn version(&self, subject: &str, version: Option<i32>, show: Show) -> Option<SubjectVersion> {
        let (version, found) =
            self.shown(subject, show).rfind(|(v, _)| version.is_none_or(|version| version == *v))?;
        let schema = Schema::clone(self.schemas.get(&found.id)?);
        Some(SubjectVersion {
            subject: subject.to_owned(),
            version,
            id: found.id,
            schema,
            deleted: found.deleted,
        })
    }

    /// The version under which the subject has this schema.
    pub(super) fn lookup(&self, subject: &str, identity: &str, show: Show) -> Option<SubjectVersion> {
        let id = *self.ids.get(identity)?;
        let (version, _) = self.shown(subject, show).rfind(|(_, version)| version.id == id)?;
        self.version(subject, Some(version), show)
    }

    pub(super) fn schema(&self, id: u32) -> Option<&Arc<Schema>> {
        self.schemas.get(&id)
    }

    pub(super) fn last_id(&self) -> u32 {
        self.last_id
    }

    /// Where the schema with this id is registered.
    pub(super) fn uses(&self, id: u32, show: Show) -> Vec<(&str, i32)> {
        let subjects = self.subjects.keys().map(String::as_str);
        subjects
            .flat_map(|subject| {
                self.shown(subject, show).map(move |(version, found)| (subject, version, found.id))
            })
            .filter(|(_, _, found)| *found == id)
            .map(|(subject, version, _)| (subject, version))
            .collect()
    }

    /// The ids of the live schemas that refer to a version.
    pub(super) fn referenced_by(&self, subject: &str, version: i32) -> Vec<u32> {
        let refers =
            |schema: &Schema| schema.references.iter().any(|r| r.subject == subject && r.version == version);
        let is_live = |id: u32| !self.uses(id, Show::Live).is_empty();
        self.schemas
            .iter()
            .filter(|(id, schema)| refers(schema) && is_live(**id))
            .map(|(id, _)| *id)
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

    fn shown(&self, subject: &str, show: Show) -> impl DoubleEndedIterator<Item = (i32, Version)> {
        let versions = self.subjects.get(subject).into_iter().flatten();
        versions.map(|(&version, found)| (version, *found)).filter(move |(_, found)| match show {
            Show::Live => !found.deleted,
            Show::All => true,
            Show::Deleted => found.deleted,
        })
    }
}
