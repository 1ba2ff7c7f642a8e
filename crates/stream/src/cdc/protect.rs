//! Columns that must not leave the process as they are: tokenised, hashed, masked or dropped.
//!
//! Invariant: what is protected is transformed before encoding, in `after`, in `before` and in the
//! bytes of dead letters alike, so a protected key stays consistent across all of them.

use super::options::matches_pattern;
use affluent_model::{Column, ColumnType, Value};
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::collections::BTreeMap;

/// What is done to a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Protection {
    /// `tok_` and 32 hexadecimal digits of HMAC-SHA-256: equal values give equal tokens in every
    /// column and table, so joins and counts still work.
    Token,
    /// All 64 hexadecimal digits of HMAC-SHA-256, under another derivation than tokens.
    Hash,
    /// Letters and digits become `*`; of 12 or more characters the last four stay.
    Mask,
    /// The column does not exist downstream.
    Drop,
}

/// The protections of a source.
#[derive(Clone)]
pub(crate) struct Protector {
    rules: BTreeMap<String, Protection>,
    key: Vec<u8>,
}

impl Protector {
    pub(crate) fn new(rules: BTreeMap<String, Protection>, key: Option<&str>) -> Self {
        Protector { rules, key: key.unwrap_or_default().as_bytes().to_vec() }
    }

    /// The rule of a column: an exact one before a pattern.
    pub(crate) fn rule(&self, schema: &str, table: &str, column: &str) -> Option<Protection> {
        let name = format!("{schema}.{table}.{column}");
        let exact = self.rules.get(&name).copied();
        exact.or_else(|| self.rules.iter().find(|(p, _)| matches_pattern(p, &name)).map(|(_, &rule)| rule))
    }

    /// The value that may leave. Null stays null.
    pub(crate) fn apply(&self, rule: Protection, value: Value) -> Value {
        if value.is_null() {
            return value;
        }
        match rule {
            Protection::Token => {
                let mac = self.mac(b"affluent token\0", &value.to_text());
                Value::Text(format!("tok_{}", hex::encode(&mac[..16])))
            }
            Protection::Hash => Value::Text(hex::encode(self.mac(b"affluent hash\0", &value.to_text()))),
            Protection::Mask => Value::Text(mask(&value.to_text())),
            Protection::Drop => Value::Null,
        }
    }

    fn mac(&self, domain: &[u8], text: &str) -> Vec<u8> {
        // HMAC takes keys of every length.
        Hmac::<Sha256>::new_from_slice(&self.key).map_or_else(
            |_| Vec::new(),
            |mut mac| {
                mac.update(domain);
                mac.update(text.as_bytes());
                mac.finalize().into_bytes().to_vec()
            },
        )
    }
}

/// The column as it is downstream.
pub(crate) fn protected_column(mut column: Column, rule: Option<Protection>) -> Column {
    if rule.is_some() {
        column.column_type = ColumnType::Text;
    }
    column
}

fn mask(text: &str) -> String {
    let length = text.chars().count();
    let kept_from = if length >= 12 { length - 4 } else { length };
    let hide = |(i, c): (usize, char)| if i < kept_from && c.is_alphanumeric() { '*' } else { c };
    text.chars().enumerate().map(hide).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protector() -> Protector {
        let rules = [("public.customers.email", Protection::Token), ("*.*.card_number", Protection::Mask)];
        let rules = rules.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect();
        Protector::new(rules, Some("0123456789abcdef"))
    }

    #[test]
    fn rules_are_found_by_name_and_pattern() {
        let p = protector();
        assert_eq!(p.rule("public", "customers", "email"), Some(Protection::Token));
        assert_eq!(p.rule("audit", "cards", "card_number"), Some(Protection::Mask));
        assert_eq!(p.rule("public", "customers", "id"), None);
    }

    #[test]
    fn equal_values_give_equal_tokens_and_nothing_else() {
        let p = protector();
        let text = |s: &str| Value::Text(s.to_owned());
        let token = p.apply(Protection::Token, text("a@example.org"));
        assert_eq!(token, p.apply(Protection::Token, text("a@example.org")));
        assert_ne!(token, p.apply(Protection::Token, text("b@example.org")));
        assert_ne!(token, p.apply(Protection::Hash, text("a@example.org")));
        assert_eq!(p.apply(Protection::Token, Value::Int(7)), p.apply(Protection::Token, text("7")));
        assert_eq!(p.apply(Protection::Token, Value::Null), Value::Null);
        let other = Protector::new(BTreeMap::new(), Some("another key, another"));
        assert_ne!(token, other.apply(Protection::Token, text("a@example.org")));
    }

    #[test]
    fn masks_hide_letters_and_digits() {
        for (text, expected) in [
            ("4111111111111111", "************1111"),
            ("short", "*****"),
            ("ann@example.org", "***@*******.org"),
            ("", ""),
        ] {
            assert_eq!(mask(text), expected);
        }
    }
}
