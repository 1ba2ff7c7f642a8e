//! What of a version is copied, and what PostgreSQL has to know of each table. Decisions and SQL text; no I/O.

use super::PublishError;
use crate::types::sql_type;
use affluent_warehouse::batch::{Model, Version};
use arrow_schema::Schema;
use std::collections::BTreeMap;

/// The zone whose tables are published.
pub(crate) const ZONE: &str = "dwh";
/// The table that tells which version the others are of.
pub(crate) const PUBLICATION: &str = "affluent_publication";

/// Tables that a publication has made: name to when their version was published, microseconds UTC.
pub(crate) type Stored = BTreeMap<String, i64>;

/// Names of the tables of `version` to copy, without their zone: all, or `only` these.
///
/// # Errors
/// [`PublishError::Options`] for a name that is not published.
pub(crate) fn wanted(version: &Version, only: &[String]) -> Result<Vec<String>, PublishError> {
    let in_zone = |table: &String| Some(table.strip_prefix(ZONE)?.strip_prefix('.')?.to_owned());
    let published: Vec<String> = version.snapshots.keys().filter_map(in_zone).collect();
    if let Some(missing) = only.iter().find(|name| !published.contains(name)) {
        let names = published.join(", ");
        return Err(PublishError::Options(format!(
            "bi.publish.tables: {missing} is not published; there are {names}"
        )));
    }
    Ok(published.into_iter().filter(|name| only.is_empty() || only.contains(name)).collect())
}

/// Whether a PostgreSQL that holds `stored` has nothing to gain from these tables of `version`: it has them, or newer ones.
pub(crate) fn is_current(stored: &Stored, version: &Version, tables: &[String]) -> bool {
    let is_newer = stored.values().any(|published_at| *published_at > version.published_at);
    let is_same = stored.values().all(|published_at| *published_at == version.published_at)
        && stored.keys().eq(tables.iter());
    is_newer || is_same
}

/// A table as it is made in PostgreSQL: under a name of its own first, which is unique in its transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewTable {
    pub(crate) name: String,
    /// Its name until it takes the place of the old one, in quotes and with its schema.
    place: String,
    /// The same without schema and quotes, for its indexes.
    temporary: String,
    schema: String,
    columns: Vec<(String, String)>,
    key: Vec<String>,
    /// The column by whose time rows are asked for.
    time: Option<String>,
    comment: Option<String>,
}

impl NewTable {
    /// `number`: which of the transaction's tables it is. What `model` says of columns that `columns` lacks is left out:
    /// the model may be newer than the version.
    pub(crate) fn new(
        schema: &str,
        name: &str,
        number: usize,
        columns: &Schema,
        model: Option<&Model>,
    ) -> Self {
        let has = |column: &String| columns.field_with_name(column).is_ok();
        let header = model.map(|model| &model.header);
        let key = header.map(|header| header.key.clone()).filter(|key| key.iter().all(has));
        let temporary = format!("affluent_new_{number}");
        NewTable {
            name: name.to_owned(),
            place: qualified(schema, &temporary),
            temporary,
            schema: schema.to_owned(),
            columns: columns
                .fields()
                .iter()
                .map(|field| (field.name().clone(), sql_type(field.data_type())))
                .collect(),
            key: key.unwrap_or_default(),
            time: header.and_then(|header| header.partition.clone()).filter(has),
            comment: header.map(|header| header.description.clone()),
        }
    }

    /// Makes it, without rows.
    pub(crate) fn create(&self) -> String {
        let columns: Vec<String> =
            self.columns.iter().map(|(name, data_type)| format!("{} {data_type}", ident(name))).collect();
        format!("create table {} ({})", self.place, columns.join(", "))
    }

    /// Takes rows in.
    pub(crate) fn copy(&self) -> String {
        format!("copy {} ({}) from stdin", self.place, idents(self.columns.iter().map(|(name, _)| name)))
    }

    /// What is done once the rows are in: key, index, comment, statistics.
    pub(crate) fn finish(&self) -> String {
        let (place, temporary) = (&self.place, &self.temporary);
        let mut statements = Vec::new();
        if !self.key.is_empty() {
            let name = ident(&format!("{temporary}_pkey"));
            let key = idents(&self.key);
            statements.push(format!("alter table {place} add constraint {name} primary key ({key})"));
        }
        if let Some(time) = &self.time {
            let name = ident(&format!("{temporary}_time"));
            statements.push(format!("create index {name} on {place} ({})", ident(time)));
        }
        if let Some(comment) = &self.comment {
            statements.push(format!("comment on table {place} is {}", literal(comment)));
        }
        statements.push(format!("analyze {place}"));
        statements.join("; ")
    }

    /// Gives it and its indexes their names, once the old table has gone.
    pub(crate) fn take_place(&self) -> String {
        let mut statements = vec![format!("alter table {} rename to {}", self.place, ident(&self.name))];
        let mut index = |from: String, to: String| {
            let from = qualified(&self.schema, &from);
            statements.push(format!("alter index {from} rename to {}", ident(&to)));
        };
        if !self.key.is_empty() {
            index(format!("{}_pkey", self.temporary), format!("{}_pkey", self.name));
        }
        if let Some(time) = &self.time {
            index(format!("{}_time", self.temporary), format!("{}_{time}_idx", self.name));
        }
        statements.join("; ")
    }

    /// Lets somebody do what they might do with the old one.
    pub(crate) fn grant(&self, grant: &Grant) -> String {
        let further = if grant.is_grantable { " with grant option" } else { "" };
        format!("grant {} on {} to {}{further}", grant.privilege, self.place, grant.grantee)
    }
}

/// What a role may do with a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) table: String,
    pub(crate) privilege: String,
    /// As SQL writes it: a role in quotes where it needs them, or `public`.
    pub(crate) grantee: String,
    pub(crate) is_grantable: bool,
}

/// A table with its schema, as SQL writes it.
pub(crate) fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", ident(schema), ident(name))
}

/// A name as SQL writes it.
pub(crate) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn idents<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    names.into_iter().map(|name| ident(name)).collect::<Vec<_>>().join(", ")
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_schema::{DataType, Field};

    fn version(published_at: i64, tables: &[&str]) -> Version {
        let snapshots = tables.iter().map(|table| (format!("dwh.{table}"), Some(1))).collect();
        Version { version: 3, as_of: None, published_at, run: 1, same_as: None, snapshots }
    }

    fn names(of: &[&str]) -> Vec<String> {
        of.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_version_is_copied_once_and_never_an_older_one() {
        let stored = |tables: &[(&str, i64)]| -> Stored {
            tables.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect()
        };
        let (of_7, both) = (version(7, &["a", "b"]), names(&["a", "b"]));
        for (stored, expected) in [
            (stored(&[]), false),
            (stored(&[("a", 6), ("b", 6)]), false),
            (stored(&[("a", 7), ("b", 7)]), true),
            (stored(&[("a", 8), ("b", 8)]), true),
            (stored(&[("a", 7)]), false),
            (stored(&[("a", 7), ("b", 7), ("c", 7)]), false),
            (stored(&[("a", 9)]), true),
        ] {
            assert_eq!(is_current(&stored, &of_7, &both), expected, "{stored:?}");
        }
    }

    #[test]
    fn an_unknown_table_is_refused_by_name() {
        let version = version(7, &["a", "b"]);
        assert_eq!(wanted(&version, &[]).unwrap(), names(&["a", "b"]));
        assert_eq!(wanted(&version, &names(&["b"])).unwrap(), names(&["b"]));
        let said = wanted(&version, &names(&["c"])).unwrap_err().to_string();
        assert!(said.contains("c is not published; there are a, b"), "{said}");
    }

    #[test]
    fn a_table_gets_the_key_the_index_and_the_comment_of_its_model() {
        let header = "description = \"It's one\"\ntask = \"load\"\nstrategy = \"rebuild\"\nkey = [\"id\"]\npartition = \"at\"";
        let text = format!("/*\n{header}\n*/\nselect id from curated.x");
        let model = Model::parse("dwh/x.sql", "x.sql", &text).unwrap();
        let of = |columns: &[&str]| {
            let fields: Vec<Field> =
                columns.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect();
            NewTable::new("s", "x", 0, &Schema::new(fields), Some(&model))
        };
        let table = of(&["id", "at", "odd\"name"]);
        assert_eq!(
            table.create(),
            "create table \"s\".\"affluent_new_0\" (\"id\" bigint, \"at\" bigint, \"odd\"\"name\" bigint)"
        );
        assert_eq!(
            table.copy(),
            "copy \"s\".\"affluent_new_0\" (\"id\", \"at\", \"odd\"\"name\") from stdin"
        );
        let finish = table.finish();
        assert!(finish.contains("constraint \"affluent_new_0_pkey\" primary key (\"id\")"), "{finish}");
        assert!(finish.contains("is 'It''s one'") && finish.contains("(\"at\")"), "{finish}");
        let place = table.take_place();
        assert!(place.contains("\"affluent_new_0_time\" rename to \"x_at_idx\""), "{place}");
        // The model is newer than the version: it names columns that are not there yet.
        let older = of(&["other"]);
        assert!(!older.finish().contains("primary key") && !older.finish().contains("create index"));
        assert!(!older.take_place().contains("alter index"));
    }
}
