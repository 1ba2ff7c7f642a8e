//! Fraud among simulated payments, in the three forms of the Fraud Detection Handbook: amounts over the limit, a compromised terminal,
//! the details of stolen cards.
//!
//! It has random numbers of its own, so that everything else about a load is the same with it and without.

use super::catalogue;
use super::rows::{Merchant, NewPayments, uuid};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

/// Common logarithm of US cents: 10,000 dollars and more. Genuine payments stay below 3,200.
const OVER_LIMIT: std::ops::Range<f64> = 6.0..6.7;
/// What is bought with stolen cards.
const STOLEN: std::ops::Range<f64> = 4.5..5.5;
/// Payments at a compromised terminal, and with a stolen card, before the next is taken.
const AT_TERMINAL: u32 = 40;
const WITH_CARD: u32 = 12;
/// Customers and merchants of payments that are only simulated.
const CUSTOMERS: i64 = 2_000;
const MERCHANTS: i64 = 200;

/// What is wrong with a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FraudPattern {
    AmountOverLimit,
    CompromisedTerminal,
    StolenCard,
}

impl FraudPattern {
    /// Every pattern.
    pub const ALL: [FraudPattern; 3] =
        [FraudPattern::AmountOverLimit, FraudPattern::CompromisedTerminal, FraudPattern::StolenCard];

    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            FraudPattern::AmountOverLimit => "amount over the limit",
            FraudPattern::CompromisedTerminal => "compromised terminal",
            FraudPattern::StolenCard => "stolen card",
        }
    }
}

/// A payment that is fraud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planted {
    pub id: Uuid,
    pub pattern: FraudPattern,
}

/// Makes fraud of some payments.
#[derive(Debug)]
pub(super) struct Fraudster {
    rng: SmallRng,
    share: f64,
    /// The compromised terminal, and how many payments are still to be made there.
    terminal: (String, u32),
    card: (Card, u32),
}

#[derive(Debug, Clone)]
struct Card {
    number: String,
    token: Uuid,
}

impl Card {
    fn draw(rng: &mut SmallRng) -> Self {
        Card { number: catalogue::card_number(rng), token: uuid(rng) }
    }
}

impl Fraudster {
    pub(super) fn new(seed: u64, share: f64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed ^ 0x5EED_F4A0_D000_0001);
        let card = Card::draw(&mut rng);
        Fraudster { rng, share: share.clamp(0.0, 1.0), terminal: (String::new(), 0), card: (card, WITH_CARD) }
    }

    /// Makes fraud of some of these payments; which, and how.
    pub(super) fn plant(&mut self, new: &mut NewPayments) -> Vec<Planted> {
        let mut planted = Vec::new();
        if self.share == 0.0 {
            return planted;
        }
        for nth in 0..new.ids.len() {
            if !self.rng.random_bool(self.share) {
                continue;
            }
            let pattern = catalogue::one_of(&mut self.rng, &FraudPattern::ALL);
            let currency = new.currencies[nth].clone();
            match pattern {
                FraudPattern::AmountOverLimit => {
                    new.amounts[nth] = catalogue::amount_within(&mut self.rng, &currency, OVER_LIMIT);
                }
                FraudPattern::CompromisedTerminal => {
                    self.pay_with(new, nth, None);
                    (new.devices[nth], new.ips[nth]) = (None, None);
                    new.terminals[nth] = Some(self.terminal());
                }
                FraudPattern::StolenCard => {
                    let card = self.card();
                    self.pay_with(new, nth, Some(card));
                    new.amounts[nth] = catalogue::amount_within(&mut self.rng, &currency, STOLEN);
                }
            }
            planted.push(Planted { id: new.ids[nth], pattern });
        }
        planted
    }

    /// Makes it a payment by card: this one, else its own, else a new one.
    fn pay_with(&mut self, new: &mut NewPayments, nth: usize, card: Option<Card>) {
        if card.is_none() && new.card_tokens[nth].is_some() {
            return;
        }
        let Card { number, token } = card.unwrap_or_else(|| Card::draw(&mut self.rng));
        new.methods[nth] = "card";
        new.card_bins[nth] = Some(number[..6].to_owned());
        new.card_tokens[nth] = Some(token);
        new.card_numbers[nth] = Some(number);
    }

    fn terminal(&mut self) -> String {
        if self.terminal.1 == 0 {
            self.terminal = (format!("T9{:05}", self.rng.random_range(0..100_000)), AT_TERMINAL);
        }
        self.terminal.1 -= 1;
        self.terminal.0.clone()
    }

    fn card(&mut self) -> Card {
        if self.card.1 == 0 {
            self.card = (Card::draw(&mut self.rng), WITH_CARD);
        }
        self.card.1 -= 1;
        self.card.0.clone()
    }
}

/// A payment as the load makes them, for who needs no database.
#[derive(Debug, Clone, PartialEq)]
pub struct Simulated {
    pub id: Uuid,
    pub customer: i64,
    pub merchant: i64,
    /// Decimal text with the decimals of its currency.
    pub amount: String,
    pub currency: String,
    pub method: &'static str,
    pub card_token: Option<Uuid>,
    pub card_bin: Option<String>,
    pub terminal: Option<String>,
    pub device: Option<Uuid>,
    pub ip: Option<String>,
    pub fraud: Option<FraudPattern>,
}

/// `count` payments of the seed, `fraud_share` of which are fraud.
#[must_use]
pub fn simulated(seed: u64, count: usize, fraud_share: f64) -> Vec<Simulated> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let customers: Vec<i64> = (1..=CUSTOMERS).collect();
    let merchants: Vec<Merchant> = (1..=MERCHANTS)
        .map(|id| Merchant { id, currency: catalogue::currency(&mut rng).to_owned() })
        .collect();
    let mut new = NewPayments::draw(&mut rng, count, &customers, &merchants);
    let planted = Fraudster::new(seed, fraud_share).plant(&mut new);
    let mut planted = planted.into_iter().peekable();
    let of = |nth: usize| Simulated {
        id: new.ids[nth],
        customer: new.customers[nth],
        merchant: new.merchants[nth],
        amount: new.amounts[nth].clone(),
        currency: new.currencies[nth].clone(),
        method: new.methods[nth],
        card_token: new.card_tokens[nth],
        card_bin: new.card_bins[nth].clone(),
        terminal: new.terminals[nth].clone(),
        device: new.devices[nth],
        ip: new.ips[nth].clone(),
        // They come in the order of the payments.
        fraud: planted.next_if(|planted| planted.id == new.ids[nth]).map(|planted| planted.pattern),
    };
    (0..count).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn fraud_stands_out_and_leaves_the_rest_as_it_is() {
        let (genuine, mixed) = (simulated(7, 20_000, 0.0), simulated(7, 20_000, 0.03));
        assert!(genuine.iter().all(|payment| payment.fraud.is_none()));
        let frauds: Vec<&Simulated> = mixed.iter().filter(|payment| payment.fraud.is_some()).collect();
        assert!((400..800).contains(&frauds.len()), "{}", frauds.len());
        for (was, is) in genuine.iter().zip(&mixed) {
            assert!(is.fraud.is_some() || was == is);
            assert_eq!(was.id, is.id);
        }
        let of = |pattern| frauds.iter().filter(move |payment| payment.fraud == Some(pattern));
        let mut terminals: HashMap<&str, usize> = HashMap::new();
        for payment in of(FraudPattern::CompromisedTerminal) {
            assert!(payment.card_token.is_some() && payment.device.is_none());
            *terminals.entry(payment.terminal.as_deref().unwrap()).or_default() += 1;
        }
        let mut cards: HashMap<Uuid, usize> = HashMap::new();
        for payment in of(FraudPattern::StolenCard) {
            *cards.entry(payment.card_token.unwrap()).or_default() += 1;
        }
        assert!(terminals.values().any(|count| *count == AT_TERMINAL as usize));
        assert!(cards.values().any(|count| *count == WITH_CARD as usize));
        assert!(of(FraudPattern::AmountOverLimit).count() > 100);
        assert_eq!(mixed, simulated(7, 20_000, 0.03), "it follows from the seed");
    }
}
