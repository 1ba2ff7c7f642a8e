//! The online store: the newest values of each key in the collection `features`, read by key.
//!
//! A document holds the values of one key and one class of freshness, so that the stream and the jobs write without knowing of each
//! other: `customer/stream/42`, `customer/1h/42`. A value is as of `as_of`, the key's newest event or the job's instant. [`log`] keeps a
//! sample of what was written, to be recomputed.
//!
//! Invariant: a write of a later version stays, in whatever order they come.

pub mod log;

use affluent_documents::{
    Action, CollectionSpec, Document, DocumentError, DocumentStore, Fields, Ttl, VersionedWrite,
};
use affluent_features::definition::Freshness;
use affluent_model::{Position, Value};

/// The collection of values.
pub const COLLECTION: &str = "features";
/// Every class, freshest first.
pub const CLASSES: [Freshness; 4] =
    [Freshness::Stream, Freshness::FiveMinutes, Freshness::Hour, Freshness::Nightly];
/// Fields of a document before and after its values.
const HEAD: [&str; 4] = ["entity", "key", "as_of", "is_exact"];
const VERSIONS: &str = "versions";
const DAY_S: u64 = 86_400;

/// The collection, whose documents go so many days after they were written last.
#[must_use]
pub fn collection(ttl_days: u32) -> CollectionSpec {
    let ttl = Some(Ttl { seconds: u64::from(ttl_days) * DAY_S, field: None });
    CollectionSpec { ttl, ..CollectionSpec::new(COLLECTION) }
}

/// The id of a document.
#[must_use]
pub fn id(entity: &str, class: Freshness, key: &str) -> String {
    format!("{entity}/{}/{key}", class.as_str())
}

/// The values of a key, of one class.
#[derive(Debug, Clone, Copy)]
pub struct Vector<'a> {
    pub entity: &'a str,
    /// In the form of [`affluent_features::Key::canonical`].
    pub key: &'a str,
    /// Microseconds UTC.
    pub as_of: i64,
    /// False where a window reaches events that were let go, or never came.
    pub is_exact: bool,
    /// Name and version of each value.
    pub features: &'a [(String, u32)],
    pub values: &'a [f64],
}

impl Vector<'_> {
    /// The fields of a document: what is no value (NaN) is null.
    #[must_use]
    pub fn fields(&self) -> Fields {
        let head = [
            Value::Text(self.entity.to_owned()),
            Value::Text(self.key.to_owned()),
            Value::TimestampTz(self.as_of),
            Value::Bool(self.is_exact),
        ];
        let value = |value: f64| if value.is_nan() { Value::Null } else { Value::Float(value) };
        let values = self.features.iter().zip(self.values).map(|((name, _), &v)| (name.clone(), value(v)));
        let versions = self.features.iter().map(|(_, version)| Value::Int((*version).into())).collect();
        let head = HEAD.iter().zip(head).map(|(name, value)| ((*name).to_owned(), value));
        head.chain(values).chain([(VERSIONS.to_owned(), Value::Array(versions))]).collect()
    }

    /// The write of these values. Of two versions (microseconds UTC of writing, by convention) the later stays.
    #[must_use]
    pub fn write(&self, class: Freshness, version: u64) -> VersionedWrite {
        let id = id(self.entity, class, self.key);
        VersionedWrite { id, version: Position::new(version, 0), action: Action::Put(self.fields()) }
    }
}

/// A value as it is served.
#[derive(Debug, Clone, PartialEq)]
pub struct Served {
    pub name: String,
    pub version: u32,
    /// None where the feature has no value.
    pub value: Option<f64>,
    pub class: Freshness,
    /// Microseconds UTC.
    pub as_of: i64,
    pub is_exact: bool,
}

/// The newest values of a key, in order of classes; none where nothing is known of it.
///
/// # Errors
/// As the store.
pub async fn read(store: &dyn DocumentStore, entity: &str, key: &str) -> Result<Vec<Served>, DocumentError> {
    let key = affluent_features::Key::canonical(key);
    let ids = CLASSES.map(|class| id(entity, class, &key));
    let mut served = Vec::new();
    for document in store.get(COLLECTION, &ids).await? {
        let class = ids.iter().position(|id| *id == document.id).map(|place| CLASSES[place]);
        served.extend(class.into_iter().flat_map(|class| values_of(&document, class)));
    }
    Ok(served)
}

fn values_of(document: &Document, class: Freshness) -> Vec<Served> {
    let as_of = match document.field("as_of") {
        Some(Value::TimestampTz(as_of)) => *as_of,
        _ => 0,
    };
    let is_exact = document.field("is_exact") == Some(&Value::Bool(true));
    let versions = match document.field(VERSIONS) {
        Some(Value::Array(versions)) => versions.as_slice(),
        _ => &[],
    };
    let version = |nth: usize| match versions.get(nth) {
        Some(Value::Int(version)) => u32::try_from(*version).unwrap_or_default(),
        _ => 0,
    };
    let is_value = |name: &str| !HEAD.contains(&name) && name != VERSIONS;
    let values = document.fields.iter().filter(|(name, _)| is_value(name)).enumerate();
    let served = values.map(|(nth, (name, value))| Served {
        name: name.clone(),
        version: version(nth),
        value: if let Value::Float(value) = value { Some(*value) } else { None },
        class,
        as_of,
        is_exact,
    });
    served.collect()
}
