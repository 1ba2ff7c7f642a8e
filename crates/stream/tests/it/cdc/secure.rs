//! A server that asks for a password and speaks TLS: what each `sslmode` checks, and what it says.

use super::rig::{Rig, run};
use affluent_telemetry::health::State;
use affluent_testkit::{Database, Postgres, PostgresOptions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

const PASSWORD: &str = "s3cret-word";

/// A cluster with a certificate for the name `localhost` alone, and the certificate of its authority.
async fn secured() -> (Postgres, PathBuf) {
    let options = PostgresOptions { password: Some(PASSWORD.to_owned()), ..PostgresOptions::default() };
    let cluster = tokio::task::spawn_blocking(|| Postgres::start(options)).await.unwrap().unwrap();
    let directory = cluster.directory();
    let at = |name: &str| directory.join(name);
    let authority = at("ca.pem");
    openssl(
        directory,
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem",
    );
    openssl(directory, "req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr");
    std::fs::write(at("san"), "subjectAltName=DNS:localhost").unwrap();
    openssl(
        directory,
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out server.pem",
    );
    // The server takes a key of its own account only.
    let owner = std::fs::metadata(directory).unwrap();
    for name in ["server.key", "server.pem"] {
        chown(at(name), Some(owner.uid()), Some(owner.gid())).unwrap();
        std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let client = cluster.database("postgres").connect().await.unwrap();
    for (name, file) in [("ssl_cert_file", "server.pem"), ("ssl_key_file", "server.key")] {
        let sql = format!("ALTER SYSTEM SET {name} = '{}'", at(file).display());
        client.batch_execute(&sql).await.unwrap();
    }
    client.batch_execute("ALTER SYSTEM SET ssl = on").await.unwrap();
    client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    while client.query_one("SHOW ssl", &[]).await.unwrap().get::<_, String>(0) != "on" {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    (cluster, authority)
}

fn openssl(directory: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

fn url(database: &Database, host: &str, password: &str, mode: &str, authority: &Path) -> String {
    let Database { user, port, name, .. } = database;
    let authority = authority.display();
    format!("postgres://{user}:{password}@{host}:{port}/{name}?sslmode={mode}&sslrootcert={authority}")
}

#[test]
fn each_sslmode_checks_what_it_says_and_passwords_travel_by_scram() {
    run(async {
        let (cluster, authority) = secured().await;
        for (host, mode) in [("localhost", "verify-full"), ("127.0.0.1", "verify-ca")] {
            let database = cluster.fresh_database().await.unwrap();
            let mut rig = Rig::on(database.clone(), "CREATE TABLE items (id int PRIMARY KEY)").await;
            rig.options.connection = url(&database, host, PASSWORD, mode, &authority);
            rig.start_ready().await;
            rig.sql("INSERT INTO items VALUES (1)").await;
            rig.await_changes("items", 1).await;
            let sql = "SELECT bool_and(s.ssl) FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid) \
                       WHERE a.datname = current_database() AND a.application_name = 'affluent cdc'";
            assert_eq!(rig.value(sql).await, "t", "{mode}: every session is encrypted");
            rig.stop().await;
        }
        let database = cluster.fresh_database().await.unwrap();
        let mut rig = Rig::on(database.clone(), "CREATE TABLE items (id int PRIMARY KEY)").await;
        // The certificate is for another name.
        rig.options.connection = url(&database, "127.0.0.1", PASSWORD, "verify-full", &authority);
        rig.start();
        rig.until("a word about the certificate", async |rig| {
            let state = rig.health.snapshot().get("cdc").cloned();
            matches!(state, Some(State::Starting(why)) if why.contains("certificate"))
        })
        .await;
        rig.kill().await;
        // An authority that did not sign it.
        let other = cluster.directory().join("server.pem");
        rig.options.connection = url(&database, "localhost", PASSWORD, "verify-full", &other);
        rig.start();
        rig.until("a word about the authority", async |rig| {
            let state = rig.health.snapshot().get("cdc").cloned();
            matches!(state, Some(State::Starting(why)) if why.contains("certificate"))
        })
        .await;
        rig.kill().await;
        rig.options.connection = url(&database, "localhost", "wrong", "require", &authority);
        rig.start();
        let error = rig.failure().await.to_string();
        assert!(error.contains("password") && !error.contains("wrong"), "{error}");
    });
}
