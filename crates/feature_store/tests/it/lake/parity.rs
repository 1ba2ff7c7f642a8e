//! Vectors that were logged, computed again from the raw zone.

use super::world::{Payment, World, of_customer, payments};
use affluent_bus::TopicPartition;
use affluent_feature_store::online::log::Logged;
use affluent_feature_store::parity::parity;
use affluent_features::At;
use affluent_features::event::DAY;

/// The vector of a customer right after a payment, when the first `applied` rows of the file had been read.
fn logged(all: &[Payment], payment: &Payment, applied: usize) -> Logged {
    let week = of_customer(&all[..applied], payment.customer, payment.time, 7 * DAY);
    let sum: i64 = week.iter().map(|payment| payment.cents).sum();
    Logged {
        entity: "customer".to_owned(),
        key: payment.customer.to_string(),
        source: "transactions".to_owned(),
        at: At { time: payment.time, order: u64::try_from(payment.id).unwrap() },
        // Imported rows stand at a partition below zero.
        applied: [(TopicPartition::new("oltp.public.transactions", -1), i64::try_from(applied).unwrap())]
            .into(),
        features: vec![("customer_payments_7d".to_owned(), 1), ("customer_amount_sum_7d".to_owned(), 1)],
        values: vec![week.len() as f64, sum as f64],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logged_vectors_are_computed_again_from_what_had_been_applied() {
    let world = World::with_payments(256 << 20).await;
    let all = payments();
    let sample: Vec<Logged> = all
        .iter()
        .enumerate()
        .skip(100)
        .step_by(37)
        .map(|(place, payment)| logged(&all, payment, place + 1))
        .collect();
    let history = world.offline.history();
    let found = parity(&world.lake, history, &sample).await.unwrap();
    assert_eq!(
        (found.vectors, found.values, found.mismatches),
        (sample.len() as u64, 2 * sample.len() as u64, 0),
        "{found:?}"
    );
    assert_eq!((found.waiting, found.outdated, found.skew()), (0, 0, 0.0));

    let mut wrong = sample[3].clone();
    wrong.values[1] += 1.0;
    let mut old = sample[4].clone();
    old.features[0].1 = 99;
    // Its stream had read further than the lake has.
    let mut ahead = logged(&all, &all[5], all.len());
    ahead.applied.values_mut().for_each(|next| *next += 1);
    let found = parity(&world.lake, history, &[wrong, old, ahead, sample[5].clone()]).await.unwrap();
    assert_eq!((found.vectors, found.waiting, found.outdated, found.mismatches), (2, 1, 1, 1), "{found:?}");
    let feature = &found.features["customer_amount_sum_7d"];
    assert_eq!((feature.values, feature.mismatches), (2, 1));
    let example = &feature.examples[0];
    assert_eq!(
        (example.served.unwrap() - 1.0, example.key.as_str()),
        (example.recomputed.unwrap(), sample[3].key.as_str())
    );
    assert_eq!(found.features["customer_payments_7d"].mismatches, 0);
}
