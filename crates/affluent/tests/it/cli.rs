//! Calls that end at once: help, configuration, mistakes.

use crate::platform::affluent;

/// What one call printed and how it ended.
fn call(
    arguments: &[&str],
    environment: &[(&str, &str)],
    file: Option<&str>,
) -> (Option<i32>, String, String) {
    let directory = tempfile::tempdir().unwrap();
    if let Some(text) = file {
        std::fs::write(directory.path().join("affluent.toml"), text).unwrap();
    }
    let output =
        affluent(directory.path()).args(arguments).envs(environment.iter().copied()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn mistakes_end_with_2_and_say_what_where_and_what_to_do() {
    for (arguments, environment, file, parts) in [
        (
            &["config", "check"][..],
            &[][..],
            Some("[broker]\nflsh = 'group'"),
            &["`broker.flsh`", "affluent.toml:2", "`broker.flush`?"][..],
        ),
        (
            &["up"],
            &[],
            Some("[cdc]\npartitions = 'three'"),
            &["cdc.partitions", "\"three\"", "a whole number"],
        ),
        (&["up"], &[("AFFLUENT__BROKER__FLSH", "x")], None, &["AFFLUENT__BROKER__FLSH", "`broker.flush`?"]),
        (&["up"], &[], Some("[http]\nlisten = '0.0.0.0:8080'"), &["http.listen", "http.tokens"]),
        (
            &["up"],
            &[],
            Some("[cdc]\nconnection = '${env:NO_SUCH}'"),
            &["cdc.connection", "NO_SUCH is not set"],
        ),
        (&["run", "cdc"], &[], None, &["cdc.connection", "postgresql://"]),
        (&["run", "cdcc"], &[], None, &["cdcc", "sink-documents"]),
        (&["up", "--accept-gap", "--resnapshot"], &[], None, &["--accept-gap", "cannot be used with"]),
        (&["--config", "no-such.toml", "config", "check"], &[], None, &["no-such.toml", "--config"]),
        (&["bench", "nothing"], &[], None, &["nothing", "there are:"]),
        (&["sql", "select 1", "--at", "raw.t"], &[], None, &["--at", "namespace.table=SNAPSHOT"]),
        (&["batch", "run", "nothing"], &[], None, &["nothing", "raw-to-dwh"]),
        (
            &["batch", "run", "rebuild", "--from", "yesterday", "--to", "2026-11-22T00:00:00Z"],
            &[],
            None,
            &["yesterday", "is not a time"],
        ),
        (&["batch", "status"], &[], Some("[batch]\nrows_max = 0"), &["[batch] rows_max = 0"]),
        (&["status", "--format", "csv"], &[], None, &["csv", "affluent sql"]),
        (
            &["features", "show", "customer_velocty"],
            &[],
            None,
            &["customer_velocty", "did you mean customer_velocity?"],
        ),
        (&["features", "list", "--entity", "custmer"], &[], None, &["did you mean customer?"]),
        (&["features", "list", "--freshness", "2h"], &[], None, &["2h", "nightly"]),
        (&["features", "list"], &[], Some("[features]\ndefinitions = 'nowhere'"), &["nowhere"]),
        (&["config", "check"], &[], Some("[features]\ndefinition = 'x'"), &["`features.definitions`?"]),
        (&["bench", "features", "--peers", "python3"], &[], None, &["--from FILE.parquet"]),
    ] {
        let (code, _, err) = call(arguments, environment, file);
        assert_eq!(code, Some(2), "{arguments:?}: {err}");
        for part in parts {
            assert!(err.contains(part), "{arguments:?}: {part} is not in: {err}");
        }
    }
}

#[test]
fn every_command_has_help_with_examples() {
    let (code, help, _) = call(&["--help"], &[], None);
    assert_eq!(code, Some(0));
    assert!(help.contains("Examples:") && help.contains("Exit codes:"));
    for command in [
        "up",
        "run",
        "demo",
        "verify",
        "status",
        "config",
        "dead-letters",
        "sql",
        "batch",
        "features",
        "train",
        "models",
        "bench",
    ] {
        let (code, help, _) = call(&[command, "--help"], &[], None);
        assert_eq!(code, Some(0), "{command}");
        assert!(help.contains("Examples:"), "{command}");
    }
}

#[test]
fn config_show_tells_where_a_key_was_set_and_masks_secrets() {
    let file =
        "[cdc]\nconnection = 'postgresql://me:hunter2@db/shop'\nprotect_key = 'a-secret-of-the-shop'\n";
    let environment = [("AFFLUENT__BROKER__FLUSH", "relaxed")];
    let (code, out, err) = call(&["config", "show"], &environment, Some(file));
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("flush = \"relaxed\"  # environment variable AFFLUENT__BROKER__FLUSH"), "{out}");
    assert!(out.contains("connection = \"postgresql://me:********@db/shop\"  # affluent.toml:2"), "{out}");
    assert!(!out.contains("hunter2") && !out.contains("a-secret-of-the-shop"), "{out}");
    let (_, json, _) = call(&["config", "show", "--format", "json"], &environment, Some(file));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["config"]["broker"]["flush"], "relaxed");
    assert_eq!(json["set_by"]["cdc.connection"], "affluent.toml:2");
    assert!(!json.to_string().contains("hunter2"));
    // What is shown can be read again.
    let (code, _, err) = call(&["config", "check"], &[], Some(&out.replace("********", "0123456789abcdef")));
    assert_eq!(code, Some(0), "{err}");
}

#[test]
fn the_printed_defaults_are_a_configuration() {
    let (_, defaults, _) = call(&["config", "defaults"], &[], None);
    let (code, out, err) = call(&["config", "check"], &[], Some(&defaults));
    assert_eq!((code, out.as_str()), (Some(0), "ok: affluent.toml\n"), "{err}");
}

#[test]
fn status_without_a_platform_says_how_to_start_one() {
    let (code, _, err) = call(&["status", "--url", "http://127.0.0.1:1"], &[], None);
    assert_eq!(code, Some(1));
    assert!(err.contains("127.0.0.1:1") && err.contains("affluent up"), "{err}");
    let (_, _, err) = call(&["status", "--url", "http://127.0.0.1:1", "--format", "json"], &[], None);
    let json: serde_json::Value = serde_json::from_str(&err).unwrap();
    assert_eq!(json["exit"], 1);
}

#[test]
fn batch_says_where_it_stands_before_anything_ran() {
    let (code, out, err) = call(&["batch", "status"], &[], None);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("pipeline") && out.contains("run"), "{out}");
    let (code, out, err) = call(&["batch", "lineage", "--format", "json"], &[], None);
    assert_eq!(code, Some(0), "{err}");
    let graph: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(graph["nodes"].is_array() && graph["edges"].is_array(), "{out}");
    let (code, _, err) = call(&["batch", "rollback"], &[], None);
    assert_eq!(code, Some(1));
    assert!(err.contains("[lake]"), "{err}");
}

/// Days of `affluent train fraud`, and how long labels take.
fn training<'a>(test_from: &'a str, delay: &'a str) -> Vec<&'a str> {
    let days = ["--train-from", "2018-07-25", "--train-to", "2018-07-31", "--test-to", "2018-08-14"];
    let rest = ["--test-from", test_from, "--label-delay", delay, "--evaluate"];
    [&["train", "fraud", "--from", "no-such.parquet"][..], &days[..], &rest[..]].concat()
}

#[test]
fn training_is_refused_before_anything_is_read() {
    for (test_from, delay, code, part) in [
        ("2018-08-07", "7d", 2, "known only on 2018-08-08"),
        ("2018-08-15", "7", 2, "the last day comes before the first"),
        ("8.8.2018", "7d", 2, "write it as 2018-07-25"),
        ("2018-08-08", "soon", 2, "--label-delay soon"),
        ("2018-08-09", "8d", 2, "sees labels after 7 days"),
        ("2018-08-08", "7d", 1, "no-such.parquet"),
    ] {
        let (found, _, err) = call(&training(test_from, delay), &[], None);
        assert_eq!(found, Some(code), "{test_from} {delay}: {err}");
        assert!(err.contains(part), "{test_from} {delay}: {part} is not in: {err}");
    }
    let (code, _, err) = call(&["train", "fraud", "--from", "no-such.parquet"], &[], None);
    assert!(code == Some(2) && err.contains("--from needs --train-from"), "{err}");
    let (code, _, err) = call(&["train", "fraud", "--from", "no-such.parquet", "--again", "1"], &[], None);
    assert!(code == Some(1) && err.contains("there is no model fraud"), "{err}");
    let twice = "[learning.fraud]\ntransforms = [{ feature = 'a', by = 'log1p' }, { feature = 'a', by = { one_hot = { texts_max = 9 } } }]";
    let (code, _, err) = call(&training("2018-08-08", "7d"), &[], Some(twice));
    assert!(code == Some(2) && err.contains("a is there twice"), "{err}");
    let (code, _, err) = call(&training("2018-08-08", "7d"), &[], Some("[learning.fraud.boost]\nbudget = 9"));
    assert_eq!(code, Some(2));
    assert!(err.contains("learning.fraud.boost.budget is 9"), "{err}");
}

#[test]
fn models_are_listed_before_there_are_any() {
    let (code, _, err) = call(&["models", "list"], &[], None);
    assert_eq!(code, Some(99), "{err}");
    for command in ["promote", "rollback", "show"] {
        let (code, _, err) = call(&["models", command, "fraud"], &[], None);
        assert_eq!(code, Some(1), "{err}");
        assert!(err.contains("there is no model fraud"), "{command}: {err}");
    }
    let (code, _, err) = call(&["models", "show", "../fraud"], &[], None);
    assert_eq!(code, Some(1));
    assert!(err.contains("is no name of a model"), "{err}");
}

#[test]
fn features_are_listed_shown_and_checked() {
    let (code, out, err) = call(&["features", "list", "--entity", "card_terminal"], &[], None);
    assert_eq!(code, Some(0), "{err}");
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("feature") && lines.len() == 22, "{out}");
    assert!(out.contains("card_terminal_fraud_rate_7d") && out.contains("7d until 7d ago"), "{out}");
    let (_, out, _) = call(&["features", "list", "--freshness", "stream", "--format", "json"], &[], None);
    let list: serde_json::Value = serde_json::from_str(&out).unwrap();
    let first = list.as_array().unwrap().first().unwrap();
    assert!(first["name"].is_string() && first["freshness"] == "stream", "{first}");

    let (code, out, err) = call(&["features", "show", "customer_velocity"], &[], None);
    assert_eq!(code, Some(0), "{err}");
    assert!(
        out.contains("customer_payments_1h / customer_payments_1d") && out.contains("bytes an event"),
        "{out}"
    );
    let (_, out, _) = call(&["features", "show", "transactions", "--format", "json"], &[], None);
    let source: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(source["source"]["columns"]["amount"], "money");

    // Definitions of one's own: added, overriding, recorded, changed, wrong.
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().to_str().unwrap();
    let view = "entity = 'customer'\nsource = 'transactions'\nowner = 'me'\nfreshness = '1h'\ndescription = 'd'\n\
                [[features]]\nname = 'mine'\nversion = 1\ndescription = 'd'\naggregate = 'sum'\ncolumn = 'amount'\n\
                window = '3d'\n";
    let write = |text: &str| std::fs::write(directory.path().join("mine.toml"), text).unwrap();
    write(view);
    let environment = [("AFFLUENT__FEATURES__DEFINITIONS", folder)];
    let (code, out, err) = call(&["features", "show", "mine"], &environment, None);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("sum(amount)") && out.contains("mine.toml"), "{out}");
    let (code, out, err) = call(&["features", "check", folder, "--record"], &[], None);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("versions.lock written"), "{out}");
    write(&view.replace("'3d'", "'4d'"));
    let (code, _, err) = call(&["features", "check"], &environment, None);
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("versions.lock") && err.contains("give it version 2"), "{err}");
    write(&view.replace("'amount'", "'amuont'"));
    for arguments in [&["features", "check", folder][..], &["features", "list"]] {
        let (code, _, err) = call(arguments, &environment, None);
        assert_eq!(code, Some(2), "{err}");
        assert!(err.contains("mine.toml") && err.contains("did you mean amount?"), "{err}");
    }
}

#[test]
fn sql_without_a_lake_says_so_and_makes_none() {
    let (code, _, err) = call(&["sql", "select 1"], &[("AFFLUENT__LAKE__WAREHOUSE", "nowhere")], None);
    assert_eq!(code, Some(1));
    assert!(err.contains("nowhere/catalog.db") && err.contains("[lake]"), "{err}");
}
