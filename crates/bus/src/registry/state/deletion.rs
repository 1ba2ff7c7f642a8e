//! Deleting, in two steps as Confluent does: a deleted version is out of sight and can still be
//! read by its id; deleted permanently, it is forgotten.

use super::records::{DeleteValue, Key, LastId, Record, SchemaValue, record, tombstone};
use super::{Show, State};

/// Why something is not deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::registry) enum Refusal {
    NoSubject,
    NoVersion,
    /// It is deleted already; what is left is to delete it permanently.
    SubjectDeleted,
    VersionDeleted(i32),
    /// Permanently only after it was deleted.
    SubjectNotDeleted,
    VersionNotDeleted(i32),
    /// Another schema refers to this version.
    Referenced(String, i32),
}

impl State {
    /// The records that delete a version.
    pub(in crate::registry) fn delete_version(
        &self,
        subject: &str,
        version: i32,
        permanent: bool,
    ) -> Result<Vec<Record>, Refusal> {
        let Some(found) = self.version(subject, Some(version), Show::All) else {
            let is_known = self.subjects.contains_key(subject);
            return Err(if is_known { Refusal::NoVersion } else { Refusal::NoSubject });
        };
        match (found.deleted, permanent) {
            (true, false) => return Err(Refusal::VersionDeleted(version)),
            (false, true) => return Err(Refusal::VersionNotDeleted(version)),
            (true, true) | (false, false) => {}
        }
        if !self.referenced_by(subject, version).is_empty() {
            return Err(Refusal::Referenced(subject.to_owned(), version));
        }
        if permanent {
            return Ok(vec![self.last_id_record(), tombstone(&Key::schema(subject, version))]);
        }
        let value = SchemaValue::new(subject, version, found.id, &found.schema, true);
        let mut records = vec![record(&Key::schema(subject, version), Some(&value))];
        if self.versions(subject, Show::Live) == [version] {
            records.extend(self.delete_level(Some(subject)));
        }
        Ok(records)
    }

    /// The versions that are deleted with a subject, and the records that do it.
    pub(in crate::registry) fn delete_subject(
        &self,
        subject: &str,
        permanent: bool,
    ) -> Result<(Vec<i32>, Vec<Record>), Refusal> {
        let (live, all) = (self.versions(subject, Show::Live), self.versions(subject, Show::All));
        match (live.as_slice(), all.as_slice(), permanent) {
            (_, [], _) => return Err(Refusal::NoSubject),
            ([], _, false) => return Err(Refusal::SubjectDeleted),
            ([_, ..], _, true) => return Err(Refusal::SubjectNotDeleted),
            ([], _, true) | ([_, ..], _, false) => {}
        }
        let versions = if permanent { all } else { live };
        if let Some(version) = versions.iter().find(|v| !self.referenced_by(subject, **v).is_empty()) {
            return Err(Refusal::Referenced(subject.to_owned(), *version));
        }
        let mut records = Vec::new();
        if permanent {
            records.push(self.last_id_record());
            records.extend(versions.iter().map(|version| tombstone(&Key::schema(subject, *version))));
            // The deletion's own record would hide versions of a later subject of this name.
            records.push(tombstone(&Key::DeleteSubject { subject: subject.to_owned(), magic: 0 }));
        } else if let Some(&version) = versions.last() {
            let key = Key::DeleteSubject { subject: subject.to_owned(), magic: 0 };
            records.push(record(&key, Some(&DeleteValue { subject: subject.to_owned(), version })));
            records.extend(self.delete_level(Some(subject)));
        }
        Ok((versions, records))
    }

    /// The record that takes back a level of a subject, or all subjects' level; `None` where none is set.
    pub(in crate::registry) fn delete_level(&self, subject: Option<&str>) -> Option<Record> {
        self.level_set(subject).map(|_| tombstone(&Key::config(subject)))
    }

    fn last_id_record(&self) -> Record {
        record(&Key::Noop { magic: 0 }, Some(&LastId { last_id: self.last_id() }))
    }
}
