//! Models in the registry: those of other libraries imported, listed, promoted, rolled back; one of our own trained, and watched until it drifts.

use crate::installation::turn;
use crate::platform::affluent;
use affluent_bus::{Bus, BusOptions, TopicPartition};
use affluent_model::names::TOPIC_ALERTS;
use affluent_testkit::Broker;
use affluent_testkit::card_history::{CardHistory, csv};
use serde_json::{Value, json};
use std::path::Path;

/// A tree of XGBoost on two features, one split.
pub(crate) fn model(left: f64) -> String {
    json!({
        "version": [3, 0, 0],
        "learner": {
            "objective": {"name": "binary:logistic"},
            "feature_names": ["amount", "payments"],
            "feature_types": ["float", "float"],
            "learner_model_param": {"base_score": "[5E-1]", "num_class": "0", "num_feature": "2", "num_target": "1"},
            "gradient_booster": {"name": "gbtree", "model": {"tree_info": [0], "trees": [{
                "tree_param": {"size_leaf_vector": "1"},
                "left_children": [1, -1, -1], "right_children": [2, -1, -1],
                "split_indices": [0, 0, 0], "split_conditions": [5_000.0, left, 2.0],
                "default_left": [1, 0, 0], "split_type": [0, 0, 0], "categories_nodes": [],
            }]}},
        },
    })
    .to_string()
}

/// Exit code, standard output, standard error.
fn call(directory: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = affluent(directory).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

const IMPORT: [&str; 7] = [
    "models",
    "import",
    "model.json",
    "--name",
    "fraud",
    "--features",
    "card_payment_amount,card_customer_payments_1d",
];

#[test]
fn a_model_from_elsewhere_is_kept_promoted_by_force_and_rolled_back() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    for left in [-1.0, -2.0] {
        std::fs::write(at.join("model.json"), model(left)).unwrap();
        let (code, out, err) = call(at, &IMPORT);
        assert_eq!(code, Some(0), "{err}");
        assert!(out.contains("1 trees of XGBoost, not judged here"), "{out}");
    }
    let (code, _, err) = call(at, &["models", "promote", "fraud"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("did not pass judged") && err.contains("--force"), "{err}");
    for version in ["1", "2"] {
        let (code, _, err) = call(at, &["models", "promote", "fraud", version, "--force"]);
        assert_eq!(code, Some(0), "{err}");
    }
    let (code, out, err) = call(at, &["models", "rollback", "fraud"]);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(out.trim(), "fraud: champion 1, previous 2");

    let (code, out, err) = call(at, &["models", "list", "--format", "json"]);
    assert_eq!(code, Some(0), "{err}");
    let list: Value = serde_json::from_str(&out).unwrap();
    let told = |nth: usize| {
        (list[nth]["version"].clone(), list[nth]["aliases"].clone(), list[nth]["failed"].clone())
    };
    assert_eq!(told(0), (json!(1), json!(["champion"]), json!(["judged"])));
    assert_eq!(told(1), (json!(2), json!(["previous"]), json!(["judged"])));
    let (code, out, err) = call(at, &["models", "show", "fraud"]);
    assert_eq!(code, Some(0), "{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&report["version"], &report["imported"]["origin"]), (&json!(1), &json!("XGBoost")));
    assert_eq!(report["features"][0]["name"], "card_payment_amount");
    // A lake that is not there is said before anything is looked at.
    let (code, _, err) = call(at, &["models", "drift", "fraud"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("open the lake"), "{err}");
}

#[test]
fn what_cannot_be_imported_says_what_and_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    for (text, arguments, parts) in [
        (model(0.0).replace("gbtree", "dart"), &IMPORT[..], &["booster dart", "not supported"][..]),
        ("pickle".to_owned(), &IMPORT[..], &["neither XGBoost's JSON nor LightGBM's text"]),
        (model(0.0), &IMPORT[..5], &["there is no feature", "--features"]),
        (
            model(0.0),
            &["models", "import", "model.json", "--name", "fraud", "--features", "card_payment_amount"],
            &["it has 2 features, 1 are named", "--features"],
        ),
    ] {
        std::fs::write(at.join("model.json"), text).unwrap();
        let (code, _, err) = call(at, arguments);
        assert_eq!(code, Some(2), "{err}");
        for part in parts {
            assert!(err.contains(part), "{part} is not in: {err}");
        }
    }
}

#[test]
fn a_registry_that_is_down_loses_no_model() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    // A port that was free just now.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config =
        format!("[learning.mlflow]\nurl = 'http://127.0.0.1:{port}'\nattempts = 2\nretry_first_ms = 1\n");
    std::fs::write(at.join("affluent.toml"), config).unwrap();
    std::fs::write(at.join("model.json"), model(0.0)).unwrap();
    let (code, _, err) = call(at, &IMPORT);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("does not answer (2 attempts)"), "{err}");
    let folder = err.split("it is kept in ").nth(1).unwrap().split(": ").next().unwrap();
    let kept = Path::new(folder);
    for file in ["data/model.json", "data/xgboost.json", "card.json", "MLmodel"] {
        assert!(kept.join(file).exists(), "{file}: {err}");
    }
    std::fs::remove_dir_all(kept.parent().unwrap()).unwrap();
}

const DAY_S: i64 = 86_400;
/// The longest windows of features are full when learning begins.
const DAYS: u32 = 160;

/// The week before the last day of the history is as the others, the last one has three times the amounts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn amounts_that_shift_fire_an_alert_and_a_usual_week_does_not() {
    let _turn = turn().await;
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().to_owned();
    let begin_s = (affluent_model::time::now_micros() / 1_000_000 / DAY_S - i64::from(DAYS)) * DAY_S;
    let history = CardHistory {
        customers: 220,
        terminals: 700,
        pace: 0.4,
        days: DAYS,
        begin_s,
        shifted_from: DAYS - 7,
        shift: 3.0,
        seed: 3,
    };
    let shift_s = begin_s + i64::from(DAYS - 7) * DAY_S;
    let payments = history.payments();
    let (usual, shifted) = payments.split_at(payments.partition_point(|payment| payment.at_s < shift_s));
    let broker = Broker::shared().bootstrap_servers();
    let config = format!(
        "[bus]\nbootstrap_servers = '{broker}'\n[learning.rows]\nfraud_label_delay_s = 604_800\ntrain_max_s = 5_184_000\n[learning.drift]\nrows_min = 200\n\
         [learning.fraud]\nfolds = 1\ndraws = 50\n[learning.fraud.boost]\nbudget = 0.3\nmax_bin = 255\nboosters = 1\n"
    );
    std::fs::write(at.join("affluent.toml"), config).unwrap();
    let import = |part: &[affluent_testkit::card_history::CardPayment]| {
        std::fs::write(at.join("payments.csv"), csv(part)).unwrap();
        for arguments in
            [&["import", "transactions", "--from", "payments.csv"][..], &["batch", "run", "raw-to-dwh"]]
        {
            let (code, out, err) = call(&at, arguments);
            assert_eq!(code, Some(0), "{arguments:?}: {out}{err}");
        }
    };
    import(usual);
    let (code, out, err) = call(&at, &["train", "fraud"]);
    // A gate may fail on so little.
    assert!(matches!(code, Some(0 | 1)) && out.contains("fraud version 1"), "{out}{err}");
    let (code, _, err) = call(&at, &["models", "promote", "fraud", "--force"]);
    assert_eq!(code, Some(0), "{err}");

    let moment = |second: i64| affluent_model::time::format_micros(second * 1_000_000, true);
    let drift =
        |until: i64| call(&at, &["models", "drift", "fraud", "--format", "json", "--until", &moment(until)]);
    let (code, out, err) = drift(shift_s);
    assert_eq!(code, Some(0), "{out}{err}");
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_ne!(found["found"]["level"], "alarm", "{out}");
    import(shifted);
    let (code, out, err) = drift(begin_s + i64::from(DAYS) * DAY_S);
    assert_eq!(code, Some(1), "{out}{err}");
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(found["found"]["level"], "alarm");
    let of_amount =
        |alert: &Value| alert["rule"] == "drift.fraud.payment_amount" && alert["state"] == "firing";
    assert!(found["alerts"].as_array().unwrap().iter().any(of_amount), "{out}");
    assert!(at.join("data/drift/fraud/report.html").exists());

    let bus = Bus::new(BusOptions { bootstrap_servers: broker.to_owned(), ..BusOptions::default() }).unwrap();
    let (admin, partition) = (bus.admin().unwrap(), TopicPartition::new(TOPIC_ALERTS, 0));
    let (low, high) = admin.watermarks(&partition).await.unwrap();
    let records = admin.read_range(&partition, low, high).await.unwrap();
    let values =
        records.iter().filter_map(|record| serde_json::from_slice::<Value>(record.value.as_ref()?).ok());
    assert!(values.into_iter().any(|alert| of_amount(&alert) && alert["severity"] == "critical"));

    // What stands is not told again, and the pipeline says the same as the command.
    let (code, out, err) = drift(begin_s + i64::from(DAYS) * DAY_S);
    assert_eq!(code, Some(1), "{err}");
    let again: Value = serde_json::from_str(&out).unwrap();
    let resolved = |alert: &Value| alert["state"] == "resolved";
    assert!(again["alerts"].as_array().unwrap().iter().all(resolved), "{out}");
    let (from, to) = (moment(shift_s), moment(begin_s + i64::from(DAYS) * DAY_S));
    let (code, out, err) = call(&at, &["batch", "run", "drift", "--from", &from, "--to", &to]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("fraud: Alarm, ") && out.contains("learning.drift.retrain is false"), "{out}");
}
