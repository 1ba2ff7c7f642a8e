//! Vectors as of instants of the past: what they have to be, however they were made.

use super::world::{BEGIN, Dying, END, LABEL_DAYS, TICK, World, of_customer, payments};
use affluent_features::event::DAY;

/// Instants of the history, the first of which has windows that begin before it.
fn instants() -> Vec<i64> {
    (1..=8).map(|step| BEGIN + step * 5 * DAY + TICK).filter(|instant| *instant <= END).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_are_what_the_windows_hold() {
    let world = World::with_payments(256 << 20).await;
    let all = payments();
    let view = world.view("customers");
    let done = world.offline.materialise(&view, &instants(), &Dying::never(), |_, _| {}).await.unwrap();
    assert_eq!((done.instants, done.before, done.read.late), (instants().len() as u64, 0, 0), "{done:?}");
    let mut checked = 0;
    for instant in instants() {
        for customer in 1..=12 {
            let week = of_customer(&all, customer, instant, 7 * DAY);
            let month = of_customer(&all, customer, instant, 30 * DAY).len();
            let sum: i64 = week.iter().map(|payment| payment.cents).sum();
            let at = affluent_model::time::format_micros(instant, true);
            let query = format!(
                "select customer_payments_7d, customer_payments_30d, customer_amount_sum_7d, is_exact from features.customers \
                 where key = '{customer}' and as_of = '{at}'"
            );
            assert_eq!(
                world.rows(&query).await,
                [format!("{}.0,{month}.0,{sum}.0,true", week.len())],
                "{customer} {at}"
            );
            checked += 1;
        }
    }
    assert!(checked > 50);
    // A terminal's fraud rate knows of a fraud once it was known.
    let view = world.view("terminal_labels");
    world.offline.materialise(&view, &[END], &Dying::never(), |_, _| {}).await.unwrap();
    for terminal in 1..=6 {
        let delayed = |payment: &&super::world::Payment| {
            payment.terminal == terminal && payment.time <= END - 7 * DAY && payment.time > END - 14 * DAY
        };
        let of_week: Vec<_> = all.iter().filter(delayed).collect();
        let known = of_week.iter().filter(|p| p.fraud && p.time + LABEL_DAYS * DAY <= END).count();
        let rate = format!(
            "select terminal_fraud_7d, terminal_fraud_rate_7d from features.terminal_labels where key = '{terminal}'"
        );
        let expected = known as f64 / of_week.len() as f64;
        assert_eq!(world.rows(&rate).await, [format!("{known}.0,{expected:?}")], "{terminal}");
    }
}

/// All that tells rows from one another but when they were made.
const ROWS: &str = "select key, as_of, customer_payments_1d, customer_amount_mean_7d, is_exact, meaning from features.customers";

#[tokio::test(flavor = "multi_thread")]
async fn repeats_kills_and_slices_give_the_same_rows() {
    let world = World::with_payments(256 << 20).await;
    let view = world.view("customers");
    let run = async |world: &World, commits: i64| {
        world.offline.materialise(&view, &instants(), &Dying::after(commits), |_, _| {}).await
    };
    let whole = run(&world, i64::MAX).await.unwrap();
    let expected = world.rows(ROWS).await;
    assert_eq!(whole.rows, expected.len() as u64);
    let again = run(&world, i64::MAX).await.unwrap();
    assert_eq!((again.rows, again.before), (0, whole.instants), "{again:?}");
    assert_eq!(world.rows(ROWS).await, expected);

    // So little memory that the keys are computed in slices; killed on the way, three times.
    let little = World::with_payments(24 << 10).await;
    for commits in [0, 2, 3] {
        assert!(run(&little, commits).await.unwrap_err().is_passing());
    }
    let rest = run(&little, i64::MAX).await.unwrap();
    assert_eq!((rest.before, rest.instants), (5, whole.instants - 5), "{rest:?}");
    assert_eq!(little.rows(ROWS).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_something_is_an_error_and_nothing_of_nothing_is_told() {
    let world = World::with_payments(256 << 20).await;
    let view = world.view("customers");
    let before = world.offline.materialise(&view, &[BEGIN - DAY], &Dying::never(), |_, _| {}).await.unwrap();
    assert_eq!((before.rows, before.empty), (0, 1), "{before:?}");
    let long_after =
        world.offline.materialise(&view, &[END + 400 * DAY], &Dying::never(), |_, _| {}).await.unwrap();
    assert_eq!((long_after.rows, long_after.empty), (0, 1), "{long_after:?}");
    let empty = World::empty(256 << 20).await;
    let missing = empty.offline.missing(&view).await.unwrap();
    assert!(missing.is_some_and(|missing| missing.ends_with("transactions is not there yet")));
    assert_eq!(empty.offline.known_until().await.unwrap(), None);
    let (first, last) = world.offline.span(&view).await.unwrap().unwrap();
    assert_eq!((first, last), (BEGIN, END));
}
