//! Casts between kinds, also between names and what they are the names of.

use super::run::Run;
use crate::catalog::value::{Kind, Scalar, Value};
use crate::error::{PgError, code};

impl Run<'_> {
    /// The value as another kind has it.
    pub(super) fn cast(&self, value: Value, from: Kind, to: Kind) -> Result<Value, PgError> {
        if value.is_null() {
            return Ok(value);
        }
        if to.is_array {
            let items = value.items().into_iter().map(|item| self.cast(item, from.element(), to.element()));
            return Ok(Value::array(items.collect::<Result<_, _>>()?));
        }
        let text = || value.to_text().unwrap_or_default();
        let invalid = |what: &str| {
            let shown: String = text().chars().take(100).collect();
            PgError::new(code::INVALID_TEXT, format!("invalid input syntax for type {what}: \"{shown}\""))
        };
        match to.scalar {
            Scalar::Bool => value.truth().map(Value::Bool).ok_or_else(|| invalid("boolean")),
            Scalar::Int2 | Scalar::Int4 | Scalar::Int8 | Scalar::Oid => {
                value.integer().map(Value::Int).ok_or_else(|| invalid("integer"))
            }
            Scalar::Float8 => value.float().map(Value::Float).ok_or_else(|| invalid("double precision")),
            Scalar::Timestamptz => Ok(value),
            Scalar::Char => Ok(Value::text(text().chars().take(1).collect::<String>())),
            Scalar::Name | Scalar::Text | Scalar::Unknown => Ok(Value::text(self.shown(&value, from))),
            Scalar::Class => self.oid_of(&value, from, "relation", |name| {
                self.relations.class_named(name, &self.search_path())
            }),
            Scalar::Type => self.oid_of(&value, from, "type", |name| self.relations.type_named(name)),
            Scalar::Namespace => {
                self.oid_of(&value, from, "schema", |name| self.relations.namespace_named(name))
            }
            Scalar::Other | Scalar::Record => Ok(value),
        }
    }

    /// The name of what an oid is of; other values as their text.
    pub(crate) fn shown(&self, value: &Value, from: Kind) -> String {
        let named = match (from.scalar, value) {
            (Scalar::Class, Value::Int(oid)) => self.relations.class(*oid).map(|class| {
                let is_visible =
                    class.namespace == "pg_catalog" || self.search_path().contains(&class.namespace);
                if is_visible { class.name.clone() } else { format!("{}.{}", class.namespace, class.name) }
            }),
            (Scalar::Type, Value::Int(oid)) => self.relations.type_name(*oid),
            (Scalar::Namespace, Value::Int(oid)) => self.relations.namespace(*oid).map(str::to_owned),
            _ => None,
        };
        let none = from.is_reg() && *value == Value::Int(0);
        named.unwrap_or_else(|| if none { "-".to_owned() } else { value.to_text().unwrap_or_default() })
    }

    fn oid_of(
        &self,
        value: &Value,
        from: Kind,
        what: &str,
        find: impl Fn(&str) -> Option<i64>,
    ) -> Result<Value, PgError> {
        if let Some(oid) = value.integer() {
            return Ok(Value::Int(oid));
        }
        let name = self.shown(value, from);
        if name == "-" {
            return Ok(Value::Int(0));
        }
        let code = if what == "relation" { code::UNDEFINED_TABLE } else { code::UNDEFINED_OBJECT };
        find(&name)
            .map(Value::Int)
            .ok_or_else(|| PgError::new(code, format!("{what} \"{name}\" does not exist")))
    }
}
