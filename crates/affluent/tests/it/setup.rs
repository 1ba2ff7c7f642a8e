//! From a database of one's own to a platform that captures it: looked at, checked, given a role that may no more than it must.

use crate::installation::{Installation, turn};
use crate::platform::affluent;
use affluent_testkit::{Database, Postgres};
use serde_json::Value;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);
const SCHEMA: &str = include_str!("../../../../deploy/oltp/schema.sql");
const ROLE: &str = include_str!("../../../../deploy/oltp/cdc_role.sql");

/// `affluent config check --connect`: whether it is content, and what it says of `part`, outcome and text.
async fn checked(installation: &Installation, part: &str) -> (bool, Vec<(String, String)>) {
    let arguments = ["config", "check", "--connect", "--format", "json"];
    let said = installation.begin(&arguments, None).end(LIMIT).await;
    let told: Value = serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    assert_eq!(told["ok"], said.status.success(), "{told}");
    let text = |trial: &Value, key: &str| trial[key].as_str().unwrap().to_owned();
    let trials = told["trials"].as_array().unwrap().iter().filter(|trial| trial["part"] == part);
    let trials = trials
        .map(|trial| (text(trial, "outcome"), format!("{} {}", text(trial, "what"), text(trial, "remedy"))));
    (said.status.success(), trials.collect())
}

/// Who may only log in, named as the database is; so is the publication of [`ROLE`] then.
async fn with_role_of_its_own(database: &Database) -> Database {
    let client = database.connect().await.unwrap();
    client.batch_execute(SCHEMA).await.unwrap();
    client.batch_execute(&format!("create role {} login", database.name)).await.unwrap();
    let user = format!("postgres://{}@", database.name);
    Database { url: database.url.replace("postgres://postgres@", &user), ..database.clone() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_least_role_is_enough_and_a_lesser_one_is_told_what_it_lacks() {
    let _turn = turn().await;
    let owned = Postgres::shared().fresh_database().await.unwrap();
    let database = with_role_of_its_own(&owned).await;
    let owner = owned.connect().await.unwrap();
    let mut installation = Installation::new(&database, "");

    let (content, trials) = checked(&installation, "cdc").await;
    assert!(!content);
    let failed: Vec<&str> =
        trials.iter().filter(|(how, _)| how == "failed").map(|(_, what)| what.as_str()).collect();
    assert_eq!(failed.len(), 3, "{trials:?}");
    for part in ["may not replicate", "may not read public.customers", "create publication"] {
        assert!(failed.iter().any(|what| what.to_lowercase().contains(part)), "{part}: {failed:?}");
    }
    let (_, scores) = checked(&installation, "score").await;
    assert_eq!(scores[0].0, "failed", "{scores:?}");

    owner.batch_execute(&ROLE.replace("affluent", &owned.name)).await.unwrap();
    let (content, trials) = checked(&installation, "cdc").await;
    assert!(content, "{trials:?}");
    assert!(trials[0].1.contains("5 tables selected"), "{trials:?}");
    let (_, scores) = checked(&installation, "score").await;
    assert_eq!(scores[0].0, "ok", "{scores:?}");

    // What was granted is enough for the whole way.
    owner
        .batch_execute(
            "insert into merchants (name, category_code, country, currency) values ('m', '5411', 'FR', 'EUR'); \
             insert into customers (email, full_name, country) select n || '@example.com', 'n', 'FR' from generate_series(1, 500) n; \
             insert into transactions (id, customer_id, merchant_id, amount, currency, status, payment_method) \
             select gen_random_uuid(), c.id, m.id, 12.5, 'EUR', 'captured', 'card' from customers c, merchants m",
        )
        .await
        .unwrap();
    installation.start(None);
    installation.wait_ready().await;
    owner
        .batch_execute(
            "update transactions set status = 'refunded'; delete from transactions where random() < 0.1",
        )
        .await
        .unwrap();
    installation.verify().await;
    // A platform that runs has its ports, and that is no fault.
    let (content, ports) = checked(&installation, "http.listen").await;
    assert!(content && ports[0].0 == "advice", "{ports:?}");
    installation.terminate(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_starting_configuration_is_written_from_a_database() {
    let database = Postgres::shared().fresh_database().await.unwrap();
    let client = database.connect().await.unwrap();
    let tables = "create schema till; create table till.clients (id int primary key, courriel text, nom_complet text); \
                  create table till.journal (line text)";
    client.batch_execute(tables).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let call = |arguments: &[&str], secret: &str| {
        let output = affluent(directory.path()).args(arguments).env("PGPASSWORD", secret).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let given = database.url.replace("postgres://postgres@", "postgres://postgres:hunter2@");
    let init = ["config", "init", "--connection", &given, "--out", "mine.toml"];
    let (code, out, err) = call(&init, "");
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("lacks nothing"), "{out}");
    let written = std::fs::read_to_string(directory.path().join("mine.toml")).unwrap();
    for part in [
        "postgres:${env:PGPASSWORD}@",
        "tables = [\"till.*\"]",
        "till.journal has no primary key",
        "REPLICA IDENTITY FULL",
    ] {
        assert!(written.contains(part), "{part} is not in:\n{written}");
    }
    assert!(!written.contains("hunter2"));
    let (code, shown, err) = call(&["--config", "mine.toml", "config", "show"], "hunter2");
    assert_eq!(code, Some(0), "{err}");
    assert!(
        shown.contains("\"till.clients.courriel\" = \"token\"")
            && shown.contains("\"till.clients.nom_complet\" = \"mask\""),
        "{shown}"
    );

    // It is tried as it stands, and nothing was made by looking.
    let (code, out, err) = call(&["--config", "mine.toml", "config", "check", "--connect"], "hunter2");
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("2 tables selected") && out.contains("-> ALTER TABLE"), "{out}");
    assert!(!directory.path().join("data").exists());
    let count = "select count(*) from pg_publication";
    assert_eq!(client.query_one(count, &[]).await.unwrap().get::<_, i64>(0), 0);

    // A file is not overwritten, and who is not there is told so.
    let (code, _, err) = call(&init, "");
    assert!(code == Some(2) && err.contains("is there already"), "{err}");
    let (code, _, err) = call(&["config", "init"], "");
    assert!(code == Some(2) && err.contains("--connection"), "{err}");
    let (code, _, err) = call(&["config", "init", "--connection", "postgresql://me@127.0.0.1:1/shop"], "");
    assert!(code == Some(1) && err.contains("look at the database"), "{err}");
    let away = [
        ("AFFLUENT__CDC__CONNECTION", "postgresql://me@127.0.0.1:1/shop"),
        ("AFFLUENT__BUS__BOOTSTRAP_SERVERS", "127.0.0.1:1"),
    ];
    let output =
        affluent(directory.path()).args(["config", "check", "--connect"]).envs(away).output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{out}");
    for part in
        ["FAILED  cdc", "-> does cdc.connection name", "FAILED  bus", "-> is a broker listening there"]
    {
        assert!(out.contains(part), "{part} is not in:\n{out}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_that_is_there_is_tried_with_a_record() {
    let _turn = turn().await;
    let mut installation = Installation::of_events();
    installation.start_roles(&["broker", "registry", "api"]);
    installation.wait_ready().await;
    let directory = tempfile::tempdir().unwrap();
    let output = affluent(directory.path())
        .args(["config", "check", "--connect"])
        .env("AFFLUENT__BUS__BOOTSTRAP_SERVERS", installation.bootstrap())
        .env("AFFLUENT__REGISTRY__URL", installation.registry_url())
        .output()
        .unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{out}");
    assert!(out.contains("oltp.check made, written and read, deleted again"), "{out}");
    assert!(out.contains("subjects"), "{out}");
    installation.terminate(LIMIT).await;
}
