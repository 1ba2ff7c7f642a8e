//! The models: one file, one table. Header, body, and what the two mean together.
//!
//! Here lives what is known of a model from its text alone; running it is the business of `increment`.

mod graph;
mod header;
mod load;

pub(crate) use load::files_of;

pub use graph::Models;
pub use header::{Balance, Header, Rule, Severity, Strategy, Task, Test};

use super::BatchError;
use super::columns::{NAMES, of_named};
use super::sql::ident;
use affluent_lake::sql::referenced_tables;
use affluent_model::Column;
use std::collections::{BTreeMap, BTreeSet};

/// Zones whose tables models are.
const ZONES: &[&str] = &["staged", "curated", "dwh"];
/// Namespace of what came since the last commit of a model.
pub(crate) const DELTA: &str = "delta";
/// Namespace of every change of the rows that have changed since.
pub(crate) const VERSIONS: &str = "versions";
/// Namespace of the newest change of each unit of the staged table that drives a model.
pub(crate) const NEWEST: &str = "newest";
/// Namespace of the files that are shipped or given as CSV.
pub(crate) const SEED: &str = "seed";

/// A table and how it is computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    pub zone: String,
    pub name: String,
    /// Where it comes from, for messages.
    pub file: String,
    pub header: Header,
    /// The file as it was read.
    pub text: String,
    /// The query.
    pub body: String,
    /// The tables that body and `changes` read; `delta.x`, `versions.x` and `newest.x` as `staged.x`.
    pub reads: BTreeSet<String>,
    /// The staged tables of which `changes` reads the versions of what changed, `versions.x`.
    pub reads_versions: BTreeSet<String>,
    /// The body reads the newest change of each unit, `newest.x`.
    pub reads_newest: bool,
    /// Columns of `from` to columns of the result.
    pub unit: BTreeMap<String, String>,
}

impl Model {
    /// The model of a file at `path` (`zone/name.sql`).
    ///
    /// # Errors
    /// [`BatchError::Model`]: what is wrong with path, header or body.
    pub fn parse(path: &str, file: &str, text: &str) -> Result<Self, BatchError> {
        let refuse = |message: String| BatchError::Model { file: file.to_owned(), message };
        let (zone, name) = path
            .strip_suffix(".sql")
            .and_then(|path| path.split_once('/'))
            .filter(|(zone, name)| ZONES.contains(zone) && is_name(name))
            .ok_or_else(|| {
                refuse(format!("a model is <zone>/<name>.sql with a zone of {}", ZONES.join(", ")))
            })?;
        let (header, body) = Header::split(file, text)?;
        let tables = |what: &str, sql: &str| {
            referenced_tables(sql).map_err(|error| refuse(format!("{what}: {error}")))
        };
        let mut reads = tables("body", body)?;
        let newest: BTreeSet<String> = reads.iter().filter_map(|table| staged_of(NEWEST, table)).collect();
        reads.retain(|table| staged_of(NEWEST, table).is_none());
        let reads_newest = !newest.is_empty();
        if newest.iter().any(|staged| header.from.as_ref() != Some(staged)) {
            return Err(refuse("newest.x is of the staged table that `from` names".into()));
        }
        reads.extend(newest);
        if reads.iter().any(|table| staged_of(DELTA, table).or(staged_of(VERSIONS, table)).is_some()) {
            return Err(refuse(
                "its body reads delta.* or versions.*: only `changes` may, the body is the same for a rebuild"
                    .into(),
            ));
        }
        let mut reads_versions = BTreeSet::new();
        if let Some(changes) = &header.changes {
            for table in tables("changes", changes)? {
                let versions = staged_of(VERSIONS, &table);
                reads_versions.extend(versions.clone());
                reads.insert(versions.or(staged_of(DELTA, &table)).unwrap_or(table));
            }
        }
        let same = |key: &Vec<String>| key.iter().map(|column| (column.clone(), column.clone())).collect();
        let unit = header.unit.clone().unwrap_or_else(|| same(&header.key));
        let model = Model {
            zone: zone.into(),
            name: name.into(),
            file: file.into(),
            header,
            text: text.into(),
            body: body.into(),
            reads,
            reads_versions,
            reads_newest,
            unit,
        };
        model.check().map_err(refuse)?;
        Ok(model)
    }

    /// `zone.name`.
    #[must_use]
    pub fn table(&self) -> String {
        format!("{}.{}", self.zone, self.name)
    }

    /// The one raw table of a staged model.
    #[must_use]
    pub fn raw(&self) -> Option<&str> {
        self.reads.iter().find_map(|table| table.strip_prefix("raw."))
    }

    /// The columns that a staged model counts on in its raw table, as the lake has them.
    ///
    /// # Errors
    /// [`BatchError::Model`]: a type that there is not.
    pub fn raw_columns(&self) -> Result<Vec<Column>, BatchError> {
        let column = |(name, data_type): (&String, &String)| {
            of_named(name, data_type).ok_or_else(|| BatchError::Model {
                file: self.file.clone(),
                message: format!("columns.{name}: there is no type {data_type}; there are {NAMES}"),
            })
        };
        self.header.columns.iter().map(column).collect()
    }

    /// What header and body say together.
    fn check(&self) -> Result<(), String> {
        let header = &self.header;
        if header.key.is_empty() {
            return Err("`key` names no column".to_owned());
        }
        let staged = self.zone == "staged";
        if staged != (header.strategy == Strategy::Incremental) {
            return Err(
                "strategy = \"incremental\" is for the zone staged, and the only one there".to_owned()
            );
        }
        if staged != (header.task == Task::Clean) {
            return Err("task = \"clean\" is for the zone staged, and the only one there".to_owned());
        }
        let only_staged = !header.rules.is_empty() || !header.columns.is_empty();
        if !staged && only_staged {
            return Err("`rules` and `columns` are for the zone staged".to_owned());
        }
        let raw: Vec<&String> = self.reads.iter().filter(|table| table.starts_with("raw.")).collect();
        match (staged, raw.as_slice()) {
            (true, [_]) | (false, []) => {}
            (true, _) => return Err(format!("a staged model reads one raw table, this one {}", raw.len())),
            (false, _) => return Err("only staged models read raw tables".to_owned()),
        }
        match header.strategy {
            Strategy::Upsert | Strategy::Scd2 => {
                let from = header.from.as_ref().ok_or("`from` is missing: which table drives it?")?;
                if !self.reads.contains(from) {
                    return Err(format!("the body does not read {from}, which `from` names"));
                }
                if self.unit.is_empty() {
                    return Err("`unit` names no column".to_owned());
                }
            }
            Strategy::Incremental | Strategy::Rebuild => {
                if header.changes.is_some() || header.unit.is_some() {
                    return Err("`changes` and `unit` are for strategies upsert and scd2".to_owned());
                }
                if self.reads_newest {
                    return Err("newest.x is for strategies upsert and scd2".to_owned());
                }
                if !header.lookups.is_empty() {
                    return Err("`lookups` are for strategies upsert and scd2".to_owned());
                }
            }
        }
        for (column, target) in &header.lookups {
            let (table, _) = target_of(column, target).map_err(|message| format!("lookups.{message}"))?;
            if !self.reads.contains(table) || header.from.as_deref() == Some(table) {
                return Err(format!("lookups.{column}: {table} is none that the body joins with `from`"));
            }
        }
        Ok(())
    }

    /// The key as a list of columns in SQL.
    pub(crate) fn key_sql(&self) -> String {
        self.header.key.iter().map(|column| ident(column)).collect::<Vec<_>>().join(", ")
    }

    /// Its strategy keeps rows by unit.
    #[must_use]
    pub fn is_by_unit(&self) -> bool {
        matches!(self.header.strategy, Strategy::Upsert | Strategy::Scd2)
    }
}

/// Table and column that `column` of a header's `references` or `lookups` leads to.
///
/// # Errors
/// Which `zone.table.column` is missing.
pub(crate) fn target_of<'a>(column: &str, target: &'a str) -> Result<(&'a str, &'a str), String> {
    let parts = target.rsplit_once('.').filter(|(table, _)| table.contains('.'));
    parts.ok_or_else(|| format!("{column}: zone.table.column is meant, not {target}"))
}

/// The staged table that `table`, where it is one of `namespace`, tells of.
fn staged_of(namespace: &str, table: &str) -> Option<String> {
    let name = table.strip_prefix(namespace)?.strip_prefix('.')?;
    Some(format!("staged.{name}"))
}

/// Small letters, digits and underscores: needs no quotes anywhere.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    !name.is_empty() && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str, header: &str, body: &str) -> Result<Model, BatchError> {
        Model::parse(path, path, &format!("/*\ndescription = \"d\"\n{header}\n*/\n{body}"))
    }

    #[test]
    fn a_model_knows_what_it_reads() {
        let header = "task = \"load\"\nstrategy = \"upsert\"\nkey = [\"id\"]\nfrom = \"curated.a\"\n\
                      changes = \"select id from delta.a union select a_id as id from delta.b\"";
        let model = parse("dwh/f.sql", header, "select id from curated.a join seed.s using (x)").unwrap();
        let reads: Vec<&str> = model.reads.iter().map(String::as_str).collect();
        assert_eq!(reads, ["curated.a", "seed.s", "staged.a", "staged.b"]);
        assert_eq!(model.unit, BTreeMap::from([("id".to_owned(), "id".to_owned())]));
        assert!(!model.reads_newest);
        let header = "task = \"deduplicate\"\nstrategy = \"upsert\"\nkey = [\"id\"]\nfrom = \"staged.a\"";
        let model = parse("curated/a.sql", header, "select id from newest.a").unwrap();
        assert_eq!((model.reads, model.reads_newest), (BTreeSet::from(["staged.a".to_owned()]), true));
    }

    #[test]
    fn what_does_not_go_together_is_refused_by_file() {
        let staged = "task = \"clean\"\nstrategy = \"incremental\"\nkey = [\"id\"]";
        let upsert = "task = \"load\"\nstrategy = \"upsert\"\nkey = [\"id\"]";
        let lookups = "task = \"load\"\nstrategy = \"upsert\"\nkey = [\"id\"]\nfrom = \"staged.a\"\n\
                       lookups = { b = \"curated.c.b\", d = \"e.f\" }";
        parse("staged/a.sql", staged, "select * from raw.a").unwrap();
        for (path, header, body, said) in [
            ("elsewhere/a.sql", staged, "select * from raw.a", "zone"),
            ("staged/a.sql", staged, "select * from raw.a, raw.b", "one raw table"),
            ("staged/a.sql", upsert, "select * from raw.a", "incremental"),
            ("dwh/a.sql", upsert, "select * from staged.a", "`from` is missing"),
            ("dwh/a.sql", upsert, "select * from raw.a", "only staged"),
            ("dwh/a.sql", upsert, "select * from delta.a", "delta"),
            ("dwh/a.sql", upsert, "select * from versions.a", "versions"),
            ("dwh/a.sql", upsert, "select * from newest.a", "`from` names"),
            ("dwh/a.sql", lookups, "select * from staged.a", "lookups.b: curated.c is none"),
            ("dwh/a.sql", lookups, "select * from staged.a, curated.c", "lookups.d: zone.table.column"),
            ("dwh/a.sql", upsert, "select (id from staged.a", "body"),
        ] {
            let error = parse(path, header, body).unwrap_err().to_string();
            assert!(error.contains(path) && error.contains(said), "{error}");
        }
    }
}
