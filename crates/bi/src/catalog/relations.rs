//! The tables of `pg_catalog` and `information_schema`, as one user sees the lake.
//!
//! Oids are given in the order of the names: the same for the same tables, so that two statements of a client that looks
//! around agree.

use super::columns_of::{COLUMNS, INFORMATION_SCHEMA};
use super::rows;
use super::value::{Kind, Value};
use affluent_lake::sql::DescribedTable;
use postgres_types::Type;
use std::collections::HashMap;
use std::sync::Arc;

/// What `version()` answers: clients read the first number.
pub(crate) const VERSION: &str = "PostgreSQL 15.0 (Affluent)";
/// Whose all things are.
pub(crate) const OWNER: &str = "affluent";
pub(crate) const OWNER_OID: i64 = 10;
pub(crate) const DATABASE_OID: i64 = 5;
pub(crate) const CATALOG_OID: i64 = 11;
pub(crate) const INFORMATION_OID: i64 = 13;
pub(crate) const PUBLIC_OID: i64 = 2200;
/// Oids of what a PostgreSQL does not have itself begin here.
const FIRST_OID: i64 = 16_384;
/// Of the catalogue's own tables, where no client expects another.
const FIRST_CATALOG_OID: i64 = 13_000;

/// A table of the catalogue.
#[derive(Debug)]
pub(crate) struct Relation {
    pub(crate) columns: Vec<(String, Kind)>,
    pub(crate) rows: Vec<Vec<Value>>,
}

/// What `pg_class` says of a table.
#[derive(Debug, Clone)]
pub(crate) struct Class {
    pub(crate) oid: i64,
    pub(crate) namespace: String,
    pub(crate) namespace_oid: i64,
    pub(crate) name: String,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// `None` of the catalogue's own.
    pub(crate) table: Option<DescribedTable>,
}

/// The catalogue.
#[derive(Debug)]
pub(crate) struct Relations {
    /// By schema and name.
    tables: HashMap<(&'static str, String), Arc<Relation>>,
    pub(crate) classes: Vec<Class>,
    pub(crate) namespaces: Vec<(i64, String)>,
    places: HashMap<i64, usize>,
    comments: HashMap<(i64, i64), String>,
}

impl Relations {
    /// The catalogue over these tables, for a server with these users.
    pub(crate) fn new(described: Vec<DescribedTable>, database: &str, users: &[String]) -> Self {
        let namespaces = namespaces(&described);
        let classes = classes(described, &namespaces);
        let places = classes.iter().enumerate().map(|(place, class)| (class.oid, place)).collect();
        let comments = comments(&classes);
        let mut relations = Relations { tables: HashMap::new(), classes, namespaces, places, comments };
        let made = rows::all(&relations, database, users);
        for (schema, list) in [("pg_catalog", COLUMNS), ("information_schema", INFORMATION_SCHEMA)] {
            for (name, columns) in list {
                let rows = made.get(name).cloned().unwrap_or_default();
                let relation = Relation { columns: parsed(columns), rows };
                relations.tables.insert((schema, (*name).to_owned()), Arc::new(relation));
            }
        }
        relations
    }

    /// A table by its name; without a schema it is one of `pg_catalog`.
    pub(crate) fn find(&self, schema: Option<&str>, name: &str) -> Option<Arc<Relation>> {
        let schema = match schema {
            None | Some("pg_catalog") => "pg_catalog",
            Some("information_schema") => "information_schema",
            Some(_) => return None,
        };
        self.tables.get(&(schema, name.to_owned())).cloned()
    }

    pub(crate) fn class(&self, oid: i64) -> Option<&Class> {
        self.places.get(&oid).and_then(|place| self.classes.get(*place))
    }

    /// The oid of a table by its name, with its schema or in one of `path`.
    pub(crate) fn class_named(&self, text: &str, path: &[String]) -> Option<i64> {
        let mut parts = split(text);
        let name = parts.pop()?;
        let schema = parts.pop();
        let found = self.classes.iter().filter(|class| class.name == name).find(|class| match &schema {
            Some(schema) => class.namespace == *schema,
            None => class.namespace == "pg_catalog" || path.contains(&class.namespace),
        });
        found.map(|class| class.oid)
    }

    /// The name of a table in the first schema of `path` that has it.
    pub(crate) fn schema_of(&self, name: &str, path: &[String]) -> Option<String> {
        let has = |schema: &&String| {
            self.classes.iter().any(|class| class.name == name && class.namespace == **schema)
        };
        path.iter().find(has).cloned()
    }

    pub(crate) fn type_named(&self, text: &str) -> Option<i64> {
        let name = split(text).pop()?;
        let same = |one: &&Type| one.name() == name || crate::types::name_of(one, -1) == text.to_lowercase();
        rows::TYPES.iter().find(same).map(|one| i64::from(one.oid()))
    }

    pub(crate) fn type_name(&self, oid: i64) -> Option<String> {
        let found = Type::from_oid(u32::try_from(oid).ok()?)?;
        Some(crate::types::name_of(&found, -1))
    }

    pub(crate) fn namespace(&self, oid: i64) -> Option<&str> {
        self.namespaces.iter().find(|(known, _)| *known == oid).map(|(_, name)| name.as_str())
    }

    pub(crate) fn namespace_named(&self, text: &str) -> Option<i64> {
        let name = split(text).pop()?;
        self.namespaces.iter().find(|(_, known)| *known == name).map(|(oid, _)| *oid)
    }

    /// What was written of a table (part 0) or a column.
    pub(crate) fn comment(&self, oid: i64, part: i64) -> Option<&str> {
        self.comments.get(&(oid, part)).map(String::as_str)
    }

    pub(crate) fn comments(&self) -> impl Iterator<Item = (i64, i64, &str)> {
        let mut all: Vec<_> =
            self.comments.iter().map(|((oid, part), text)| (*oid, *part, text.as_str())).collect();
        all.sort_unstable();
        all.into_iter()
    }

    /// Bytes of all tables.
    pub(crate) fn bytes(&self) -> i64 {
        let bytes = self.classes.iter().fold(0_u64, |sum, class| sum.saturating_add(class.bytes));
        i64::try_from(bytes).unwrap_or(i64::MAX)
    }
}

fn namespaces(described: &[DescribedTable]) -> Vec<(i64, String)> {
    let mut namespaces = vec![
        (CATALOG_OID, "pg_catalog".to_owned()),
        (INFORMATION_OID, "information_schema".to_owned()),
        (PUBLIC_OID, "public".to_owned()),
    ];
    let mut names: Vec<&String> = described.iter().map(|table| &table.namespace).collect();
    names.sort_unstable();
    names.dedup();
    let own: Vec<&String> =
        names.into_iter().filter(|name| namespaces.iter().all(|(_, known)| known != *name)).collect();
    namespaces.extend((FIRST_OID..).zip(own).map(|(oid, name)| (oid, name.clone())));
    namespaces
}

fn classes(described: Vec<DescribedTable>, namespaces: &[(i64, String)]) -> Vec<Class> {
    let own = |oid: i64, namespace: &str, namespace_oid: i64, name: &str| Class {
        oid,
        namespace: namespace.to_owned(),
        namespace_oid,
        name: name.to_owned(),
        rows: 0,
        bytes: 0,
        table: None,
    };
    let known = |name: &str, place: i64| match name {
        // Clients write these numbers.
        "pg_type" => 1247,
        "pg_attribute" => 1249,
        "pg_proc" => 1255,
        "pg_class" => 1259,
        "pg_database" => 1262,
        "pg_namespace" => 2615,
        "pg_constraint" => 2606,
        _ => FIRST_CATALOG_OID + place,
    };
    let mut classes: Vec<Class> = Vec::new();
    for ((name, _), place) in COLUMNS.iter().zip(0..) {
        classes.push(own(known(name, place), "pg_catalog", CATALOG_OID, name));
    }
    for ((name, _), place) in INFORMATION_SCHEMA.iter().zip(500..) {
        classes.push(own(FIRST_CATALOG_OID + place, "information_schema", INFORMATION_OID, name));
    }
    // Behind the oids of the namespaces.
    let first = FIRST_OID + 1_000;
    for (table, oid) in described.into_iter().zip(first..) {
        let namespace_oid =
            namespaces.iter().find(|(_, name)| *name == table.namespace).map_or(PUBLIC_OID, |(oid, _)| *oid);
        classes.push(Class {
            rows: table.rows,
            bytes: table.bytes,
            table: Some(table.clone()),
            ..own(oid, &table.namespace, namespace_oid, &table.name)
        });
    }
    classes
}

fn comments(classes: &[Class]) -> HashMap<(i64, i64), String> {
    let mut comments = HashMap::new();
    for class in classes {
        let Some(table) = &class.table else { continue };
        if let Some(comment) = &table.comment {
            comments.insert((class.oid, 0), comment.clone());
        }
        for (comment, place) in table.column_comments.iter().zip(1..) {
            if let Some(comment) = comment {
                comments.insert((class.oid, place), comment.clone());
            }
        }
    }
    comments
}

/// `name:type name:type`.
pub(super) fn parsed(columns: &str) -> Vec<(String, Kind)> {
    let column = |text: &str| {
        let (name, kind) = text.split_once(':').unwrap_or((text, "text"));
        (name.to_owned(), Kind::named(kind).unwrap_or(Kind::TEXT))
    };
    columns.split_whitespace().map(column).collect()
}

/// The parts of a name in a text: `dwh."Odd Name"`.
fn split(text: &str) -> Vec<String> {
    let (mut parts, mut part, mut quoted) = (Vec::new(), String::new(), false);
    for letter in text.chars() {
        match letter {
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(std::mem::take(&mut part)),
            _ if quoted => part.push(letter),
            _ => part.extend(letter.to_lowercase()),
        }
    }
    parts.push(part);
    parts
}
