//! Amounts of money in minor units, with their currency.
//!
//! Invariant: money is never a float, never rounded in silence, and never overflows unseen.

use bigdecimal::{BigDecimal, ToPrimitive};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// An ISO 4217 alphabetic code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

/// Currencies whose minor unit is not 1/100. Source: ISO 4217 list one, column "minor unit".
const EXPONENTS: &[(&str, u32)] = &[
    ("BHD", 3),
    ("BIF", 0),
    ("CLF", 4),
    ("CLP", 0),
    ("DJF", 0),
    ("GNF", 0),
    ("IQD", 3),
    ("ISK", 0),
    ("JOD", 3),
    ("JPY", 0),
    ("KMF", 0),
    ("KRW", 0),
    ("KWD", 3),
    ("LYD", 3),
    ("OMR", 3),
    ("PYG", 0),
    ("RWF", 0),
    ("TND", 3),
    ("UGX", 0),
    ("UYI", 0),
    ("UYW", 4),
    ("VND", 0),
    ("VUV", 0),
    ("XAF", 0),
    ("XOF", 0),
    ("XPF", 0),
];

/// Why an amount was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    #[error("invalid currency {0:?}: expected three upper-case letters (ISO 4217)")]
    Currency(String),
    #[error("{amount} does not fit the minor unit of {currency} ({exponent} decimals)")]
    Fraction { amount: String, currency: Currency, exponent: u32 },
    #[error("amount out of range: more than 128 bits of minor units")]
    Overflow,
    #[error("currencies differ: {0} and {1}")]
    Mismatch(Currency, Currency),
}

impl Currency {
    /// The code as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Decimals of the minor unit: 2 for EUR, 0 for JPY, 3 for KWD.
    #[must_use]
    pub fn exponent(&self) -> u32 {
        EXPONENTS.iter().find(|(code, _)| *code == self.as_str()).map_or(2, |&(_, exponent)| exponent)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(code: &str) -> Result<Self, Self::Err> {
        match code.as_bytes() {
            &[a, b, c] if code.bytes().all(|x| x.is_ascii_uppercase()) => Ok(Currency([a, b, c])),
            _ => Err(MoneyError::Currency(code.to_owned())),
        }
    }
}

impl TryFrom<String> for Currency {
    type Error = MoneyError;

    fn try_from(code: String) -> Result<Self, Self::Error> {
        code.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.as_str().to_owned()
    }
}

/// An exact amount in minor units of its currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    pub minor_units: i128,
    pub currency: Currency,
}

impl Money {
    /// From a decimal amount in major units (`12.34` EUR).
    ///
    /// # Errors
    /// [`MoneyError::Fraction`] where the amount has more decimals than the currency; nothing is rounded.
    pub fn from_decimal(amount: &BigDecimal, currency: Currency) -> Result<Self, MoneyError> {
        let exponent = currency.exponent();
        let scaled = amount.with_scale(i64::from(exponent));
        if &scaled != amount {
            return Err(MoneyError::Fraction { amount: amount.to_plain_string(), currency, exponent });
        }
        let (unscaled, _) = scaled.into_bigint_and_exponent();
        Ok(Money { minor_units: unscaled.to_i128().ok_or(MoneyError::Overflow)?, currency })
    }

    /// The amount in major units.
    #[must_use]
    pub fn to_decimal(self) -> BigDecimal {
        BigDecimal::new(self.minor_units.into(), i64::from(self.currency.exponent()))
    }

    /// The sum.
    ///
    /// # Errors
    /// [`MoneyError::Mismatch`] for two currencies, [`MoneyError::Overflow`] past 128 bits.
    pub fn checked_add(self, other: Money) -> Result<Money, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::Mismatch(self.currency, other.currency));
        }
        let minor_units = self.minor_units.checked_add(other.minor_units).ok_or(MoneyError::Overflow)?;
        Ok(Money { minor_units, currency: self.currency })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn money(amount: &str, currency: &str) -> Result<i128, MoneyError> {
        let amount = amount.parse().expect("a decimal");
        Money::from_decimal(&amount, currency.parse()?).map(|m| m.minor_units)
    }

    #[test]
    fn minor_units_follow_the_currency() {
        assert_eq!(money("12.3400", "EUR"), Ok(1234));
        assert_eq!(money("12", "JPY"), Ok(12));
        assert_eq!(money("-0.001", "KWD"), Ok(-1));
        assert!(matches!(money("12.5", "JPY"), Err(MoneyError::Fraction { .. })));
        assert!(matches!(money("0.005", "EUR"), Err(MoneyError::Fraction { .. })));
        assert!(matches!(money("1", "eur"), Err(MoneyError::Currency(_))));
        assert_eq!(money("1e60", "EUR"), Err(MoneyError::Overflow));
    }

    proptest! {
        #[test]
        fn decimal_round_trips(minor_units: i128, code in "EUR|JPY|KWD|CLF") {
            let money = Money { minor_units, currency: code.parse().unwrap() };
            prop_assert_eq!(Money::from_decimal(&money.to_decimal(), money.currency), Ok(money));
        }

        #[test]
        fn addition_never_wraps(a: i128, b: i128) {
            let currency = "EUR".parse().unwrap();
            let sum = Money { minor_units: a, currency }.checked_add(Money { minor_units: b, currency });
            prop_assert_eq!(sum.ok().map(|m| m.minor_units), a.checked_add(b));
        }
    }
}
