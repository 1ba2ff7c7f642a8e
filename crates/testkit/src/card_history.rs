//! A history of card payments with a mark on the fraudulent ones, in the shape of the Fraud Detection Handbook's data, for demo and tests of training.
//!
//! Customers have their own amounts, terminals and pace; some leave, and pay less often before, and others come in their place, so that one week is
//! like another. Three kinds of fraud: small tests of stolen cards at night, cards that suddenly pay much more than their owners do, and terminals
//! that are compromised for some days.

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use std::fmt::Write as _;

const DAY_S: i64 = 86_400;
/// Each customer stays so many days at least, and leaves with this chance on every later day.
const STAYS_DAYS: u32 = 30;
const LEAVES: f64 = 1.0 / 180.0;
/// Before leaving a customer pays less often for so many days.
const FADES_DAYS: i64 = 20;
/// Days that a stolen card, and a compromised terminal, are used.
const STOLEN_DAYS: i64 = 6;
const COMPROMISED_DAYS: i64 = 10;
/// A terminal is compromised, and a card stolen, on a day with this chance.
const COMPROMISED: f64 = 0.004;
const STOLEN: f64 = 0.004;

/// What is simulated.
#[derive(Debug, Clone)]
pub struct CardHistory {
    /// Customers at a time.
    pub customers: u32,
    /// Several for each customer: the features of few terminals would differ from week to week by chance.
    pub terminals: u32,
    /// Payments of a customer in a day.
    pub pace: f64,
    pub days: u32,
    /// The first midnight, seconds since 1970.
    pub begin_s: i64,
    /// From this day on amounts are multiplied by `shift`.
    pub shifted_from: u32,
    pub shift: f64,
    pub seed: u64,
}

/// A payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CardPayment {
    pub id: u64,
    /// Seconds since 1970.
    pub at_s: i64,
    pub customer: i64,
    pub terminal: i64,
    pub amount_minor: i64,
    pub fraud: bool,
}

struct Customer {
    id: i64,
    /// Of the logarithm of the amounts in minor units.
    mean: f64,
    terminals: [i64; 4],
    /// The day of the last payment.
    leaves: i64,
    stolen_until: i64,
}

impl Customer {
    fn new(rng: &mut SmallRng, id: i64, day: i64, terminals: u32) -> Self {
        let mut leaves = day + i64::from(STAYS_DAYS);
        while !rng.random_bool(LEAVES) {
            leaves += 1;
        }
        Customer {
            id,
            mean: rng.random_range(6.8..8.6),
            terminals: std::array::from_fn(|_| rng.random_range(0..i64::from(terminals))),
            leaves,
            stolen_until: -1,
        }
    }
}

impl CardHistory {
    /// The payments in the order of time.
    #[must_use]
    pub fn payments(&self) -> Vec<CardPayment> {
        let mut rng = SmallRng::seed_from_u64(self.seed);
        let mut newest = i64::from(self.customers);
        let mut customers: Vec<Customer> = (0..newest)
            .map(|id| Customer::new(&mut rng, id, -i64::from(STAYS_DAYS), self.terminals))
            .collect();
        let mut compromised = vec![-1i64; self.terminals as usize];
        let mut payments = Vec::new();
        for day in 0..i64::from(self.days) {
            for _ in 0..poisson(&mut rng, COMPROMISED * f64::from(self.terminals)) {
                let terminal = rng.random_range(0..compromised.len());
                compromised[terminal] = day + COMPROMISED_DAYS;
            }
            let shift = if day >= i64::from(self.shifted_from) { self.shift } else { 1.0 };
            for customer in &mut customers {
                if day > customer.leaves {
                    *customer = Customer::new(&mut rng, newest, day, self.terminals);
                    newest += 1;
                }
                if rng.random_bool(STOLEN) {
                    customer.stolen_until = day + STOLEN_DAYS;
                }
                let fading = if customer.leaves - day < FADES_DAYS { 0.4 } else { 1.0 };
                let count = poisson(&mut rng, self.pace * fading);
                for _ in 0..count {
                    let terminal = customer.terminals[rng.random_range(0..customer.terminals.len())];
                    let spread = (0..4).map(|_| rng.random_range(-0.5..0.5)).sum::<f64>();
                    let amount = (customer.mean + spread).exp() * shift;
                    let is_compromised = compromised[usize::try_from(terminal).unwrap_or(0)] >= day;
                    let fraud = is_compromised && rng.random_bool(0.6);
                    let second = rng.random_range(7 * 3600..23 * 3600);
                    payments.push((day * DAY_S + second, customer.id, terminal, amount, fraud));
                }
                if customer.stolen_until >= day && rng.random_bool(0.5) {
                    let terminal = rng.random_range(0..i64::from(self.terminals));
                    // First a small one at night, or at once a large one by day.
                    let (amount, hours) = if rng.random_bool(0.5) {
                        (rng.random_range(100.0..400.0), 1..5)
                    } else {
                        ((customer.mean + rng.random_range(1.2..2.0)).exp(), 8..22)
                    };
                    let second = rng.random_range(hours.start * 3600..hours.end * 3600);
                    payments.push((day * DAY_S + second, customer.id, terminal, amount * shift, true));
                }
            }
        }
        payments.sort_by_key(|payment| (payment.0, payment.1));
        let numbered = (1u64..).zip(payments);
        numbered
            .map(|(id, (second, customer, terminal, amount, fraud))| CardPayment {
                id,
                at_s: self.begin_s + second,
                customer,
                terminal,
                amount_minor: (amount as i64).max(1),
                fraud,
            })
            .collect()
    }
}

/// A draw from a Poisson distribution with a small mean (Knuth's way).
fn poisson(rng: &mut SmallRng, mean: f64) -> u32 {
    let (limit, mut product, mut count) = ((-mean).exp(), rng.random::<f64>(), 0);
    while product > limit && count < 20 {
        product *= rng.random::<f64>();
        count += 1;
    }
    count
}

/// The file that `affluent import transactions` knows by its columns.
#[must_use]
pub fn csv(payments: &[CardPayment]) -> String {
    let mut text = "transaction_id,occurred_at,customer_id,terminal_id,amount_minor,fraud\n".to_owned();
    for payment in payments {
        let time = affluent_model::time::format_micros(payment.at_s * 1_000_000, true);
        let CardPayment { id, customer, terminal, amount_minor, fraud, .. } = payment;
        let _ = writeln!(text, "{id},{time},{customer},{terminal},{amount_minor},{}", u8::from(*fraud));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(shift: f64) -> CardHistory {
        CardHistory {
            customers: 100,
            terminals: 250,
            pace: 0.3,
            days: 60,
            begin_s: 0,
            shifted_from: 53,
            shift,
            seed: 1,
        }
    }

    #[test]
    fn one_week_is_like_another_until_amounts_are_shifted() {
        let payments = history(4.0).payments();
        assert_eq!(payments, history(4.0).payments(), "the same seed gives the same history");
        assert!(payments.is_sorted_by_key(|payment| payment.at_s));
        let of = |days: std::ops::Range<i64>| -> Vec<&CardPayment> {
            payments.iter().filter(|p| days.contains(&p.at_s.div_euclid(DAY_S))).collect()
        };
        let mean = |part: &[&CardPayment]| {
            part.iter().map(|p| p.amount_minor as f64).sum::<f64>() / part.len() as f64
        };
        let (first, later, last) = (of(10..17), of(46..53), of(53..60));
        let rate = later.len() as f64 / first.len() as f64;
        assert!((0.7..1.4).contains(&rate), "{rate}");
        assert!(mean(&last) > 2.5 * mean(&later));
        let fraud = payments.iter().filter(|payment| payment.fraud).count() as f64 / payments.len() as f64;
        assert!((0.01..0.2).contains(&fraud), "{fraud}");
        let text = csv(&payments[..2]);
        assert_eq!(text.lines().count(), 3);
        assert!(text.lines().nth(1).is_some_and(|line| line.starts_with("1,1970-01-01T")), "{text}");
    }
}
