//! The shape of a table at one version, and rows made of its tuples.
//!
//! Invariant: the schema that goes out depends only on the relation, the types and the protection
//! rules; key columns are required, all others may be null, so that added and dropped columns stay
//! compatible in both directions.

use super::decode::pgoutput::{Field, Relation, Tuple};
use super::decode::value::parse;
use super::protect::{Protection, Protector, protected_column};
use super::types::TypeCatalog;
use super::{CdcError, catalog::Captured};
use affluent_model::{Column, ColumnType, Op, Reason, Row, TableId, TableSchema, Value, names};
use bytes::Bytes;
use std::sync::Arc;

/// A column as the source sends it, and what becomes of it.
#[derive(Debug, Clone)]
pub(crate) struct FieldPlan {
    pub(crate) name: String,
    pub(crate) column_type: ColumnType,
    pub(crate) rule: Option<Protection>,
    /// Its place downstream; none where it is dropped.
    pub(crate) target: Option<usize>,
}

/// A table at one version.
#[derive(Debug)]
pub(crate) struct Shape {
    /// The table's name at the source now, for SQL.
    pub(crate) table: TableId,
    pub(crate) oid: u32,
    pub(crate) topic: Arc<str>,
    pub(crate) partitions: i32,
    pub(crate) schema: Arc<TableSchema>,
    pub(crate) fields: Vec<FieldPlan>,
    /// The key as indexes into `fields`.
    pub(crate) key: Vec<usize>,
    event_types: Vec<(Op, Bytes)>,
}

/// A value that cannot go on: to quarantine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {problem}")]
pub(crate) struct BadValue {
    pub(crate) reason: Reason,
    pub(crate) column: String,
    pub(crate) problem: String,
}

/// A row and its columns whose values the source did not send.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Built {
    pub(crate) row: Row,
    pub(crate) unchanged: Vec<usize>,
}

impl Shape {
    /// The shape of a relation message. `primary_key` counts where the replica identity does not
    /// name a key (FULL, NOTHING).
    ///
    /// # Errors
    /// [`CdcError::Config`] where a key column would be dropped.
    pub(crate) fn new(
        relation: &Relation,
        types: &TypeCatalog,
        protector: &Protector,
        captured: &Captured,
        primary_key: &[String],
    ) -> Result<Self, CdcError> {
        let named_key = matches!(relation.replica_identity, b'd' | b'i');
        let key_of = |name: &str| primary_key.iter().any(|key| key == name);
        let has_primary_key = !primary_key.is_empty()
            && primary_key.iter().all(|key| relation.columns.iter().any(|column| &column.name == key));
        let (mut fields, mut columns, mut key, mut target_key) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (index, column) in relation.columns.iter().enumerate() {
            let column_type = types.resolve(column.type_oid, column.type_modifier);
            // Rules are of the captured name, which a rename does not change.
            let rule = protector.rule(&captured.table.schema, &captured.table.name, &column.name);
            let is_key = if named_key { column.identity } else { has_primary_key && key_of(&column.name) };
            let dropped = rule == Some(Protection::Drop);
            if is_key && dropped {
                return Err(CdcError::Config(format!(
                    "cdc.protect: {}.{} is part of the key and cannot be dropped: use \"token\" or \"hash\"",
                    captured.table, column.name
                )));
            }
            let target = (!dropped).then_some(columns.len());
            if is_key {
                key.push(index);
                target_key.extend(target);
            }
            if !dropped {
                let name = column.name.clone();
                let plain = Column { name, column_type: column_type.clone(), nullable: !is_key };
                columns.push(protected_column(plain, rule));
            }
            fields.push(FieldPlan { name: column.name.clone(), column_type, rule, target });
        }
        let event_types = [Op::Create, Op::Update, Op::Delete, Op::Read, Op::Truncate]
            .map(|op| (op, Bytes::from(names::event_type(&captured.table.name, op))));
        Ok(Shape {
            table: TableId::new(&relation.schema, &relation.name),
            oid: relation.oid,
            topic: Arc::clone(&captured.topic),
            partitions: captured.partitions,
            schema: Arc::new(TableSchema { table: captured.table.clone(), columns, key: target_key }),
            fields,
            key,
            event_types: event_types.to_vec(),
        })
    }

    /// The header that names the event.
    pub(crate) fn event_type(&self, op: Op) -> Bytes {
        self.event_types.iter().find(|(o, _)| *o == op).map(|(_, name)| name.clone()).unwrap_or_default()
    }

    /// The row of a tuple; fields that were not sent are taken from `old` where it has them.
    pub(crate) fn build(
        &self,
        tuple: &[Field<'_>],
        old: Option<&Tuple<'_>>,
        protector: &Protector,
    ) -> Result<Built, BadValue> {
        self.check_width(tuple.len())?;
        let mut built = Built { row: Vec::with_capacity(self.schema.columns.len()), unchanged: Vec::new() };
        for (index, plan) in self.fields.iter().enumerate() {
            let Some(target) = plan.target else { continue };
            let field = match tuple[index] {
                Field::Unchanged => old.and_then(|old| old.get(index)).copied().unwrap_or(Field::Unchanged),
                sent => sent,
            };
            built.row.push(match field {
                Field::Null => Value::Null,
                Field::Unchanged => {
                    built.unchanged.push(target);
                    Value::Null
                }
                Field::Text(text) => self.value(plan, text, protector)?,
            });
        }
        Ok(built)
    }

    /// One value, protected.
    pub(crate) fn value(
        &self,
        plan: &FieldPlan,
        text: &[u8],
        protector: &Protector,
    ) -> Result<Value, BadValue> {
        let value = parse(&plan.column_type, text).map_err(|refused| BadValue {
            reason: refused.reason,
            column: plan.name.clone(),
            problem: refused.to_string(),
        })?;
        Ok(match plan.rule {
            None => value,
            Some(rule) => protector.apply(rule, value),
        })
    }

    /// The tuple as JSON, for the dead letter of a row that does not fit; protected as always.
    pub(crate) fn raw_json(&self, tuple: &[Field<'_>], protector: &Protector) -> serde_json::Value {
        let field = |(plan, field): (&FieldPlan, &Field<'_>)| {
            plan.target?;
            let value = match field {
                Field::Null => serde_json::Value::Null,
                Field::Unchanged => return None,
                Field::Text(text) => {
                    let value = Value::Text(String::from_utf8_lossy(text).into_owned());
                    match plan.rule {
                        None => value.to_json(),
                        Some(rule) => protector.apply(rule, value).to_json(),
                    }
                }
            };
            Some((plan.name.clone(), value))
        };
        serde_json::Value::Object(self.fields.iter().zip(tuple).filter_map(field).collect())
    }

    /// Whether the key of the two tuples differs. A key that was not sent did not change.
    pub(crate) fn key_moved(&self, old: &[Field<'_>], new: &[Field<'_>]) -> bool {
        let sent = |tuple: &[Field<'_>], i: usize| !matches!(tuple.get(i), None | Some(Field::Unchanged));
        self.key.iter().any(|&i| sent(old, i) && sent(new, i) && old[i] != new[i])
    }

    fn check_width(&self, width: usize) -> Result<(), BadValue> {
        if width == self.fields.len() {
            return Ok(());
        }
        Err(BadValue {
            reason: Reason::Undecodable,
            column: "*".into(),
            problem: format!("the row has {width} fields, its relation {}", self.fields.len()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cdc::decode::pgoutput::RelationColumn;
    use std::collections::BTreeMap;

    fn shape(
        replica_identity: u8,
        rules: &[(&str, Protection)],
        key: &[&str],
    ) -> (Result<Shape, CdcError>, Protector) {
        let column = |name: &str, type_oid, identity| RelationColumn {
            identity: identity || replica_identity == b'f',
            name: name.into(),
            type_oid,
            type_modifier: -1,
        };
        let relation = Relation {
            oid: 1,
            schema: "public".into(),
            name: "people".into(),
            replica_identity,
            columns: vec![column("id", 20, true), column("email", 25, false), column("bio", 25, false)],
        };
        let captured = Captured {
            table: TableId::new("public", "people"),
            topic: "oltp.public.people".into(),
            partitions: 3,
        };
        let rules: BTreeMap<_, _> = rules.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect();
        let protector = Protector::new(rules, Some("0123456789abcdef"));
        let key: Vec<String> = key.iter().map(|k| (*k).to_owned()).collect();
        (Shape::new(&relation, &TypeCatalog::default(), &protector, &captured, &key), protector)
    }

    #[test]
    fn unchanged_values_come_from_the_old_row_or_are_named() {
        let (shape, protector) = shape(b'f', &[], &["id"]);
        let shape = shape.unwrap();
        let new = [Field::Text(b"1"), Field::Text(b"a"), Field::Unchanged];
        let old = vec![Field::Text(b"1"), Field::Text(b"b"), Field::Text(b"long")];
        let row = |bio| vec![Value::Int(1), Value::Text("a".into()), bio];
        let filled = Built { row: row(Value::Text("long".into())), unchanged: vec![] };
        assert_eq!(shape.build(&new, Some(&old), &protector), Ok(filled));
        let partial = Built { row: row(Value::Null), unchanged: vec![2] };
        assert_eq!(shape.build(&new, None, &protector), Ok(partial));
        assert_eq!(shape.schema.key, [0]);
    }

    #[test]
    fn protection_reaches_rows_and_dead_letters() {
        let rules = [("public.people.email", Protection::Token), ("public.people.bio", Protection::Drop)];
        let (shape, protector) = shape(b'd', &rules, &[]);
        let shape = shape.unwrap();
        let tuple = [Field::Text(b"1"), Field::Text(b"a@example.org"), Field::Text(b"secret")];
        let built = shape.build(&tuple, None, &protector).unwrap();
        assert_eq!(built.row.len(), 2);
        let json = shape.raw_json(&tuple, &protector).to_string();
        assert!(!json.contains("example") && !json.contains("secret") && json.contains("tok_"), "{json}");
    }

    #[test]
    fn a_dropped_key_is_refused() {
        let (refused, _) = shape(b'd', &[("public.people.id", Protection::Drop)], &[]);
        assert!(matches!(refused, Err(CdcError::Config(_))));
    }

    #[test]
    fn moved_keys_are_seen() {
        let (shape, _) = shape(b'd', &[], &[]);
        let shape = shape.unwrap();
        let key = |id: &'static [u8]| vec![Field::Text(id), Field::Null, Field::Null];
        assert!(shape.key_moved(&key(b"1"), &key(b"2")));
        assert!(!shape.key_moved(&key(b"1"), &key(b"1")));
    }
}
