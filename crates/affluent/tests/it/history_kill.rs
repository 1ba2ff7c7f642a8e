//! `kill -9` of `affluent import` and of `affluent features backfill`, at every failpoint that they pass and at random moments: in
//! the end every row of the file is there once, and the vectors are those of a run that nobody killed.
//!
//! `AFFLUENT_SOAK_ROUNDS`, `AFFLUENT_SEED` and `AFFLUENT_FAILPOINTS` as for `kill`.

use crate::installation::{Installation, Said, turn};
use crate::kill::{chosen, rounds};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use std::fmt::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const RUN: Duration = Duration::from_secs(240);
/// More than two chunks of an import.
const PAYMENTS: i64 = 110_000;
/// Payments that no rule lets pass: an amount that is none.
const BAD: i64 = 7;
/// What the failpoints of both begin with.
const OURS: &[&str] = &["import::", "materialise::"];
/// Of so many rounds one is a kill at a random moment, beside those at failpoints.
const ROUNDS_A_MOMENT: usize = 10;

const RAW: &str = "select count(*), count(distinct id), cast(sum(amount) as varchar) from raw.transactions";
const QUARANTINED: &str =
    "select count(*), count(distinct \"offset\") from ops.quarantine where stage = 'import'";
const DISPUTES: &str = "select count(*), count(distinct transaction_id) from raw.disputes";
const VECTORS: &str = "select as_of, count(*), count(distinct key), sum(customer_payments_7d), sum(customer_amount_sum_7d) \
                       from features.customers group by as_of order by as_of";

/// A file of payments of thirty days, one a whole number of seconds.
fn file(folder: &Path) -> PathBuf {
    let mut text = "transaction_id,occurred_at,customer_id,terminal_id,amount_minor,fraud\n".to_owned();
    for number in 0..PAYMENTS {
        let second = 1_527_811_200 + number * 30 * 86_400 / PAYMENTS;
        let time = affluent_model::time::format_micros(second * 1_000_000, true);
        let amount =
            if number % (PAYMENTS / BAD) == 5 { "much".to_owned() } else { (number % 997 + 1).to_string() };
        writeln!(
            text,
            "{number},{time},{},{},{amount},{}",
            number % 300,
            number % 120,
            u8::from(number % 50 == 0)
        )
        .unwrap();
    }
    let path = folder.join("payments.csv");
    std::fs::write(&path, text).unwrap();
    path
}

async fn done(installation: &Installation, arguments: &[&str]) -> Said {
    let said = installation.begin(arguments, None).end(RUN).await;
    let code = said.status.code();
    assert!(
        code == Some(0) || code == Some(99),
        "{arguments:?} ended with {code:?}\n{}\n{}",
        said.out,
        said.err
    );
    said
}

async fn rows(installation: &Installation, query: &str) -> Vec<String> {
    let said = done(installation, &["sql", "--format", "csv", query]).await;
    said.out.lines().skip(1).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// Runs a command that is killed at a failpoint; false where it went to its end before.
async fn killed_at(installation: &Installation, arguments: &[&str], name: &str, passes: u32) -> bool {
    let armed = format!("{name}={passes}*off->return");
    let said = installation.begin(arguments, Some(&armed)).end(RUN).await;
    let killed = said.status.signal().is_some();
    assert!(
        killed || said.status.success() || said.status.code() == Some(99),
        "{name}: {}\n{}",
        said.out,
        said.err
    );
    eprintln!(
        "{} at {name} after {passes} passes: {}",
        arguments[0],
        if killed { "aborted" } else { "not passed so often" }
    );
    killed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_imports_and_backfills_leave_each_row_once() {
    let _turn = turn().await;
    let seed = match std::env::var("AFFLUENT_SEED") {
        Ok(text) => text.parse().expect("AFFLUENT_SEED is a number"),
        Err(_) => rand::random::<u32>().into(),
    };
    eprintln!("AFFLUENT_SEED={seed}, {} rounds", rounds());
    let mut rng = SmallRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let file = file(folder.path());
    let import = ["import", "transactions", "--from", file.to_str().unwrap()];
    let backfill = ["features", "backfill", "customers", "--every", "3d"];

    let whole = Installation::of_events();
    done(&whole, &import).await;
    done(
        &whole,
        &["batch", "run", "raw-to-dwh", "--from", "2026-11-22T00:00:00Z", "--to", "2026-11-22T00:15:00Z"],
    )
    .await;
    done(&whole, &backfill).await;
    let expected = rows(&whole, VECTORS).await;
    assert!(expected.len() >= 9, "{expected:?}");
    drop(whole);

    let installation = Installation::of_events();
    let names = chosen(|name| OURS.iter().any(|prefix| name.starts_with(prefix)));
    assert!(names.len() >= 4, "{names:?}");
    let mut aborted = 0;
    for name in names.iter().filter(|name| name.starts_with("import::")) {
        for passes in 0..3 {
            aborted += u32::from(killed_at(&installation, &import, name, passes).await);
        }
    }
    assert!(aborted >= 3, "the import was aborted {aborted} times alone");
    done(&installation, &import).await;
    let again = installation.begin(&import, None).end(RUN).await;
    assert_eq!(again.status.code(), Some(99), "{}{}", again.out, again.err);
    let good = PAYMENTS
        - rows(&installation, QUARANTINED).await[0].split(',').next().unwrap().parse::<i64>().unwrap();
    let raw = rows(&installation, RAW).await;
    assert!(raw[0].starts_with(&format!("{good},{good},")), "{raw:?}");
    let quarantined = rows(&installation, QUARANTINED).await;
    assert_eq!(quarantined, [format!("{0},{0}", PAYMENTS - good)]);
    assert!(PAYMENTS - good >= BAD);
    let disputes = rows(&installation, DISPUTES).await;
    let (all, distinct) = disputes[0].split_once(',').unwrap();
    assert_eq!(all, distinct);

    done(
        &installation,
        &["batch", "run", "raw-to-dwh", "--from", "2026-11-22T00:00:00Z", "--to", "2026-11-22T00:15:00Z"],
    )
    .await;
    let mut aborted = 0;
    for name in names.iter().filter(|name| name.starts_with("materialise::")) {
        for passes in [0, rng.random_range(0..3)] {
            aborted += u32::from(killed_at(&installation, &backfill, name, passes).await);
        }
    }
    assert!(aborted >= 2, "the backfill was aborted {aborted} times alone");
    for _ in 0..rounds() / ROUNDS_A_MOMENT {
        let wait = Duration::from_millis(rng.random_range(0..3_000));
        let run = installation.begin(&backfill, None);
        tokio::time::sleep(wait).await;
        run.signal("-KILL").await;
        let said = run.end(RUN).await;
        eprintln!("backfill killed after {} ms ({})", wait.as_millis(), said.status);
    }
    done(&installation, &backfill).await;
    assert_eq!(rows(&installation, VECTORS).await, expected);
}
