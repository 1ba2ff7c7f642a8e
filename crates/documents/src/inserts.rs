//! Documents on their way into a store, in the form in which the embedded store keeps them.
//!
//! Events come in at a rate at which a vector of named values a document costs more than storing it.
//! So their fields are written once, one behind the other, into one buffer. Invariant: what is pushed
//! comes back as it was pushed ([`Inserts::documents`]).

use crate::encoding::{Malformed, put_bytes, put_signed, put_unsigned, put_value};
use crate::encoding_reader::Reader;
use crate::{Document, DocumentError, Fields};
use affluent_model::Value;

/// Documents without versions, for [`crate::DocumentStore::insert_if_absent`].
#[derive(Debug, Clone, Default)]
pub struct Inserts {
    /// Id and fields of each document.
    bytes: Vec<u8>,
    parts: Vec<Part>,
}

/// Where a document lies: its id, then its fields, up to `end`; it begins where the one before ends.
#[derive(Debug, Clone, Copy)]
struct Part {
    id_end: usize,
    end: usize,
    count: usize,
}

/// One document of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Insert<'a> {
    pub(crate) id: &'a str,
    /// Number of fields.
    pub(crate) count: usize,
    /// Names and values, encoded.
    pub(crate) fields: &'a [u8],
}

/// Writes the fields of one document. Names are unique; the order is kept.
#[derive(Debug)]
pub struct FieldsWriter<'a> {
    bytes: &'a mut Vec<u8>,
    count: usize,
}

impl FieldsWriter<'_> {
    /// A text.
    pub fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        self.bytes.push(7);
        put_bytes(self.bytes, text.as_bytes());
    }

    /// A text, or null.
    pub fn optional(&mut self, name: &str, text: Option<&str>) {
        match text {
            Some(text) => self.text(name, text),
            None => self.value(name, &Value::Null),
        }
    }

    /// An instant, microseconds UTC.
    pub fn instant(&mut self, name: &str, micros: i64) {
        self.name(name);
        self.bytes.push(12);
        put_signed(self.bytes, micros);
    }

    /// A JSON document as its text.
    pub fn json(&mut self, name: &str, text: &str) {
        self.name(name);
        self.bytes.push(14);
        put_bytes(self.bytes, text.as_bytes());
    }

    /// Any value.
    pub fn value(&mut self, name: &str, value: &Value) {
        self.name(name);
        put_value(self.bytes, value);
    }

    fn name(&mut self, name: &str) {
        put_bytes(self.bytes, name.as_bytes());
        self.count += 1;
    }
}

impl Inserts {
    /// Adds the document `id` with the fields that `write` writes.
    pub fn push(&mut self, id: &str, write: impl FnOnce(&mut FieldsWriter<'_>)) {
        self.bytes.extend_from_slice(id.as_bytes());
        let id_end = self.bytes.len();
        let mut writer = FieldsWriter { bytes: &mut self.bytes, count: 0 };
        write(&mut writer);
        let count = writer.count;
        self.parts.push(Part { id_end, end: self.bytes.len(), count });
    }

    /// Moves the documents of `later` behind these.
    pub fn append(&mut self, later: &Inserts) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&later.bytes);
        self.parts.extend(later.parts.iter().map(|part| Part {
            id_end: part.id_end + start,
            end: part.end + start,
            count: part.count,
        }));
    }

    /// Number of documents.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// No documents.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Insert<'_>> {
        let mut start = 0;
        self.parts.iter().map(move |part| {
            let (id, fields) = (&self.bytes[start..part.id_end], &self.bytes[part.id_end..part.end]);
            start = part.end;
            // Ids are pushed as text.
            Insert { id: std::str::from_utf8(id).unwrap_or_default(), count: part.count, fields }
        })
    }

    /// The documents with their values.
    pub fn documents(&self) -> impl Iterator<Item = Result<Document, DocumentError>> {
        self.iter().map(|insert| match insert.fields() {
            Ok(fields) => Ok(Document::new(insert.id, fields)),
            Err(error) => {
                let id = insert.id.to_owned();
                Err(DocumentError::Corrupt { collection: String::new(), id, error: error.to_string() })
            }
        })
    }
}

impl Insert<'_> {
    fn fields(&self) -> Result<Fields, Malformed> {
        let mut bytes = Vec::with_capacity(self.fields.len() + 2);
        put_unsigned(&mut bytes, self.count as u64);
        bytes.extend_from_slice(self.fields);
        Reader { bytes: &bytes }.fields()
    }
}

impl FromIterator<Document> for Inserts {
    fn from_iter<T: IntoIterator<Item = Document>>(documents: T) -> Self {
        let mut inserts = Inserts::default();
        for document in documents {
            inserts.push(&document.id, |to| {
                document.fields.iter().for_each(|(name, value)| to.value(name, value));
            });
        }
        inserts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_come_back_as_they_were_pushed() {
        let mut first = Inserts::default();
        first.push("a", |to| {
            to.text("text", "žluťoučký");
            to.optional("absent", None);
            to.optional("given", Some(""));
            to.instant("at", -5);
            to.json("json", "{}");
            to.value("int", &Value::Int(7));
        });
        first.push("empty", |_| {});
        let expected: Vec<Document> = vec![
            Document::new(
                "a",
                vec![
                    ("text".to_owned(), Value::Text("žluťoučký".to_owned())),
                    ("absent".to_owned(), Value::Null),
                    ("given".to_owned(), Value::Text(String::new())),
                    ("at".to_owned(), Value::TimestampTz(-5)),
                    ("json".to_owned(), Value::Json("{}".to_owned())),
                    ("int".to_owned(), Value::Int(7)),
                ],
            ),
            Document::new("empty", Vec::new()),
        ];
        let documents = |of: &Inserts| of.documents().collect::<Result<Vec<_>, _>>().unwrap();
        assert_eq!(documents(&first), expected);
        let mut both: Inserts = documents(&first).into_iter().collect();
        both.append(&first);
        let twice = expected.iter().chain(&expected).cloned().collect::<Vec<_>>();
        assert_eq!(documents(&both), twice);
        assert_eq!((both.len(), Inserts::default().is_empty()), (4, true));
        let raw = both.iter().next().map(|insert| {
            let mut reader = Reader { bytes: insert.fields };
            let fields = (0..insert.count).map(|_| reader.raw_field()).collect::<Result<Vec<_>, _>>();
            (fields.map(|fields| fields[5]), reader.bytes.len())
        });
        assert_eq!(raw, Some((Ok((&b"int"[..], &[3, 14][..])), 0)));
    }
}
