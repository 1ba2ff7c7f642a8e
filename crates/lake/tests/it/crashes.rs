//! A writer that is killed between any two steps, and started again.

use crate::tables::{advance, expected_sums, options, payments, payments_table, sums};
use affluent_lake::{Lake, LakeOptions};
use std::path::Path;
use std::process::Command;
use tokio_util::sync::CancellationToken;

const WAREHOUSE: &str = "AFFLUENT_TEST_CHILD_WAREHOUSE";
const ROWS: i64 = 300;

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
