//! Training sets: what a row may see, and that what comes later changes none that there is.

use super::world::{BEGIN, Dying, END, LABEL_DAYS, World, of_customer, payments};
use affluent_feature_store::training::{TrainingLabel, TrainingSet, training_rows};
use affluent_features::event::{DAY, HOUR};
use affluent_model::Value;

fn set(name: &str, as_of: i64) -> TrainingSet {
    TrainingSet {
        name: name.to_owned(),
        source: "transactions".to_owned(),
        features: ["customer_payments_7d", "customer_amount_sum_1d", "terminal_fraud_30d", "payment_amount"]
            .map(str::to_owned)
            .to_vec(),
        from: BEGIN + 10 * DAY,
        to: END,
        as_of,
        label: Some(TrainingLabel { source: "fraud_labels".to_owned(), delay: LABEL_DAYS * DAY }),
    }
}

const COLUMNS: &str = "id, event_time, arrived_at, customer_payments_7d, customer_amount_sum_1d, terminal_fraud_30d, payment_amount, label";

async fn rows(world: &World, name: &str) -> Vec<String> {
    world.rows(&format!("select {COLUMNS} from features.training_{name}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_sees_what_was_known_when_it_happened() {
    let world = World::with_payments(256 << 20).await;
    let all = payments();
    let done = training_rows(&world.offline, &set("a", END), &Dying::never(), |_| {}).await.unwrap();
    let wanted: Vec<_> = all.iter().filter(|payment| payment.time >= BEGIN + 10 * DAY).collect();
    assert_eq!((done.rows, done.written, done.inexact), (wanted.len() as u64, wanted.len() as u64, 0));
    for payment in &wanted {
        let week = of_customer(&all, payment.customer, payment.time, 7 * DAY);
        let sum: i64 =
            of_customer(&all, payment.customer, payment.time, DAY).iter().map(|one| one.cents).sum();
        // Fraud of up to a week ago, as far as its label had come.
        let fraud = all.iter().filter(|one| {
            one.terminal == payment.terminal
                && one.fraud
                && one.time <= payment.time - 7 * DAY
                && one.time > payment.time - 37 * DAY
                && one.time + LABEL_DAYS * DAY <= payment.time
        });
        let is_known = payment.time + LABEL_DAYS * DAY <= END;
        let label = if is_known { payment.fraud.to_string() } else { String::new() };
        let query = format!(
            "select customer_payments_7d, customer_amount_sum_1d, terminal_fraud_30d, payment_amount, label \
             from features.training_a where id = '{}'",
            payment.id
        );
        let expected = format!("{}.0,{sum}.0,{}.0,{}.0,{label}", week.len(), fraud.count(), payment.cents);
        assert_eq!(world.rows(&query).await, [expected], "{payment:?}");
    }
    let young = wanted.iter().filter(|payment| payment.time + LABEL_DAYS * DAY > END).count();
    assert_eq!(done.unlabelled, young as u64);
    assert!(done.marked > 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_later_changes_no_set() {
    let world = World::with_payments(256 << 20).await;
    // Killed before its only commit, and done again.
    let killed = training_rows(&world.offline, &set("a", END), &Dying::after(0), |_| {}).await;
    assert!(killed.unwrap_err().is_passing());
    let first = training_rows(&world.offline, &set("a", END), &Dying::never(), |_| {}).await.unwrap();
    let before = rows(&world, "a").await;

    // An hour after the end the amount of a payment is corrected, another payment of long ago comes in, and one turns out to be
    // fraud that nobody knew of.
    let honest =
        payments().into_iter().rfind(|payment| !payment.fraud && payment.time < END - 20 * DAY).unwrap();
    let payment = |id: &str, cents: &str| {
        vec![
            ("id", Value::Text(id.to_owned())),
            ("customer_id", Value::Int(honest.customer)),
            ("merchant_id", Value::Int(honest.terminal)),
            ("terminal_id", Value::Text(honest.terminal.to_string())),
            ("amount", Value::Decimal(cents.parse().unwrap())),
            ("currency", Value::Text("EUR".to_owned())),
            ("status", Value::Text("captured".to_owned())),
            ("payment_method", Value::Text("card".to_owned())),
            ("created_at", Value::TimestampTz(honest.time)),
            ("updated_at", Value::TimestampTz(END + HOUR)),
        ]
    };
    world
        .append("transactions", "u", 20_000_000, END + HOUR, &payment(&honest.id.to_string(), "9999.00"))
        .await;
    world.append("transactions", "c", 20_000_001, END + HOUR, &payment("999999", "1.00")).await;
    let dispute = [
        ("id", Value::Text("late".to_owned())),
        ("transaction_id", Value::Text(honest.id.to_string())),
        ("amount", Value::Decimal("1.00".parse().unwrap())),
        ("currency", Value::Text("EUR".to_owned())),
        ("status", Value::Text("lost".to_owned())),
        ("reason_code", Value::Text("10.4".to_owned())),
        ("created_at", Value::TimestampTz(END + HOUR)),
        ("updated_at", Value::TimestampTz(END + HOUR)),
    ];
    world.append("disputes", "c", 20_000_002, END + HOUR, &dispute).await;
    world.run().await;

    assert_eq!(rows(&world, "a").await, before);
    let again = training_rows(&world.offline, &set("a", END), &Dying::never(), |_| {}).await.unwrap();
    assert_eq!((again.rows, again.written), (first.rows, 0));
    assert_eq!(rows(&world, "a").await, before);
    // Computed anew as of the same time, it is the same set.
    training_rows(&world.offline, &set("b", END), &Dying::never(), |_| {}).await.unwrap();
    assert_eq!(rows(&world, "b").await, before);
    // Later, the fraud is known; the row itself saw none of it, and neither the amount nor the payment that came too late.
    training_rows(&world.offline, &set("c", END + 2 * HOUR), &Dying::never(), |_| {}).await.unwrap();
    let later = rows(&world, "c").await;
    assert_eq!(later.len(), before.len());
    let changed: Vec<(&String, &String)> =
        before.iter().zip(&later).filter(|(old, new)| old != new).collect();
    let labels =
        |line: &str| line.rsplit_once(',').map(|(row, label)| (row.to_owned(), label.to_owned())).unwrap();
    for (old, new) in &changed {
        assert_eq!(labels(old).0, labels(new).0, "only labels are known later");
    }
    let of_honest = |lines: &[String]| {
        let found = lines.iter().find(|line| line.starts_with(&format!("{},", honest.id))).unwrap();
        labels(found).1
    };
    assert_eq!((of_honest(&before), of_honest(&later)), ("false".to_owned(), "true".to_owned()));

    // The name of a set is not used for another.
    let other =
        training_rows(&world.offline, &set("a", END + HOUR), &Dying::never(), |_| {}).await.unwrap_err();
    assert!(other.to_string().contains("give this one another name"), "{other}");
}

/// A payment as the source writes it, and its capture five minutes later.
async fn live(world: &World) {
    let (created, captured) = (END - 2 * HOUR, END - 2 * HOUR + 5 * 60 * 1_000_000);
    for (nth, (op, status, at)) in
        (0..).zip([("c", "authorised", created), ("u", "captured", captured), ("u", "captured", END)])
    {
        let cells = [
            ("id", Value::Text("777777".to_owned())),
            ("customer_id", Value::Int(3)),
            ("merchant_id", Value::Int(2)),
            // Without a terminal: its features are those of one without events.
            ("terminal_id", Value::Null),
            ("amount", Value::Decimal("12.50".parse().unwrap())),
            ("currency", Value::Text("EUR".to_owned())),
            ("status", Value::Text(status.to_owned())),
            ("payment_method", Value::Text("card".to_owned())),
            ("created_at", Value::TimestampTz(created)),
            ("updated_at", Value::TimestampTz(at)),
        ];
        world.append("transactions", op, 20_000_000 + nth, at, &cells).await;
    }
    world.run().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slices_give_the_same_rows_and_changes_no_second_ones() {
    let world = World::with_payments(256 << 20).await;
    live(&world).await;
    let whole = training_rows(&world.offline, &set("a", END), &Dying::never(), |_| {}).await.unwrap();
    let expected = rows(&world, "a").await;
    let wanted = payments().iter().filter(|payment| payment.time >= BEGIN + 10 * DAY).count() + 1;
    assert_eq!((whole.rows, expected.len()), (wanted as u64, wanted), "a payment that changes is one row");
    assert_eq!(expected.iter().filter(|row| row.starts_with("777777,")).count(), 1);

    // So little memory that customers and terminals are computed one after the other, and in slices; killed between them.
    let little = World::with_payments(8 << 10).await;
    live(&little).await;
    for permits in [0, 2, 4] {
        let killed = training_rows(&little.offline, &set("a", END), &Dying::after(permits), |_| {}).await;
        assert!(killed.unwrap_err().is_passing(), "{permits}");
    }
    let sliced = training_rows(&little.offline, &set("a", END), &Dying::never(), |_| {}).await.unwrap();
    assert_eq!(rows(&little, "a").await, expected);
    assert_eq!((sliced.rows, sliced.marked, sliced.unlabelled), (whole.rows, whole.marked, whole.unlabelled));

    // What fits in no number of slices is refused, with what to do about it.
    let none = World::with_payments(1).await;
    let error = training_rows(&none.offline, &set("a", END), &Dying::never(), |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("features.memory_bytes = 1: raise it"), "{error}");
}
