//! Training from the lake: all three models, each learned once more from its manifest to the same predictions, and the pipelines.

use crate::installation::turn;
use crate::platform::affluent;
use affluent_testkit::card_history::{CardHistory, csv};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

const DAY_S: i64 = 86_400;
const DAYS: u32 = 120;
const CONFIG: &str = "\
[learning.rows]
fraud_label_delay_s = 604_800
churn_horizon_s = 864_000
score_horizon_s = 1_728_000
every_s = 345_600
active_s = 864_000
entities = ['customer']
[learning.fraud]
folds = 1
draws = 50
[learning.fraud.boost]
budget = 0.3
max_bin = 255
boosters = 1
[learning.churn]
folds = 2
draws = 50
[learning.churn.boost]
budget = 0.3
max_bin = 255
boosters = 1
[learning.score]
folds = 2
draws = 50
[learning.score.boost]
budget = 0.3
max_bin = 255
boosters = 1
";

/// Exit code, standard output, standard error.
fn call(directory: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = affluent(directory).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn json(directory: &Path, arguments: &[&str]) -> Value {
    let (code, out, err) = call(directory, arguments);
    assert!(matches!(code, Some(0 | 1)), "{arguments:?} ended with {code:?}: {out}{err}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {out}{err}"))
}

fn moment(second: i64) -> String {
    affluent_model::time::format_micros(second * 1_000_000, true)
}

#[tokio::test(flavor = "multi_thread")]
async fn models_of_the_lake_are_trained_rebuilt_and_kept_up_by_pipelines() {
    let _turn = turn().await;
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    std::fs::write(at.join("affluent.toml"), CONFIG).unwrap();

    // Before there is anything.
    let (code, _, err) = call(at, &["train", "churn"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("open the lake"), "{err}");

    let today_s = affluent_model::time::now_micros() / 1_000_000 / DAY_S * DAY_S;
    let history = CardHistory {
        customers: 220,
        terminals: 40,
        pace: 0.4,
        days: DAYS,
        begin_s: today_s - i64::from(DAYS) * DAY_S,
        shifted_from: DAYS,
        shift: 1.0,
        seed: 5,
    };
    std::fs::write(at.join("payments.csv"), csv(&history.payments())).unwrap();
    for arguments in
        [&["import", "transactions", "--from", "payments.csv"][..], &["batch", "run", "raw-to-dwh"]]
    {
        let (code, out, err) = call(at, arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {out}{err}");
    }

    // Judged alone: one JSON each, nothing is registered.
    let fraud = json(at, &["train", "fraud", "--evaluate"]);
    assert!(fraud["average_precision"].as_f64().unwrap() > 0.1, "{fraud}");
    assert!(fraud["card_precision_by"]["any"].is_number() && fraud["segments"].is_array(), "{fraud}");
    let churn = json(at, &["train", "churn", "--evaluate"]);
    assert!(churn["auc_roc"].as_f64().unwrap() > 0.55, "{churn}");
    assert_eq!(churn["known_left_out"], 0);
    let score = json(at, &["train", "score", "--evaluate"]);
    assert!(score["rank_correlation"].as_f64().unwrap() > 0.3, "{score}");
    assert_eq!(call(at, &["models", "list"]).0, Some(99));

    for model in ["fraud", "churn", "score"] {
        let (code, out, err) = call(at, &["train", model]);
        // A gate may fail on so little.
        assert!(matches!(code, Some(0 | 1)) && out.contains(&format!("{model} version 1")), "{out}{err}");
        let again = json(at, &["train", model, "--again", "1", "--format", "json"]);
        assert_eq!(again["different"], 0, "{again}");
        assert!(again["rows"].as_u64().unwrap() > 500, "{again}");
    }
    refusals(at, today_s);
    pipelines(at, today_s);
    retention(at, today_s);
}

/// What cannot be done says what and what to do.
fn refusals(at: &Path, today_s: i64) {
    for (arguments, code, part) in [
        (&["train", "churn", "--horizon", "100d"][..], 1, "too short a time to learn from"),
        (&["train", "score", "--horizon", "soon"], 2, "--horizon soon"),
        (&["train", "fraud", "--as-of", "2001-01-01T00:00:00Z"], 2, "before the first payment"),
        (&["train", "churn", "--again", "9"], 1, "has no version 9"),
        (&["train", "fraud", "--train-from", "2018-07-25"], 2, "--train-to"),
    ] {
        let (found, _, err) = call(at, arguments);
        assert_eq!(found, Some(code), "{arguments:?}: {err}");
        assert!(err.contains(part), "{arguments:?}: {part} is not in: {err}");
    }
    // A time without data.
    let day = |before: i64| moment(today_s - before * DAY_S)[..10].to_owned();
    let (from, to, judged, until) = (day(900), day(890), day(870), day(860));
    let periods = ["--train-from", &from, "--train-to", &to, "--test-from", &judged, "--test-to", &until];
    let (code, _, err) = call(at, &[&["train", "fraud"][..], &periods[..]].concat());
    assert_eq!(code, Some(1));
    assert!(err.contains("those of the warehouse begin with"), "{err}");
    let (code, _, err) = call(at, &[&["train", "churn"][..], &periods[..]].concat());
    assert_eq!(code, Some(1));
    assert!(err.contains("no look at customers"), "{err}");
    // A feature that the store lacks.
    let lacking =
        format!("{}\n", CONFIG.replace("[learning.rows]", "[learning.rows]\nfraud_features = ['no_such']"));
    std::fs::write(at.join("lacking.toml"), lacking).unwrap();
    let (code, _, err) = call(at, &["train", "fraud", "--config", "lacking.toml"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("there is no feature no_such"), "{err}");
}

/// One version of an interval, whole or task by task; nothing without new labels.
fn pipelines(at: &Path, today_s: i64) {
    let (yesterday, today, later) = (moment(today_s - DAY_S), moment(today_s), moment(today_s + 60 * DAY_S));
    let run = |pipeline: &str, task: Option<&str>, from: &str, to: &str| {
        let task: Vec<&str> = task.iter().flat_map(|task| ["--task", task]).collect();
        call(at, &[&["batch", "run", pipeline, "--from", from, "--to", to][..], &task[..]].concat())
    };
    let (code, out, err) = run("train-churn", None, &yesterday, &today);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("version 2") && out.contains("left to a person"), "{out}");
    // Done is done; and there are no new labels since.
    assert_eq!(run("train-churn", None, &yesterday, &today).0, Some(99));
    let (code, out, err) = run("train-churn", None, &today, &later);
    assert_eq!(code, Some(99), "{out}{err}");
    assert!(out.contains("labels are new"), "{out}");
    // An interval before the first payment has nothing to learn from.
    let (long_ago, then) = (moment(today_s - 900 * DAY_S), moment(today_s - 899 * DAY_S));
    for pipeline in ["train-fraud", "train-churn"] {
        let (code, out, err) = run(pipeline, None, &long_ago, &then);
        assert_eq!(code, Some(99), "{out}{err}");
        assert!(out.contains("no payments by the end"), "{out}");
    }

    // As Airflow calls it; each again, and out of turn before there is a plan.
    let tasks =
        ["dataset", "split", "fit", "evaluate", "validate", "compare", "drift", "register", "promote"];
    assert_eq!(run("train-score", Some("fit"), &yesterday, &today).0, Some(99));
    for task in tasks {
        for _ in 0..2 {
            let (code, out, err) = run("train-score", Some(task), &yesterday, &today);
            let expected = if task == "promote" { 99 } else { 0 };
            assert_eq!(code, Some(expected), "{task}: {out}{err}");
        }
    }
    let list = json(at, &["models", "list", "--format", "json"]);
    let versions = |model: &str| list.as_array().unwrap().iter().filter(|one| one["model"] == model).count();
    assert_eq!((versions("fraud"), versions("churn"), versions("score")), (1, 2, 2), "{list}");
    let again = json(at, &["train", "score", "--again", "2", "--format", "json"]);
    assert_eq!(again["different"], 0, "{again}");
}

/// Rows and folders of old runs go, and the rows of a run that learned nothing; those that a model was learned from stay.
fn retention(at: &Path, today_s: i64) {
    for (file, settings) in
        [("few.toml", "runs_kept = 1\nnew_labels_min = 0"), ("never.toml", "new_labels_min = 1_000_000")]
    {
        let config = CONFIG.replace("[learning.rows]", &format!("[learning.rows]\n{settings}"));
        std::fs::write(at.join(file), config).unwrap();
    }
    let dataset = |config: &str, pipeline: &str, days: i64| {
        let (from, to) = (moment(today_s - (days + 1) * DAY_S), moment(today_s - days * DAY_S));
        let arguments = ["batch", "run", pipeline, "--task", "dataset", "--from", &from, "--to", &to];
        call(at, &[&arguments[..], &["--config", config][..]].concat())
    };
    let of_fraud = || folders(at, "training_fraud_");
    let before = of_fraud();
    let (code, out, err) = dataset("few.toml", "train-fraud", 4);
    assert_eq!(code, Some(0), "{out}{err}");
    let first: BTreeSet<String> = of_fraud().difference(&before).cloned().collect();
    assert_eq!(first.len(), 2, "rows, and what is known beside them: {first:?}");
    let (code, out, err) = dataset("few.toml", "train-fraud", 3);
    assert_eq!(code, Some(0), "{out}{err}");
    let second: BTreeSet<String> = of_fraud().difference(&before).cloned().collect();
    assert!(second.len() == 2 && second.is_disjoint(&first), "{first:?} {second:?}");
    for table in &first {
        let (code, _, err) = call(at, &["sql", &format!("select count(*) from features.{table}")]);
        assert!(code != Some(0) && err.contains(table), "{err}");
    }
    // The folder of the first run is gone with it, and what the command has learned from is there.
    assert_eq!(folders(at, &format!("{}_", (today_s - 5 * DAY_S) * 1_000_000)).len(), 0);
    assert_eq!(folders(at, &format!("{}_", (today_s - 4 * DAY_S) * 1_000_000)).len(), 1);
    assert_eq!(json(at, &["train", "fraud", "--again", "1", "--format", "json"])["different"], 0);

    let before = folders(at, "training_churn_");
    let (code, out, err) = dataset("never.toml", "train-churn", 20);
    assert_eq!(code, Some(99), "{out}{err}");
    assert!(out.contains("1000000 are waited for"), "{out}");
    assert_eq!(folders(at, "training_churn_"), before);
}

/// The names of all folders below that begin so.
fn folders(at: &Path, begin: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let name = path.file_name().unwrap().to_str().unwrap();
            if name.starts_with(begin) {
                found.insert(name.to_owned());
            }
            found.extend(folders(&path, begin));
        }
    }
    found
}
