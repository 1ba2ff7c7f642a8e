//! A writer that is killed between any two steps, and started again.

use crate::tables::{
    DAY, MICROS_A_DAY, advance, amounts, expected_sums, options, payment_batch_of, payments, payments_table,
    sums,
};
use affluent_lake::{Commit, Lake, LakeOptions, LakeTable, Overwrite, Remove, Upsert};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use tokio_util::sync::CancellationToken;

const WAREHOUSE: &str = "AFFLUENT_TEST_CHILD_WAREHOUSE";
const ROWS: i64 = 300;
/// Writes of the child that overwrites and upserts.
const ROUNDS: i64 = 16;
const A_DAY: i64 = 86_400;

fn child_options(warehouse: &Path) -> LakeOptions {
    let mut options = options(warehouse);
    options.maintenance.compact_files_min = 4;
    options.maintenance.grace_s = 0;
    options
}

/// Not a test by itself: the process that [`every_row_is_there_once_wherever_the_writer_dies`]
/// starts and that its failpoint ends.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_appends_until_it_dies() {
    let Some(warehouse) = std::env::var_os(WAREHOUSE) else { return };
    affluent_telemetry::arm_failpoints();
    let lake = Lake::open(child_options(Path::new(&warehouse))).await.unwrap();
    let table = payments_table(&lake).await;
    let mut next = table.offsets().await.unwrap().get("oltp.public.payments", 0);
    while next.unwrap_or(0) < ROWS {
        let from = next.unwrap_or(0);
        table.append(payments(from..from + 10), advance(next, from + 10)).await.unwrap();
        next = Some(from + 10);
        table.compact(CancellationToken::new()).await.unwrap();
        table.expire().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_is_there_once_wherever_the_writer_dies() {
    let dir = tempfile::tempdir().unwrap();
    let child = |failpoints: &str| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crashes::child_that_appends_until_it_dies", "--nocapture"])
            .env(WAREHOUSE, dir.path())
            .env("FAILPOINTS", failpoints)
            .output()
            .unwrap()
    };
    for (point, passes) in [
        ("lake::after_data_files", 2),
        ("lake::before_swap", 3),
        ("lake::after_swap", 2),
        ("lake::after_merge_files", 0),
        ("lake::before_swap", 5),
        ("lake::after_swap", 5),
    ] {
        let output = child(&format!("{point}={passes}*off->return"));
        assert!(!output.status.success(), "{point} did not end the child");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!stderr.contains("panicked"), "{point}: {stderr}");
    }
    let output = child("");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lake = Lake::open(child_options(dir.path())).await.unwrap();
    let table = payments_table(&lake).await;
    assert_eq!(sums(&table, None).await, expected_sums(0..ROWS));
    // What the dead ones left behind is found and deleted; what is in use is not.
    assert!(table.clean().await.unwrap().waiting > 0);
    assert!(table.clean().await.unwrap().deleted > 0);
    assert_eq!(table.clean().await.unwrap(), affluent_lake::Cleaned::default());
    assert_eq!(sums(&table, None).await, expected_sums(0..ROWS));
}

/// The rows of a round, and whether they replace their day or those of the same key.
fn round_rows(round: i64) -> (std::ops::Range<i64>, bool) {
    let from = round % 3 * A_DAY;
    if round % 2 == 0 { (from..from + 10, true) } else { (from + 5..from + 15, false) }
}

async fn write_round(table: &LakeTable, round: i64) {
    let (rows, is_overwrite) = round_rows(round);
    let rows = vec![payment_batch_of(rows, |_| round)];
    let commit = Commit::named(format!("round {round}"));
    if is_overwrite {
        let day = i32::try_from(DAY / MICROS_A_DAY + round % 3).unwrap();
        let overwrite = Overwrite { remove: Remove::Days([day].into()), rows };
        table.overwrite(commit, overwrite).await.unwrap();
    } else {
        let upsert = Upsert { rows, key: vec!["id".to_owned()], ..Upsert::default() };
        table.upsert(commit, upsert).await.unwrap();
    }
}

/// Not a test by itself: the process that [`every_overwrite_happens_once_wherever_the_writer_dies`]
/// starts and that its failpoint ends. It begins from the first round each time, as a job that is repeated.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_overwrites_until_it_dies() {
    let Some(warehouse) = std::env::var_os(WAREHOUSE) else { return };
    affluent_telemetry::arm_failpoints();
    let lake = Lake::open(child_options(Path::new(&warehouse))).await.unwrap();
    let table = payments_table(&lake).await;
    for round in 0..ROUNDS {
        write_round(&table, round).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_overwrite_happens_once_wherever_the_writer_dies() {
    let dir = tempfile::tempdir().unwrap();
    for (point, passes) in [
        ("lake::before_overwrite_files", 1),
        ("lake::after_overwrite_files", 1),
        ("lake::before_swap", 1),
        ("lake::after_swap", 1),
        ("lake::after_overwrite_files", 2),
        ("lake::before_swap", 0),
        ("lake::after_swap", 0),
        ("lake::before_overwrite_files", 0),
        ("", 0),
    ] {
        let failpoints =
            if point.is_empty() { String::new() } else { format!("{point}={passes}*off->return") };
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crashes::child_that_overwrites_until_it_dies", "--nocapture"])
            .env(WAREHOUSE, dir.path())
            .env("FAILPOINTS", failpoints)
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), point.is_empty(), "{point}: {stderr}");
        assert!(!stderr.contains("panicked"), "{point}: {stderr}");
    }
    let mut expected = BTreeMap::new();
    for round in 0..ROUNDS {
        let (rows, is_overwrite) = round_rows(round);
        if is_overwrite {
            expected.retain(|id, _| id / A_DAY != round % 3);
        }
        expected.extend(rows.map(|id| (id, i128::from(round))));
    }
    let lake = Lake::open(child_options(dir.path())).await.unwrap();
    let table = payments_table(&lake).await;
    assert_eq!(amounts(&table).await, expected);
    let snapshots = table.snapshots().await.unwrap();
    assert_eq!(snapshots.len(), usize::try_from(ROUNDS).unwrap(), "one commit a round");
    assert!(table.clean().await.unwrap().waiting > 0, "the dead ones left files");
    assert!(table.clean().await.unwrap().deleted > 0);
    assert_eq!(amounts(&table).await, expected);
}
