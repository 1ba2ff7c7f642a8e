//! The stock of values that simulated rows are made of. Names are word lists, cards are of ranges that
//! schemes reserve for tests, addresses are of the ranges for documentation.

use affluent_model::{Currency, Money};
use rand::Rng;
use rand::rngs::SmallRng;
use std::ops::Range;

/// Currency, share of the merchants in percent, and about how many of its minor units buy one US cent.
const CURRENCIES: &[(&str, u32, f64)] = &[
    ("EUR", 42, 0.9),
    ("USD", 24, 1.0),
    ("GBP", 10, 0.8),
    ("JPY", 8, 1.5),
    ("PLN", 6, 4.0),
    ("KWD", 5, 3.0),
    ("CHF", 5, 0.9),
];

const COUNTRIES: &[&str] = &["DE", "FR", "US", "GB", "JP", "PL", "KW", "CH", "ES", "NL"];

const GIVEN: &[&str] = &[
    "Ada", "Bela", "Chidi", "Dana", "Emre", "Fumiko", "Goran", "Hana", "Ines", "Jonas", "Kasia", "Liam",
    "Mona", "Noor", "Otto", "Priya", "Quinn", "Rosa", "Sven", "Tariq", "Uma", "Vera", "Wen", "Yusuf", "Zoë",
];

const FAMILY: &[&str] = &[
    "Ahlberg",
    "Baptiste",
    "Costa",
    "Dvořák",
    "Eriksen",
    "Fischer",
    "García",
    "Haddad",
    "Ivanova",
    "Jensen",
    "Kowalski",
    "Lindqvist",
    "Moreau",
    "Nakamura",
    "Okafor",
    "Petrov",
    "Rossi",
    "Santos",
    "Tanaka",
    "Weiß",
];

const TRADES: &[(&str, &str)] = &[
    ("Bakery", "5462"),
    ("Books", "5942"),
    ("Cinema", "7832"),
    ("Electronics", "5732"),
    ("Fuel", "5541"),
    ("Grocery", "5411"),
    ("Hotel", "7011"),
    ("Pharmacy", "5912"),
    ("Restaurant", "5812"),
    ("Travel", "4722"),
];

/// First six digits of cards that exist for tests only.
const TEST_BINS: &[&str] = &["400000", "411111", "424242", "510510", "555555", "222300"];

/// One of `items`.
pub(super) fn one_of<T: Copy>(rng: &mut SmallRng, items: &[T]) -> T {
    items[rng.random_range(0..items.len())]
}

pub(super) fn country(rng: &mut SmallRng) -> &'static str {
    one_of(rng, COUNTRIES)
}

pub(super) fn full_name(rng: &mut SmallRng) -> String {
    format!("{} {}", one_of(rng, GIVEN), one_of(rng, FAMILY))
}

/// An address at a domain reserved for examples (RFC 2606).
pub(super) fn email(rng: &mut SmallRng) -> String {
    let given = one_of(rng, GIVEN).to_lowercase();
    format!("{given}.{:08x}@example.com", rng.random::<u32>())
}

pub(super) fn phone(rng: &mut SmallRng) -> String {
    format!("+1555{:07}", rng.random_range(0..10_000_000))
}

/// A shop's name and its merchant category code (ISO 18245).
pub(super) fn merchant(rng: &mut SmallRng) -> (String, &'static str) {
    let (trade, code) = one_of(rng, TRADES);
    (format!("{} {trade} {}", one_of(rng, FAMILY), rng.random_range(1..1_000)), code)
}

pub(super) fn currency(rng: &mut SmallRng) -> &'static str {
    let mut drawn = rng.random_range(0..CURRENCIES.iter().map(|c| c.1).sum::<u32>());
    for (code, share, _) in CURRENCIES {
        if drawn < *share {
            return code;
        }
        drawn -= share;
    }
    "EUR"
}

/// An amount as decimal text with the decimals of its currency: most small, few large.
pub(super) fn amount(rng: &mut SmallRng, code: &str) -> String {
    amount_within(rng, code, 2.0..5.5)
}

/// An amount of so many US cents, by their common logarithm.
pub(super) fn amount_within(rng: &mut SmallRng, code: &str, log_cents: Range<f64>) -> String {
    let per_cent = CURRENCIES.iter().find(|c| c.0 == code).map_or(1.0, |c| c.2);
    let cents = 10f64.powf(rng.random_range(log_cents));
    decimal(((cents * per_cent) as i128).max(1), code)
}

/// Minor units as decimal text; an unknown currency has two decimals.
pub(super) fn decimal(minor_units: i128, code: &str) -> String {
    match code.parse::<Currency>() {
        Ok(currency) => Money { minor_units, currency }.to_decimal().to_plain_string(),
        Err(_) => format!("{}.{:02}", minor_units / 100, minor_units % 100),
    }
}

/// A card number of a test range with a valid check digit (ISO/IEC 7812).
pub(super) fn card_number(rng: &mut SmallRng) -> String {
    let mut digits = one_of(rng, TEST_BINS).to_owned();
    digits.push_str(&format!("{:09}", rng.random_range(0..1_000_000_000u32)));
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(i, digit)| {
            let digit = u32::from(digit - b'0') * if i % 2 == 0 { 2 } else { 1 };
            digit / 10 + digit % 10
        })
        .sum();
    digits.push_str(&((10 - sum % 10) % 10).to_string());
    digits
}

/// An address of a range for documentation (RFC 5737, RFC 3849).
pub(super) fn ip(rng: &mut SmallRng) -> String {
    if rng.random_ratio(1, 5) {
        return format!("2001:db8::{:x}", rng.random_range(1..0xffff));
    }
    format!("{}.{}", one_of(rng, &["192.0.2", "198.51.100", "203.0.113"]), rng.random_range(1..255))
}

/// Text that does not compress, `bytes` long: what PostgreSQL stores out of line.
pub(super) fn long_text(rng: &mut SmallRng, bytes: usize) -> String {
    (0..bytes).map(|_| char::from(rng.random_range(b'!'..=b'~'))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn amounts_have_the_decimals_of_their_currency() {
        assert_eq!(decimal(1_234, "EUR"), "12.34");
        assert_eq!(decimal(1_234, "JPY"), "1234");
        assert_eq!(decimal(1_234, "KWD"), "1.234");
        let mut rng = SmallRng::seed_from_u64(7);
        for _ in 0..1_000 {
            let code = currency(&mut rng);
            let text = amount(&mut rng, code);
            let decimals = text.split_once('.').map_or(0, |(_, d)| d.len());
            assert!(decimals as u32 <= code.parse::<Currency>().unwrap().exponent(), "{text} {code}");
        }
    }

    #[test]
    fn card_numbers_pass_the_check() {
        let mut rng = SmallRng::seed_from_u64(7);
        for _ in 0..100 {
            let number = card_number(&mut rng);
            let sum: u32 = number
                .bytes()
                .rev()
                .enumerate()
                .map(|(i, d)| {
                    let d = u32::from(d - b'0') * if i % 2 == 1 { 2 } else { 1 };
                    d / 10 + d % 10
                })
                .sum();
            assert_eq!((number.len(), sum % 10), (16, 0), "{number}");
        }
    }
}
