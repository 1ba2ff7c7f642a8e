//! Training sets: what a row may see, and that what comes later changes none that there is.

use super::world::{BEGIN, Dying, END, LABEL_DAYS, World, of_customer, payments};
use affluent_feature_store::training::{
    CATEGORIES, CUSTOMER_CATEGORIES, CustomerSet, TrainingLabel, TrainingSet, Wanted, customer_rows,
    events_between, keep_snapshots, load, payments_span, table_of, training_rows, write_beside,
};
use affluent_features::event::{DAY, HOUR};
use affluent_model::Value;
use std::collections::BTreeMap;

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

    // An hour after the end the amount of a payment is corrected, another payment of long ago comes in, and two turn out to be
    // fraud that nobody knew of: one of long ago, and one whose label is not known yet.
    let honest_before =
        |time: i64| payments().into_iter().rfind(|payment| !payment.fraud && payment.time < time).unwrap();
    let (honest, young) = (honest_before(END - 20 * DAY), honest_before(END - 3 * DAY));
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
    for (position, payment) in (20_000_002..).zip([honest.id, young.id]) {
        let dispute = [
            ("id", Value::Text(format!("late {payment}"))),
            ("transaction_id", Value::Text(payment.to_string())),
            ("amount", Value::Decimal("1.00".parse().unwrap())),
            ("currency", Value::Text("EUR".to_owned())),
            ("status", Value::Text("lost".to_owned())),
            ("reason_code", Value::Text("10.4".to_owned())),
            ("created_at", Value::TimestampTz(END + HOUR)),
            ("updated_at", Value::TimestampTz(END + HOUR)),
        ];
        world.append("disputes", "c", position, END + HOUR, &dispute).await;
    }
    world.run().await;

    assert_eq!(rows(&world, "a").await, before);
    let again = training_rows(&world.offline, &set("a", END), &Dying::never(), |_| {}).await.unwrap();
    assert_eq!((again.rows, again.written), (first.rows, 0));
    assert_eq!(rows(&world, "a").await, before);
    // Computed anew as of the same time, it is the same set.
    training_rows(&world.offline, &set("b", END), &Dying::never(), |_| {}).await.unwrap();
    assert_eq!(rows(&world, "b").await, before);
    // Later, the fraud is known; the row itself saw none of it, and neither the amount nor the payment that came too late. What was
    // confirmed after its delay is not learned: when it was due, nobody knew.
    let later = END + LABEL_DAYS * DAY;
    training_rows(&world.offline, &set("c", later), &Dying::never(), |_| {}).await.unwrap();
    let later = rows(&world, "c").await;
    assert_eq!(later.len(), before.len());
    let changed: Vec<(&String, &String)> =
        before.iter().zip(&later).filter(|(old, new)| old != new).collect();
    let labels =
        |line: &str| line.rsplit_once(',').map(|(row, label)| (row.to_owned(), label.to_owned())).unwrap();
    for (old, new) in &changed {
        assert_eq!(labels(old).0, labels(new).0, "only labels are known later");
    }
    assert!(changed.iter().all(|(old, _)| labels(old).1.is_empty()), "a label that was known stays");
    let label_of = |lines: &[String], id: i64| {
        let found = lines.iter().find(|line| line.starts_with(&format!("{id},"))).unwrap();
        labels(found).1
    };
    assert_eq!([label_of(&before, honest.id), label_of(&later, honest.id)], ["false", "false"]);
    assert_eq!([label_of(&before, young.id), label_of(&later, young.id)], ["", "true"]);

    // The name of a set is not used for another.
    let other =
        training_rows(&world.offline, &set("a", END + HOUR), &Dying::never(), |_| {}).await.unwrap_err();
    assert!(other.to_string().contains("give this one another name"), "{other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_read_again_as_it_was() {
    let world = World::with_payments(256 << 20).await;
    let set = set("a", END);
    let done = training_rows(&world.offline, &set, &Dying::never(), |_| {}).await.unwrap();
    let beside = write_beside(&world.offline, "a", &Dying::never()).await.unwrap();
    assert_eq!(beside, write_beside(&world.offline, "a", &Dying::never()).await.unwrap());
    let wanted = Wanted {
        rows: table_of("a"),
        beside: Some(beside),
        features: done.features.clone(),
        categories: CATEGORIES.map(str::to_owned).to_vec(),
        valued: false,
        snapshots: BTreeMap::new(),
    };
    let loaded = load(&world.offline, &wanted).await.unwrap();
    assert_eq!(loaded.rows_all, done.rows);
    assert_eq!(loaded.time.len() as u64, done.rows - done.unlabelled);
    assert!(loaded.time.windows(2).all(|pair| pair[0] <= pair[1]));
    assert_eq!(loaded.label.iter().filter(|&&label| label).count() as u64, done.marked);
    assert_eq!((loaded.snapshots.len(), loaded.words.len(), loaded.columns.len()), (2, 2, 4));
    let days = (BEGIN + 10 * DAY, BEGIN + 20 * DAY);
    let fraud = payments().iter().filter(|one| one.fraud && (days.0..days.1).contains(&one.time)).count();
    assert_eq!(events_between(&world.offline, "fraud_labels", days).await.unwrap(), fraud as u64);
    // Amount and card are those of the payments; the amount is a feature, too.
    let amounts: Vec<f64> = loaded.amount.iter().map(|&amount| amount as f64).collect();
    assert_eq!(loaded.columns[3], amounts);
    assert!(loaded.card.iter().all(|card| (1..=12).contains(card)));

    // A row more is not there at the snapshot that was read.
    let table = world.lake.table("features", "training_a").await.unwrap();
    let before = Wanted { snapshots: loaded.snapshots.clone(), ..wanted.clone() };
    let columns = table.columns().await.unwrap();
    let row: affluent_model::Row = columns
        .iter()
        .map(|column| match column.name.as_str() {
            "id" => Value::Text("1".to_owned()),
            "event_time" => Value::TimestampTz(BEGIN),
            "label" => Value::Bool(true),
            _ => Value::Null,
        })
        .collect();
    let more = affluent_lake::RowBatch { columns: columns.into(), rows: vec![row] };
    table.append(std::sync::Arc::new(more), Vec::new()).await.unwrap();
    assert_eq!(load(&world.offline, &before).await.unwrap(), loaded);
    // It is kept from expiry, also once there are others; a snapshot that is not there cannot be.
    keep_snapshots(&world.offline, &loaded.snapshots).await.unwrap();
    keep_snapshots(&world.offline, &loaded.snapshots).await.unwrap();
    let read = loaded.snapshots["features.training_a"];
    assert_eq!(table.tags().await.unwrap().get(&format!("training-{read}")), Some(&read));
    let gone = BTreeMap::from([("features.training_a".to_owned(), read ^ 1)]);
    let error = keep_snapshots(&world.offline, &gone).await.unwrap_err().to_string();
    assert!(error.contains("features.training_a"), "{error}");

    let missing = Wanted { rows: table_of("none"), ..wanted.clone() };
    let error = load(&world.offline, &missing).await.unwrap_err().to_string();
    assert!(error.contains("features.training_none is not there"), "{error}");
    let unknown = Wanted { features: vec!["no_such_feature".to_owned()], ..wanted };
    let error = load(&world.offline, &unknown).await.unwrap_err().to_string();
    assert!(error.contains("no_such_feature"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_are_seen_as_they_were_and_judged_by_what_came_after() {
    let world = World::with_payments(256 << 20).await;
    let all = payments();
    let (first, last) = payments_span(&world.offline).await.unwrap().unwrap();
    assert_eq!((first, last), (all[0].time, all[all.len() - 1].time));
    let instants: Vec<i64> = (10..30).step_by(5).map(|day| BEGIN + day * DAY).collect();
    let set = CustomerSet {
        name: "churn".to_owned(),
        entities: vec!["customer".to_owned()],
        instants: instants.clone(),
        active: 12 * HOUR,
        horizon: 6 * HOUR,
    };
    // Killed after some of its commits, and done again.
    let killed = customer_rows(&world.offline, &set, &Dying::after(6), |_| {}).await;
    assert!(killed.unwrap_err().is_passing());
    let done = customer_rows(&world.offline, &set, &Dying::never(), |_| {}).await.unwrap();
    let again = customer_rows(&world.offline, &set, &Dying::never(), |_| {}).await.unwrap();
    assert_eq!((again.written, &again.table), (0, &done.table));
    let wanted = Wanted {
        rows: done.table.clone(),
        beside: None,
        features: vec!["customer_payments_7d".to_owned()],
        categories: CUSTOMER_CATEGORIES.map(str::to_owned).to_vec(),
        valued: true,
        snapshots: BTreeMap::new(),
    };
    let loaded = load(&world.offline, &wanted).await.unwrap();
    let mut expected = Vec::new();
    for &at in &instants {
        for customer in 1..=12 {
            let before = of_customer(&all, customer, at, 12 * HOUR);
            if before.is_empty() {
                continue;
            }
            let after = of_customer(&all, customer, at + 6 * HOUR, 6 * HOUR);
            let cents = |of: &[super::world::Payment]| of.iter().map(|payment| payment.cents).sum::<i64>();
            let week = of_customer(&all, customer, at, 7 * DAY).len();
            expected.push((at, customer, cents(&before), after.is_empty(), cents(&after), week));
        }
    }
    let mut found: Vec<_> = (0..loaded.time.len())
        .map(|row| {
            let cents = (loaded.value[row] * 100.0).round() as i64;
            let week = loaded.columns[0][row] as usize;
            (loaded.time[row], loaded.card[row], loaded.amount[row], loaded.label[row], cents, week)
        })
        .collect();
    found.sort_unstable();
    assert_eq!(found, expected);
    assert!(loaded.label.iter().any(|&gone| gone) && loaded.label.iter().any(|&gone| !gone));

    // Another horizon is another table; nobody is seen too often.
    let other = CustomerSet { horizon: 3 * HOUR, ..set.clone() };
    let other = customer_rows(&world.offline, &other, &Dying::never(), |_| {}).await.unwrap();
    assert_ne!(other.table, done.table);
    let often = CustomerSet { instants: (0..200).map(|n| BEGIN + n * HOUR).collect(), ..set };
    let error = customer_rows(&world.offline, &often, &Dying::never(), |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("less often"), "{error}");
    let empty = World::empty(64 << 20).await;
    assert_eq!(payments_span(&empty.offline).await.unwrap(), None);
}

/// A payment as the source writes it, its capture five minutes later, another time of it, and a change long after.
async fn live(world: &World) {
    let (created, captured) = (END - 2 * HOUR, END - 2 * HOUR + 5 * 60 * 1_000_000);
    let changes = [
        ("c", "authorised", created, created),
        ("u", "captured", created, captured),
        ("u", "captured", created + 60 * 1_000_000, captured + 1),
        ("u", "captured", created, END),
    ];
    for (nth, (op, status, created, at)) in (0..).zip(changes) {
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
