//! The online store: values of many keys, read one key after the other.

use crate::bench::Report;
use affluent_documents::{DocumentStore, EmbeddedOptions, EmbeddedStore};
use affluent_feature_store::online::{self, Vector};
use affluent_features::definition::Freshness;
use anyhow::{Context as _, ensure};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use std::time::Instant;

/// Features of a key, as many as the goal names.
const FEATURES: usize = 50;
const READS: usize = 50_000;
/// Documents of one write.
const BATCH: u64 = 4_096;

/// What was measured.
#[derive(Debug)]
pub(super) struct Served {
    keys: u64,
    /// Seconds that writing them took.
    written: f64,
    /// Of one read, milliseconds.
    p50: f64,
    p99: f64,
}

/// Writes the values of `keys` keys and reads some of them at random.
///
/// # Errors
/// No room for the store; a key that is not found.
pub(super) async fn measure(keys: u64) -> anyhow::Result<Served> {
    let directory = tempfile::tempdir().context("temporary directory")?;
    let options = EmbeddedOptions { path: Some(directory.path().to_owned()), ..EmbeddedOptions::default() };
    let store = EmbeddedStore::open(options, 3_600).await?;
    store.ensure(&online::collection(1)).await?;
    let features: Vec<(String, u32)> =
        (0..FEATURES).map(|nth| (format!("customer_feature_{nth}"), 1)).collect();
    let mut random = SmallRng::seed_from_u64(7);
    let begun = Instant::now();
    for from in (0..keys).step_by(BATCH as usize) {
        let batch = from..(from + BATCH).min(keys);
        let write = |key: u64| {
            let values: Vec<f64> = (0..FEATURES).map(|_| random.random_range(0.0..1e6)).collect();
            let vector = Vector {
                entity: "customer",
                key: &key.to_string(),
                as_of: 0,
                is_exact: true,
                features: &features,
                values: &values,
            };
            vector.write(Freshness::Stream, 1)
        };
        store.apply(online::COLLECTION, batch.map(write).collect()).await?;
    }
    let written = begun.elapsed().as_secs_f64();
    let mut millis = Vec::with_capacity(READS);
    for _ in 0..READS {
        let key = random.random_range(0..keys).to_string();
        let begun = Instant::now();
        let served = online::read(&store, "customer", &key).await?;
        millis.push(begun.elapsed().as_secs_f64() * 1e3);
        ensure!(served.len() == FEATURES, "key {key} has {} values", served.len());
    }
    millis.sort_by(f64::total_cmp);
    let part = |share: f64| millis[(millis.len() as f64 * share) as usize];
    Ok(Served { keys, written, p50: part(0.5), p99: part(0.99) })
}

impl Served {
    pub(super) fn tell(&self, report: &mut Report) {
        report.at_most("features.online.p50", 1.0, self.p50, "ms");
        report.at_most("features.online.p99", 1.0, self.p99, "ms");
        report.note(format!(
            "{FEATURES} features of a key out of {}, read from the embedded store one after the other; written in {:.1} s",
            self.keys, self.written
        ));
    }
}
