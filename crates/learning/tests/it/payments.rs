//! Payments with two kinds of fraud that features can tell, and some that none can.

use affluent_learning::DAY;
use affluent_learning::dataset::{Category, Dataset, FeatureVersion, Manifest, Rows};
use affluent_learning::fit::boost::BoostOptions;
use affluent_learning::split::{Period, Protocol};
use affluent_learning::train::TrainOptions;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

const CARDS: i64 = 400;
const PER_DAY: i64 = 500;
/// The feature of which a high value means fraud, and the one of which nothing can be said.
pub(crate) const RATIO: &str = "amount_to_mean";
pub(crate) const NOISE: &str = "noise";

/// `days` days of payments.
pub(crate) fn dataset(days: i64) -> Dataset {
    let mut rng = SmallRng::seed_from_u64(7);
    let mut rows = Rows::default();
    let mut columns = vec![Vec::new(); 4];
    for n in 0..days * PER_DAY {
        let fraud = rng.random_bool(0.03);
        let pattern = if fraud { rng.random_range(1..=3) } else { 0 };
        let ratio = rng.random_range(0.2..2.0) * if pattern == 1 { 3.0 } else { 1.0 };
        let risk: f64 = if pattern == 2 { rng.random_range(0.3..1.0) } else { rng.random_range(0.0..0.5) };
        rows.time.push(n * DAY / PER_DAY);
        rows.card.push(rng.random_range(0..CARDS));
        rows.amount.push((ratio * 5_000.0) as i64);
        // What the customer will bring rises with the ratio, but for chance.
        rows.value.push(20.0 * ratio * ratio + rng.random_range(-10.0..10.0));
        rows.label.push(fraud);
        rows.pattern.push(pattern);
        let missing = rng.random_bool(0.1);
        let values = [ratio, if missing { f64::NAN } else { risk }, rng.random(), 1.0];
        columns.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
    }
    let countries = (0..rows.len()).map(|n| ["DE", "FR", "PL"][n % 3]);
    rows.categories.push(Category::new("country", countries));
    let feature = |name: &str| FeatureVersion { name: name.to_owned(), version: 1 };
    let features = [RATIO, "terminal_risk", NOISE, "constant"].map(feature).to_vec();
    Dataset { features, columns, rows }
}

pub(crate) fn manifest(dataset: &Dataset) -> Manifest {
    Manifest::of(dataset, "simulated".to_owned(), dataset.rows.len())
}

/// Learns ten days, judges ten, five days of delay: three folds fit into fifty days.
pub(crate) fn protocol() -> Protocol {
    let days = |from: i64, to: i64| Period { from: from * DAY, to: to * DAY };
    Protocol { train: days(25, 35), test: days(40, 50), delay: 5 * DAY }
}

/// Quick ones.
pub(crate) fn options() -> TrainOptions {
    let boost =
        BoostOptions { budget: 0.3, max_bin: 255, boosters: 2, threads: 1, ..BoostOptions::default() };
    let mut options = TrainOptions { boost, folds: 2, draws: 100, ..TrainOptions::default() };
    options.gates.rising = vec![RATIO.to_owned()];
    options
}
