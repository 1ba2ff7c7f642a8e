//! Versions: a feature whose meaning changes gets a new number.
//!
//! The meaning is hashed: entity, source clock and types, aggregate, filter, window, delay, default; not owner, description or
//! freshness. [`Versions`] is a record of name, number and digest, kept beside whatever was computed; a digest that differs under the
//! same number is refused, so that no model ever reads one name with two meanings.

use super::source::Source;
use super::{Aggregate, Compute, DefinitionError, Definitions, Feature, Filter};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The record of the shipped definitions.
const SHIPPED: &str = include_str!("../../definitions/versions.lock");

/// Name to (number, digest).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Versions(BTreeMap<String, (u32, String)>);

impl Versions {
    /// The record of the shipped definitions.
    ///
    /// # Errors
    /// [`DefinitionError::File`] where it is not readable.
    pub fn shipped() -> Result<Self, DefinitionError> {
        Self::parse("versions.lock", SHIPPED)
    }

    /// Reads a record: a line `name version digest` for each feature.
    ///
    /// # Errors
    /// [`DefinitionError::File`] that names the line.
    pub fn parse(file: &str, text: &str) -> Result<Self, DefinitionError> {
        let mut versions = BTreeMap::new();
        for (nth, line) in text.lines().enumerate() {
            let parts: Vec<&str> = line.split_whitespace().collect();
            let (&[name, number, digest], Ok(version)) =
                (parts.as_slice(), parts.get(1).unwrap_or(&"").parse())
            else {
                let message = format!("line {}: expected name, version, digest", nth + 1);
                return Err(DefinitionError::file(file, message));
            };
            let _: &str = number;
            versions.insert(name.to_owned(), (version, digest.to_owned()));
        }
        Ok(Versions(versions))
    }

    /// The record as text, in order of names.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, (name, (version, digest))| {
            let _ = writeln!(text, "{name} {version} {digest}");
            text
        })
    }

    /// The record of these definitions.
    #[must_use]
    pub fn of(definitions: &Definitions) -> Self {
        let line = |f: &Feature| (f.name.clone(), (f.version, f.digest.clone()));
        Versions(definitions.features.iter().map(line).collect())
    }

    /// Refuses definitions of which one means something else than this record says under its number.
    ///
    /// # Errors
    /// [`DefinitionError::Changed`], the first by name.
    pub fn check(&self, definitions: &Definitions) -> Result<(), DefinitionError> {
        for (name, (version, digest)) in &Self::of(definitions).0 {
            match self.0.get(name) {
                Some((recorded_version, recorded)) if recorded_version == version && recorded != digest => {
                    return Err(DefinitionError::Changed {
                        name: name.clone(),
                        version: *version,
                        recorded: recorded.clone(),
                        now: digest.clone(),
                    });
                }
                Some(_) | None => {}
            }
        }
        Ok(())
    }
}

/// What the meaning of a feature hashes to. Columns count by name and type, not by where they stand.
pub(super) fn digest(feature: &Feature, source: &Source) -> String {
    let column = |index: &usize| format!("{} {:?}", source.columns[*index].name, source.columns[*index].kind);
    let meaning = match &feature.compute {
        Compute::Window { filter, window, aggregate, .. } => {
            let clock = (&source.event_time, source.corrections);
            let what = aggregate_text(aggregate, &column);
            format!("{} {clock:?} {what} {} {window:?}", source.name, filter_text(filter, &column))
        }
        Compute::Ratio { of, to } => format!("{of} / {to}"),
        Compute::Request { request, .. } => {
            let columns: Vec<String> = request.columns().iter().map(column).collect();
            format!("{} {} {columns:?}", source.name, request.name())
        }
    };
    let key = source.entities.iter().find(|(entity, _)| *entity == feature.entity);
    let all = format!("{} {key:?} {meaning} {:?}", feature.entity, feature.default);
    Sha256::digest(all.as_bytes()).iter().take(8).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn filter_text(filter: &Filter, column: &impl Fn(&usize) -> String) -> String {
    let field = |field: &super::filter::Field| match field {
        super::filter::Field::Column(index) => column(index),
        super::filter::Field::Hour => "hour".to_owned(),
        super::filter::Field::Weekday => "weekday".to_owned(),
    };
    let all = |parts: &[Filter]| parts.iter().map(|p| filter_text(p, column)).collect::<Vec<_>>();
    match filter {
        Filter::All => "all".to_owned(),
        Filter::Compare(of, comparison, literal) => format!("({} {comparison:?} {literal})", field(of)),
        Filter::In(of, literals) => format!("({} in {literals:?})", field(of)),
        Filter::IsNull(of) => format!("({} is null)", field(of)),
        Filter::Not(inner) => format!("(not {})", filter_text(inner, column)),
        Filter::And(parts) => format!("(and {:?})", all(parts)),
        Filter::Or(parts) => format!("(or {:?})", all(parts)),
    }
}

fn aggregate_text(aggregate: &Aggregate, column: &impl Fn(&usize) -> String) -> String {
    let nth = aggregate.nth().map(|nth| nth.to_string());
    let condition = if let Aggregate::Share(of) = aggregate { Some(filter_text(of, column)) } else { None };
    let columns = aggregate.columns();
    let parts = nth.into_iter().chain(condition).chain(columns.iter().map(column));
    std::iter::once(aggregate.name().to_owned()).chain(parts).collect::<Vec<_>>().join(" ")
}
