//! A distribution is shifted: the drift alert fires, and is over once a model that has learned the new one is in use.

use super::{LIMIT, installed, monitored};
use crate::installation::{Installation, turn};
use affluent_model::time::{format_micros, now_micros};
use affluent_testkit::Postgres;
use affluent_testkit::card_history::{CardHistory, csv};
use std::time::Duration;

const DAY_S: i64 = 86_400;
/// Up to the last midnight.
const DAYS: u32 = 60;
/// From then on amounts are three times as high.
const SHIFTED_FROM: u32 = 22;
/// The pipeline runs at each full minute.
const MINUTE: Duration = Duration::from_secs(60);

/// Two features of the payment itself: nothing that reaches back over the shift, and little to be learned.
const SECTIONS: &str = "\
[learning.rows]
fraud_features = [\"payment_amount\", \"payment_hour\"]
fraud_label_delay_s = 604_800
[learning.drift]
rows_min = 200
[learning.fraud]
folds = 1
draws = 50
[learning.fraud.boost]
budget = 0.3
max_bin = 255
boosters = 1
[schedule.drift]
cron = \"* * * * *\"
";

/// Days of the history, first and last, from which a model is learned and by which it is judged.
struct Periods {
    train: [u32; 2],
    test: [u32; 2],
}

/// Runs a command that has to succeed.
async fn done(installation: &Installation, arguments: &[&str]) {
    let (status, printed) = installation.run(arguments, LIMIT).await;
    assert!(status.success(), "{arguments:?}: {printed}");
}

/// The next version of the model of fraud. A gate may fail on so little: then the command does, too.
async fn train(installation: &Installation, begin_s: i64, periods: &Periods, version: &str) {
    let day = |day: u32| format_micros((begin_s + i64::from(day) * DAY_S) * 1_000_000, true)[..10].to_owned();
    let [from, to, judged, until] =
        [periods.train[0], periods.train[1], periods.test[0], periods.test[1]].map(day);
    let days = ["--train-from", &from, "--train-to", &to, "--test-from", &judged, "--test-to", &until];
    let arguments = [&["train", "fraud"][..], &days].concat();
    let (_, printed) = installation.run(&arguments, LIMIT).await;
    assert!(printed.contains(&format!("fraud version {version}")), "{printed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn amounts_that_shift_are_told_until_a_model_has_learned_them() {
    let _turn = turn().await;
    let database = Postgres::shared().fresh_database().await.unwrap();
    let (mut installation, hooks, messages) = installed(&database, SECTIONS).await;
    let begin_s = (now_micros() / 1_000_000 / DAY_S - i64::from(DAYS)) * DAY_S;
    let history = CardHistory {
        customers: 400,
        terminals: 400,
        pace: 0.4,
        days: DAYS,
        begin_s,
        shifted_from: SHIFTED_FROM,
        shift: 3.0,
        seed: 7,
    };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("payments.csv");
    std::fs::write(&file, csv(&history.payments())).unwrap();
    done(&installation, &["import", "transactions", "--from", file.to_str().unwrap()]).await;
    done(&installation, &["batch", "run", "raw-to-dwh"]).await;
    // One learns what was before the shift, the other what is since.
    train(&installation, begin_s, &Periods { train: [1, 18], test: [26, 32] }, "1").await;
    train(&installation, begin_s, &Periods { train: [24, 38], test: [46, 52] }, "2").await;
    done(&installation, &["models", "promote", "fraud", "1", "--force"]).await;

    installation.start_roles(&["broker", "registry", "api", "schedule"]);
    let monitors = monitored(&mut installation, hooks, messages).await;
    let of_amounts = "drift_score{model=\"fraud\",feature=\"payment_amount\",test=\"psi\"}";
    monitors.until_data(&format!("{of_amounts} > 0.25"), LIMIT + MINUTE).await;
    monitors.until_own("AffluentDrift (warning)", LIMIT).await;
    monitors.until_managed("channel", "AffluentDrift", "firing", LIMIT).await;

    done(&installation, &["models", "promote", "fraud", "2", "--force"]).await;
    monitors.until_data(&format!("{of_amounts} < 0.25"), LIMIT + MINUTE).await;
    monitors.until_own("AffluentDrift (resolved)", LIMIT).await;
    monitors.until_managed("channel", "AffluentDrift", "resolved", LIMIT).await;
    installation.terminate(Duration::from_secs(15)).await;
}
