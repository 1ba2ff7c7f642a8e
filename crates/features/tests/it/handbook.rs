//! The twelve features of the Fraud Detection Handbook on a table small enough to check by hand.

use affluent_features::definition::Definitions;
use affluent_features::event::DAY;
use affluent_features::replay::{Columns, KeyColumn, replay};
use affluent_features::{Engine, Options, Plan};
use std::sync::Arc;

/// Day (and tenths of it), customer, terminal, amount, fraud, then what the payment's row has to be: of the customer payments and mean amount
/// of 1, 7 and 30 days, of the terminal payments and fraud rate of 1, 7 and 30 days up to seven days ago.
type Line = ((i64, i64), i64, i64, i64, i64, [f64; 6], [f64; 6]);

const TABLE: &[Line] = &[
    ((0, 0), 1, 9, 100, 0, [1.0, 1.0, 1.0, 100.0, 100.0, 100.0], [0.0; 6]),
    ((0, 5), 1, 9, 200, 1, [2.0, 2.0, 2.0, 150.0, 150.0, 150.0], [0.0; 6]),
    // One day after the first to the microsecond: that one is out of the window of a day.
    ((1, 0), 1, 9, 300, 0, [2.0, 3.0, 3.0, 250.0, 200.0, 200.0], [0.0; 6]),
    ((2, 0), 2, 9, 50, 1, [1.0, 1.0, 1.0, 50.0, 50.0, 50.0], [0.0; 6]),
    // Seven days after the first: now the first is known, and out of the customer's week.
    ((7, 0), 1, 9, 400, 0, [1.0, 3.0, 4.0, 400.0, 300.0, 250.0], [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]),
    ((8, 0), 2, 8, 70, 0, [1.0, 2.0, 2.0, 70.0, 60.0, 60.0], [0.0; 6]),
    // Of the terminal, the payments of (0, 1], (0, 1] and before: the one at day 0 is out of the day.
    ((8, 0), 1, 9, 0, 0, [1.0, 2.0, 5.0, 0.0, 200.0, 200.0], [2.0, 3.0, 3.0, 0.5, 1.0 / 3.0, 1.0 / 3.0]),
    ((30, 5), 1, 9, 10, 0, [1.0, 1.0, 4.0, 10.0, 10.0, 177.5], [0.0, 0.0, 6.0, 0.0, 0.0, 2.0 / 6.0]),
];

#[test]
fn the_handbook_by_hand() {
    let mut names = Vec::new();
    for feature in [
        "card_customer_payments",
        "card_customer_amount_mean",
        "card_terminal_payments",
        "card_terminal_fraud_rate",
    ] {
        names.extend(["1d", "7d", "30d"].map(|window| format!("{feature}_{window}")));
    }
    let wanted: Vec<&str> = names.iter().map(String::as_str).collect();
    let definitions = Definitions::load(None).unwrap().select(&wanted).unwrap();
    let plan = Arc::new(Plan::new(&definitions).unwrap());
    let source = plan.source("card_transactions").unwrap();
    assert_eq!(plan.source_shape(source).row, names);
    let column = |read: &dyn Fn(&Line) -> i64| TABLE.iter().map(read).collect::<Vec<i64>>();
    let time = column(&|line| line.0.0 * DAY + line.0.1 * DAY / 10);
    let order: Vec<u64> = (0..).take(TABLE.len()).collect();
    let (customer, terminal) = (column(&|line| line.1), column(&|line| line.2));
    let inputs = [Columns {
        source,
        time: &time,
        arrived: &time,
        order: &order,
        keys: &[KeyColumn::Numbers(&customer), KeyColumn::Numbers(&terminal)],
        cells: &[&column(&|line| line.3), &column(&|line| line.4)],
        version: None,
        removed: None,
        rows: true,
    }];
    let mut engine = Engine::new(plan, Options::default());
    let mut seen = 0;
    replay(&mut engine, &inputs, |row| {
        let line = &TABLE[row.event];
        assert_eq!(row.values, [line.5, line.6].concat(), "payment {}", row.event);
        assert!(row.exact);
        seen += 1;
    })
    .unwrap();
    assert_eq!(seen, TABLE.len());
}

/// Of some payments of [`TABLE`]: whether the terminal's last three known payments were fraud, seconds since the last that was and the last
/// that was not, fraud of four weeks, and the amount to the customer's mean of genuine payments; all as known seven days later.
#[test]
fn what_was_known_of_terminal_and_customer_by_hand() {
    let names = [
        "card_customer_amount_to_genuine_mean",
        "card_terminal_fraud_28d",
        "card_terminal_seconds_since_fraud",
        "card_terminal_seconds_since_genuine",
        "card_terminal_last_fraud_1",
        "card_terminal_last_fraud_2",
        "card_terminal_last_fraud_3",
    ];
    let (nan, day) = (f64::NAN, 86_400.0);
    let expected: &[(usize, [f64; 7])] = &[
        (3, [nan, 0.0, nan, nan, nan, nan, nan]),
        (4, [4.0, 0.0, nan, 7.0 * day, 0.0, nan, nan]),
        (6, [0.0, 1.0, 7.5 * day, 7.0 * day, 0.0, 1.0, 0.0]),
        (7, [0.05, 2.0, 28.5 * day, 22.5 * day, 0.0, 0.0, 1.0]),
    ];
    let definitions = Definitions::load(None).unwrap().select(&names).unwrap();
    let plan = Arc::new(Plan::new(&definitions).unwrap());
    let source = plan.source("card_transactions").unwrap();
    assert_eq!(plan.source_shape(source).row, names);
    let column = |read: &dyn Fn(&Line) -> i64| TABLE.iter().map(read).collect::<Vec<i64>>();
    let time = column(&|line| line.0.0 * DAY + line.0.1 * DAY / 10);
    let order: Vec<u64> = (0..).take(TABLE.len()).collect();
    let (customer, terminal) = (column(&|line| line.1), column(&|line| line.2));
    let inputs = [Columns {
        source,
        time: &time,
        arrived: &time,
        order: &order,
        keys: &[KeyColumn::Numbers(&customer), KeyColumn::Numbers(&terminal)],
        cells: &[&column(&|line| line.3), &column(&|line| line.4)],
        version: None,
        removed: None,
        rows: true,
    }];
    let mut rows = vec![Vec::new(); TABLE.len()];
    replay(&mut Engine::new(plan, Options::default()), &inputs, |row| rows[row.event] = row.values.to_vec())
        .unwrap();
    for (payment, expected) in expected {
        for ((name, found), expected) in names.iter().zip(&rows[*payment]).zip(expected) {
            let same = (found - expected).abs() < 1e-12 || found.is_nan() && expected.is_nan();
            assert!(same, "payment {payment}: {name} is {found}, not {expected}");
        }
    }
}
