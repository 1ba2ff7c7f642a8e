//! Whom an erasure is about, and by which values stores know them: pure.

use crate::output;
use affluent_lake::Sought;
use affluent_model::Value;
use anyhow::anyhow;
use hmac::{Hmac, Mac as _};
use serde_json::Value as Json;
use sha2::Sha256;
use std::collections::BTreeSet;

/// Columns and members of JSON that hold the id of a customer, wherever they are. The next two are OpenTelemetry's.
pub(super) const ID_NAMES: [&str; 4] = ["customer_id", "user_id", "user.id", "enduser.id"];

/// A customer who is to be erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) id: String,
    /// Stands for the id in the older versions of payments: the same for the same id and key, below zero, and no source gives such ids.
    pub(super) surrogate: i64,
    /// What the audit knows of the person: HMAC-SHA-256 of the id, in hexadecimal.
    pub(super) hash: String,
}

impl Person {
    /// The customer of this id; `key` is the installation's secret.
    ///
    /// # Errors
    /// An id that is no whole number above zero.
    pub(super) fn new(id: &str, key: &str) -> anyhow::Result<Self> {
        let number: i64 = id.trim().parse().unwrap_or(0);
        if number <= 0 {
            return Err(output::usage(format!(
                "{id:?} is no id of a customer: those are whole numbers above 0"
            )));
        }
        let id = number.to_string();
        let stands_for = mac(key, b"affluent surrogate\0", &id)?;
        let first: [u8; 8] = std::array::from_fn(|place| stands_for[place]);
        let surrogate = -(i64::from_be_bytes(first) & (i64::MAX >> 1)) - 1;
        let hash = mac(key, b"affluent erasure\0", &id)?.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Person { id, surrogate, hash })
    }

    /// Rows whose column is the id.
    pub(super) fn in_column(&self, column: &str) -> Sought {
        Sought { column: column.to_owned(), member: None, values: BTreeSet::from([self.id.clone()]) }
    }

    /// Rows whose JSON has the id as this member.
    pub(super) fn in_member(&self, column: &str, member: &str) -> Sought {
        Sought { member: Some(member.to_owned()), ..self.in_column(column) }
    }

    /// Whether a value under this name says that its row is about the person.
    pub(super) fn is_in(&self, name: &str, value: &Value) -> bool {
        match value {
            // The lake has JSON as text.
            Value::Json(text) | Value::Text(text) if text.starts_with(['{', '[']) => {
                serde_json::from_str(text).is_ok_and(|json| self.is_in_json(&json))
            }
            Value::Int(_) | Value::Text(_) => ID_NAMES.contains(&name) && value.to_text() == self.id,
            Value::Null
            | Value::Json(_)
            | Value::Bool(_)
            | Value::Float(_)
            | Value::Decimal(_)
            | Value::NumericSpecial(_)
            | Value::Bytes(_)
            | Value::Date(_)
            | Value::Time(_)
            | Value::Timestamp(_)
            | Value::TimestampTz(_)
            | Value::Uuid(_)
            | Value::Array(_) => false,
        }
    }

    fn is_in_json(&self, json: &Json) -> bool {
        match json {
            Json::Object(members) => members.iter().any(|(name, value)| match value {
                Json::String(text) => ID_NAMES.contains(&name.as_str()) && *text == self.id,
                Json::Number(number) => ID_NAMES.contains(&name.as_str()) && number.to_string() == self.id,
                Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => self.is_in_json(value),
            }),
            Json::Array(items) => items.iter().any(|item| self.is_in_json(item)),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => false,
        }
    }
}

fn mac(key: &str, domain: &[u8], id: &str) -> anyhow::Result<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes())
        .map_err(|error| anyhow!("cdc.protect_key: {error}"))?;
    mac.update(domain);
    mac.update(id.as_bytes());
    Ok(mac.finalize().into_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_for_an_id_is_its_own_and_says_nothing_of_it() {
        let person = |id, key| Person::new(id, key).unwrap();
        let one = person("42", "a secret of this installation");
        assert_eq!(one, person(" 42", "a secret of this installation"));
        assert!(one.surrogate < 0 && one.hash.len() == 64);
        for other in [person("43", "a secret of this installation"), person("42", "another secret")] {
            assert_ne!((one.surrogate, &one.hash), (other.surrogate, &other.hash));
        }
        for wrong in ["", "0", "-1", "forty-two", "1.5"] {
            Person::new(wrong, "a secret of this installation").unwrap_err();
        }
    }

    #[test]
    fn the_person_is_found_by_names_of_ids_alone() {
        let person = Person::new("42", "a secret of this installation").unwrap();
        let json = |text: &str| Value::Json(text.to_owned());
        for (name, value, expected) in [
            ("customer_id", Value::Int(42), true),
            ("user_id", Value::Text("42".to_owned()), true),
            ("amount", Value::Int(42), false),
            ("user_id", Value::Text("421".to_owned()), false),
            ("attributes", json(r#"{"user.id": "42"}"#), true),
            ("facts", json(r#"[{"inner": {"customer_id": 42}}]"#), true),
            ("attributes", json(r#"{"order": 42}"#), false),
        ] {
            assert_eq!(person.is_in(name, &value), expected, "{name} {value:?}");
        }
    }
}
