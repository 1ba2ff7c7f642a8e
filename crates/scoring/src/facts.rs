//! What is known of a payment beside its features: what it says itself, and what follows from that alone.
//!
//! Names are fixed ([`NAMES`]), so that rules are checked when they are loaded, not when a payment comes.

use affluent_model::{Currency, Money};
use bigdecimal::BigDecimal;
use std::collections::BTreeMap;

/// A payment as rules and records see it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    pub transaction_id: String,
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub occurred_at: i64,
    /// By the names of [`NAMES`]; what is not known is not there.
    pub fields: BTreeMap<String, FactValue>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq)]
pub enum FactValue {
    Text(String),
    Integer(i64),
    /// Exact; rules compare its minor units, which are an integer.
    Decimal(BigDecimal),
}

/// What kind of value a fact has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactKind {
    Text,
    Integer,
    Decimal,
}

/// The facts there are, with their kinds, in alphabetical order. Text is as the definitions of features have it: identifiers trimmed, tokens and
/// methods in lower case, countries by ISO 3166-1 alpha-2 (`??` where a country is not known).
pub const NAMES: &[(&str, FactKind)] = &[
    // In units of `currency`, and in minor units of it.
    ("amount", FactKind::Decimal),
    ("amount_minor", FactKind::Integer),
    // In minor units of the reporting currency: what caps are compared with.
    ("amount_reporting", FactKind::Integer),
    ("card_bin", FactKind::Text),
    ("card_country", FactKind::Text),
    ("card_network", FactKind::Text),
    ("card_token", FactKind::Text),
    ("currency", FactKind::Text),
    ("customer_id", FactKind::Text),
    ("device_id", FactKind::Text),
    ("ip", FactKind::Text),
    ("ip_country", FactKind::Text),
    ("merchant_id", FactKind::Text),
    ("payment_method", FactKind::Text),
    ("status", FactKind::Text),
    ("terminal_id", FactKind::Text),
];

/// Facts whose text is in lower case.
pub(crate) const LOWER: [&str; 5] = ["card_token", "device_id", "ip", "payment_method", "status"];

impl Facts {
    #[must_use]
    pub fn new(transaction_id: String, occurred_at: i64) -> Self {
        Facts { transaction_id, occurred_at, fields: BTreeMap::new() }
    }

    /// Puts in a text, unless there is none.
    pub fn text(&mut self, name: &str, value: Option<String>) {
        if let Some(value) = value {
            self.fields.insert(name.to_owned(), FactValue::Text(value));
        }
    }

    /// Puts in a whole number, unless there is none.
    pub fn integer(&mut self, name: &str, value: Option<i64>) {
        if let Some(value) = value {
            self.fields.insert(name.to_owned(), FactValue::Integer(value));
        }
    }

    /// Puts in the amount and its currency, and minor units where the amount fits them.
    pub fn money(&mut self, amount: BigDecimal, currency: &str) {
        let minor = currency.parse::<Currency>().and_then(|currency| Money::from_decimal(&amount, currency));
        self.integer("amount_minor", minor.ok().and_then(|money| i64::try_from(money.minor_units).ok()));
        self.fields.insert("amount".to_owned(), FactValue::Decimal(amount));
        self.text("currency", Some(currency.to_owned()));
    }

    /// The amount in minor units of its currency.
    #[must_use]
    pub fn amount_minor(&self) -> Option<i64> {
        match self.fields.get("amount_minor") {
            Some(FactValue::Integer(minor)) => Some(*minor),
            Some(FactValue::Text(_) | FactValue::Decimal(_)) | None => None,
        }
    }
}

impl FactValue {
    /// As it stands in a record.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            FactValue::Text(text) => text.clone(),
            FactValue::Integer(number) => number.to_string(),
            FactValue::Decimal(decimal) => decimal.to_plain_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_come_once() {
        assert!(NAMES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn money_has_minor_units_where_it_fits_them() {
        let of = |amount: &str, currency: &str| {
            let mut facts = Facts::new("1".to_owned(), 0);
            facts.money(amount.parse().unwrap(), currency);
            (facts.amount_minor(), facts.fields["amount"].to_text())
        };
        assert_eq!(of("12.3400", "EUR"), (Some(1_234), "12.3400".to_owned()));
        assert_eq!(of("1200", "JPY").0, Some(1_200));
        assert_eq!(of("0.005", "EUR").0, None, "nothing is rounded");
        assert_eq!(of("1", "euro").0, None);
        assert_eq!(of("99999999999999999999", "EUR").0, None, "more than fits");
    }
}
