//! Simulated rows in columns, as the multi-row statements take them.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use super::catalogue;

/// A merchant that payments name.
#[derive(Debug, Clone)]
pub(super) struct Merchant {
    pub(super) id: i64,
    pub(super) currency: String,
}

/// A committed payment that something may still happen to.
#[derive(Debug, Clone)]
pub(super) struct Payment {
    pub(super) id: Uuid,
    pub(super) amount: String,
    pub(super) currency: String,
}

/// New rows of `transactions`.
#[derive(Debug, Default)]
pub(super) struct NewPayments {
    pub(super) ids: Vec<Uuid>,
    pub(super) customers: Vec<i64>,
    pub(super) merchants: Vec<i64>,
    pub(super) amounts: Vec<String>,
    pub(super) currencies: Vec<String>,
    pub(super) methods: Vec<&'static str>,
    pub(super) card_numbers: Vec<Option<String>>,
    pub(super) card_tokens: Vec<Option<Uuid>>,
    pub(super) card_bins: Vec<Option<String>>,
    pub(super) terminals: Vec<Option<String>>,
    pub(super) devices: Vec<Option<Uuid>>,
    pub(super) ips: Vec<Option<String>>,
}

impl NewPayments {
    pub(super) fn draw(rng: &mut SmallRng, count: usize, customers: &[i64], merchants: &[Merchant]) -> Self {
        let mut new = NewPayments::default();
        for _ in 0..count {
            let merchant = &merchants[rng.random_range(0..merchants.len())];
            let customer = catalogue::one_of(rng, customers);
            let method = catalogue::one_of(rng, &["card", "card", "card", "wallet", "transfer"]);
            let Means { card, token, device } = Means::draw(rng, customer);
            let card = (method != "transfer").then_some(card);
            let online = rng.random_ratio(2, 3);
            new.ids.push(uuid(rng));
            new.customers.push(customer);
            new.merchants.push(merchant.id);
            new.amounts.push(catalogue::amount(rng, &merchant.currency));
            new.currencies.push(merchant.currency.clone());
            new.methods.push(method);
            new.card_bins.push(card.as_ref().map(|card| card[..6].to_owned()));
            new.card_tokens.push(card.as_ref().map(|_| token));
            new.card_numbers.push(card);
            new.terminals.push((!online).then(|| format!("T{:06}", rng.random_range(0..5_000))));
            new.devices.push(online.then_some(device));
            new.ips.push(online.then(|| catalogue::ip(rng)));
        }
        new
    }

    pub(super) fn payments(self) -> impl Iterator<Item = Payment> {
        let amounts = self.amounts.into_iter().zip(self.currencies);
        self.ids.into_iter().zip(amounts).map(|(id, (amount, currency))| Payment { id, amount, currency })
    }
}

/// What a payment is made with.
struct Means {
    card: String,
    token: Uuid,
    device: Uuid,
}

impl Means {
    /// Mostly what the customer always pays with, sometimes a second card and device, sometimes new ones.
    fn draw(rng: &mut SmallRng, customer: i64) -> Self {
        let own =
            |nth: u64| SmallRng::seed_from_u64(customer.cast_unsigned().wrapping_mul(2).wrapping_add(nth));
        match rng.random_range(0..10) {
            0..7 => Means::of(&mut own(0)),
            7..9 => Means::of(&mut own(1)),
            _ => Means::of(rng),
        }
    }

    fn of(rng: &mut SmallRng) -> Self {
        Means { card: catalogue::card_number(rng), token: uuid(rng), device: uuid(rng) }
    }
}

/// New rows of `customers`, or new values for old ones.
#[derive(Debug, Default)]
pub(super) struct NewCustomers {
    pub(super) emails: Vec<String>,
    pub(super) names: Vec<String>,
    pub(super) phones: Vec<Option<String>>,
    pub(super) countries: Vec<&'static str>,
    /// Years of age, whole days.
    pub(super) ages_days: Vec<i32>,
    pub(super) kyc_levels: Vec<i16>,
    pub(super) preferences: Vec<String>,
}

impl NewCustomers {
    pub(super) fn draw(rng: &mut SmallRng, count: usize) -> Self {
        let mut new = NewCustomers::default();
        for _ in 0..count {
            new.emails.push(catalogue::email(rng));
            new.names.push(catalogue::full_name(rng));
            new.phones.push(rng.random_ratio(3, 4).then(|| catalogue::phone(rng)));
            new.countries.push(catalogue::country(rng));
            new.ages_days.push(rng.random_range(18 * 365..90 * 365));
            new.kyc_levels.push(rng.random_range(0..=3));
            let language = catalogue::one_of(rng, &["de", "en", "fr", "ja", "pl"]);
            new.preferences
                .push(format!(r#"{{"language":"{language}","limit":{}}}"#, rng.random_range(1..50) * 100));
        }
        new
    }
}

/// New rows of `merchants`.
#[derive(Debug, Default)]
pub(super) struct NewMerchants {
    pub(super) names: Vec<String>,
    pub(super) codes: Vec<&'static str>,
    pub(super) countries: Vec<&'static str>,
    pub(super) currencies: Vec<&'static str>,
    pub(super) fees: Vec<String>,
}

impl NewMerchants {
    pub(super) fn draw(rng: &mut SmallRng, count: usize) -> Self {
        let mut new = NewMerchants::default();
        for _ in 0..count {
            let (name, code) = catalogue::merchant(rng);
            new.names.push(name);
            new.codes.push(code);
            new.countries.push(catalogue::country(rng));
            new.currencies.push(catalogue::currency(rng));
            new.fees.push(fee(rng));
        }
        new
    }
}

/// A share of the amount, `numeric(7,6)`.
pub(super) fn fee(rng: &mut SmallRng) -> String {
    format!("0.{:06}", rng.random_range(1_000..40_000))
}

/// A random UUID (version 4) of the seed.
pub(super) fn uuid(rng: &mut SmallRng) -> Uuid {
    uuid::Builder::from_random_bytes(rng.random()).into_uuid()
}
