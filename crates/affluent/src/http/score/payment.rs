//! A payment that is asked about: from the JSON of a request to the row that the payments database would have of it. Pure.
//!
//! Its fields have the names of the reference schema, but for `transaction_id` and `occurred_at`. Invariant: the row is read by the
//! same mapping as a row of the topic, so what the stream computes of it later is computed here.

use affluent_feature_store::event::Cell;
use affluent_model::{Currency, Money};
use bigdecimal::BigDecimal;
use chrono::DateTime;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::net::IpAddr;

/// Characters of a text.
const TEXT_MAX: usize = 256;
/// Digits before the point of an amount, and behind it.
const DIGITS_MAX: (usize, usize) = (14, 4);

/// What a field may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    /// A whole number, or a text.
    Key,
    Amount,
    Currency,
    Address,
    /// RFC 3339.
    Time,
}

/// Field of the request, column of the row, kind.
const FIELDS: &[(&str, &str, Kind)] = &[
    ("transaction_id", "id", Kind::Key),
    ("occurred_at", "created_at", Kind::Time),
    ("amount", "amount", Kind::Amount),
    ("currency", "currency", Kind::Currency),
    ("customer_id", "customer_id", Kind::Key),
    ("merchant_id", "merchant_id", Kind::Key),
    ("terminal_id", "terminal_id", Kind::Text),
    ("device_id", "device_id", Kind::Text),
    ("card_token", "card_token", Kind::Text),
    ("card_bin", "card_bin", Kind::Text),
    ("ip", "ip", Kind::Address),
    ("payment_method", "payment_method", Kind::Text),
    ("status", "status", Kind::Text),
];
const REQUIRED: [&str; 3] = ["transaction_id", "amount", "currency"];
/// A payment that is asked about is not yet decided.
const STATUS: &str = "authorized";

/// A payment, checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Payment {
    /// As the request has it.
    pub(crate) id: String,
    /// Microseconds UTC.
    pub(crate) occurred_at: i64,
    /// Columns of the row.
    columns: Vec<(&'static str, Cell<'static>)>,
}

impl Payment {
    /// Reads a request; a payment without a time occurs at `now` (microseconds UTC).
    ///
    /// # Errors
    /// Which field, and what is wrong with it; without its value.
    pub(crate) fn new(request: &Map<String, Value>, now: i64) -> Result<Self, String> {
        if let Some(unknown) = request.keys().find(|name| !FIELDS.iter().any(|(field, ..)| field == name)) {
            let known: Vec<&str> = FIELDS.iter().map(|(field, ..)| *field).collect();
            let shown: String = unknown.chars().take(40).collect();
            return Err(format!("{shown:?}: there is no such field; there are {}", known.join(", ")));
        }
        let given = |name: &str| request.get(name).filter(|value| !value.is_null());
        if let Some(missing) = REQUIRED.iter().find(|name| given(name).is_none()) {
            return Err(format!("{missing}: is missing"));
        }
        let mut columns = Vec::with_capacity(FIELDS.len());
        for (field, column, kind) in FIELDS {
            if let Some(value) = given(field) {
                let cell = read(*kind, value).map_err(|problem| format!("{field}: {problem}"))?;
                columns.push((*column, cell));
            }
        }
        let mut payment = Payment { id: String::new(), occurred_at: now, columns };
        payment.check_money()?;
        let id = payment.column("id").and_then(|cell| cell.text().ok().flatten()).map(Cow::into_owned);
        payment.id = id.unwrap_or_default();
        if let Some(Cell::Time(occurred)) = payment.column("created_at") {
            payment.occurred_at = *occurred;
        } else {
            payment.columns.push(("created_at", Cell::Time(now)));
        }
        if payment.column("status").is_none() {
            payment.columns.push(("status", Cell::Text(Cow::Borrowed(STATUS))));
        }
        Ok(payment)
    }

    /// The cells of its row under these names, as a change that is committed at `now` would have them.
    pub(crate) fn cells(&self, fields: &[String], now: i64) -> Vec<Cell<'static>> {
        let cell = |name: &String| match name.as_str() {
            "_op" => Cell::Text(Cow::Borrowed("c")),
            "_lsn" | "_ordinal" => Cell::Int(0),
            "_commit_ts" => Cell::Time(now),
            name => self.column(name).cloned().unwrap_or(Cell::Null),
        };
        fields.iter().map(cell).collect()
    }

    fn column(&self, name: &str) -> Option<&Cell<'static>> {
        self.columns.iter().find(|(column, _)| *column == name).map(|(_, cell)| cell)
    }

    /// The amount has no more decimal places than its currency.
    fn check_money(&self) -> Result<(), String> {
        let (Some(Cell::Decimal { unscaled, scale }), Some(Cell::Text(code))) =
            (self.column("amount"), self.column("currency"))
        else {
            return Ok(());
        };
        let currency: Currency = code.parse().map_err(|error| format!("currency: {error}"))?;
        let amount = BigDecimal::from_bigint((*unscaled).into(), i64::from(*scale));
        let money = Money::from_decimal(&amount, currency).map_err(|error| format!("amount: {error}"))?;
        if money.minor_units == 0 { Err("amount: must be more than 0".to_owned()) } else { Ok(()) }
    }
}

fn read(kind: Kind, value: &Value) -> Result<Cell<'static>, String> {
    let text = match (kind, value) {
        (Kind::Key, Value::Number(number)) => {
            return number.as_i64().map(Cell::Int).ok_or_else(|| "expected a whole number".to_owned());
        }
        (_, Value::String(text)) => text.trim(),
        (Kind::Key, _) => return Err("expected a text or a whole number".to_owned()),
        (Kind::Amount, _) => return Err("expected a decimal number as text, such as \"12.34\"".to_owned()),
        (Kind::Text | Kind::Currency | Kind::Address | Kind::Time, _) => {
            return Err("expected a text".to_owned());
        }
    };
    if text.is_empty() || text.chars().count() > TEXT_MAX {
        return Err(format!("must have 1 to {TEXT_MAX} characters"));
    }
    if text.chars().any(char::is_control) {
        return Err("has control characters".to_owned());
    }
    match kind {
        Kind::Text | Kind::Key => Ok(Cell::Text(Cow::Owned(text.to_owned()))),
        Kind::Amount => amount(text).ok_or_else(|| {
            format!("expected digits, at most {} before and {} behind the point", DIGITS_MAX.0, DIGITS_MAX.1)
        }),
        Kind::Currency => Ok(Cell::Text(Cow::Owned(text.to_ascii_uppercase()))),
        Kind::Address => {
            let address: IpAddr = text.parse().map_err(|_| "expected an IP address".to_owned())?;
            Ok(Cell::Text(Cow::Owned(address.to_string())))
        }
        Kind::Time => {
            let time = DateTime::parse_from_rfc3339(text);
            let time = time.map_err(|_| "expected a time such as 2026-10-01T12:00:00Z".to_owned())?;
            Ok(Cell::Time(time.timestamp_micros()))
        }
    }
}

fn amount(text: &str) -> Option<Cell<'static>> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let are_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let fits = (1..=DIGITS_MAX.0).contains(&whole.len()) && fraction.len() <= DIGITS_MAX.1;
    if !fits || !are_digits(whole) || !are_digits(fraction) || text.ends_with('.') {
        return None;
    }
    let unscaled = format!("{whole}{fraction}").parse().ok()?;
    Some(Cell::Decimal { unscaled, scale: u32::try_from(fraction.len()).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A whole request, with one field replaced.
    fn with(field: &str, value: Value) -> Result<Payment, String> {
        let mut request = json!({
            "transaction_id": "6f1b4a4e-0000-4000-8000-000000000001", "amount": "12.34", "currency": "eur",
            "customer_id": 42, "merchant_id": "7", "terminal_id": "T-1", "ip": "203.0.113.9",
            "occurred_at": "2026-10-01T12:00:00+02:00",
        });
        request[field] = value;
        Payment::new(request.as_object().unwrap(), 5)
    }

    #[test]
    fn a_request_is_the_row_of_the_database() {
        let payment = with("status", Value::Null).unwrap();
        assert_eq!(payment.id, "6f1b4a4e-0000-4000-8000-000000000001");
        assert_eq!(payment.occurred_at, 1_790_848_800_000_000);
        let fields: Vec<String> =
            ["_op", "_commit_ts", "amount", "currency", "customer_id", "status", "device_id"]
                .map(str::to_owned)
                .into();
        let text = |text: &'static str| Cell::Text(Cow::Borrowed(text));
        assert_eq!(
            payment.cells(&fields, 9),
            [
                text("c"),
                Cell::Time(9),
                Cell::Decimal { unscaled: 1_234, scale: 2 },
                text("EUR"),
                Cell::Int(42),
                text("authorized"),
                Cell::Null
            ]
        );
        assert_eq!(with("occurred_at", Value::Null).unwrap().occurred_at, 5);
    }

    #[test]
    fn what_is_wrong_is_named_and_never_shown() {
        for (field, value, problem) in [
            ("amount", json!(12.34), "expected a decimal number as text"),
            ("amount", json!("12,34"), "expected digits"),
            ("amount", json!("1e3"), "expected digits"),
            ("amount", json!("-1"), "expected digits"),
            ("amount", json!("."), "expected digits"),
            ("amount", json!("0.00"), "more than 0"),
            ("amount", json!("0.005"), "amount: "),
            ("amount", json!("999999999999999999999999999999"), "expected digits"),
            ("amount", Value::Null, "is missing"),
            ("currency", json!("EURO"), "currency: "),
            ("currency", json!("e1'"), "currency: "),
            ("customer_id", json!(1.5), "whole number"),
            ("customer_id", json!([1]), "expected a text or a whole number"),
            ("customer_id", json!("x".repeat(257)), "1 to 256 characters"),
            ("terminal_id", json!(""), "1 to 256 characters"),
            ("terminal_id", json!("T\u{0}1"), "control characters"),
            ("ip", json!("203.0.113.256"), "IP address"),
            ("occurred_at", json!("yesterday"), "expected a time"),
            ("surprise", json!(1), "there is no such field"),
        ] {
            let error = with(field, value.clone()).unwrap_err();
            assert!(error.contains(problem) && error.contains(field), "{field} {value}: {error}");
        }
        // What would be dangerous elsewhere is a text here.
        for text in ["'; drop table transactions; --", "{\"$gt\": \"\"}", "<script>", "../../etc", "\u{202e}"]
        {
            with("terminal_id", json!(text)).unwrap();
        }
    }
}
