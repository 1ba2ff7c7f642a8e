//! Who is let in, what is read, and what clients that mean no good can do.

use crate::endpoint::{Endpoint, LIMIT, code, message, refusal, role, rows, user};
use crate::warehouse::Warehouse;
use affluent_bi::{BiOptions, Service, TlsOptions};
use affluent_telemetry::health::Health;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_postgres_rustls::MakeRustlsConnect;

const PASSWORD: &str = "correct horse";

async fn paid() -> Warehouse {
    let warehouse = Warehouse::new().await;
    warehouse.pay(&[(1, Some("a"), "1.0000", "EUR"), (2, None, "2.5000", "JPY")]).await;
    warehouse.publish().await;
    warehouse
}

fn with_users() -> BiOptions {
    BiOptions {
        users: vec![
            user("ana", PASSWORD, &["marts"]),
            user("bo", PASSWORD, &["codes"]),
            user("cy", &postgres_protocol::password::scram_sha_256(PASSWORD.as_bytes()), &["codes"]),
        ],
        roles: vec![role("marts", &["dwh"], &[]), role("codes", &[], &["dwh.currencies"])],
        ..BiOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_right_password_lets_in() {
    let warehouse = paid().await;
    let endpoint = Endpoint::start(&warehouse, with_users()).await;
    for name in ["ana", "cy"] {
        let client = endpoint.connect(&format!("user={name} password='{PASSWORD}'")).await.unwrap();
        assert_eq!(rows(&client, "select count(*) from dwh.currencies").await, ["2"]);
    }
    for parameters in [
        "user=ana password='wrong horse'",
        "user=ana password=''",
        "user=ana password='correct horse '",
        "user=affluent password=''",
        "user=nobody password='correct horse'",
    ] {
        let error = endpoint.connect(parameters).await.err().unwrap();
        assert_eq!(code(&error), "28P01", "{parameters}");
    }
    let error =
        endpoint.connect(&format!("user=ana password='{PASSWORD}' dbname=other")).await.err().unwrap();
    assert_eq!(code(&error), "3D000");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_users_one_is_trusted_on_this_machine_and_nobody_else() {
    let warehouse = paid().await;
    let endpoint = Endpoint::start(&warehouse, BiOptions::default()).await;
    assert_eq!(rows(&endpoint.client().await, "select 1").await, ["1"]);
    let error = endpoint.connect("user=postgres password=postgres").await.err().unwrap();
    assert_eq!(code(&error), "28P01");
    let everywhere = BiOptions { listen: "0.0.0.0:0".parse().unwrap(), ..BiOptions::default() };
    let error = Service::new(everywhere, warehouse.lake.clone(), Health::default()).err().unwrap();
    assert!(error.to_string().contains("bi.users"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_role_grants_is_not_read() {
    let warehouse = paid().await;
    let endpoint = Endpoint::start(&warehouse, with_users()).await;
    let ana = endpoint.connect(&format!("user=ana password='{PASSWORD}'")).await.unwrap();
    let bo = endpoint.connect(&format!("user=bo password='{PASSWORD}'")).await.unwrap();
    assert_eq!(rows(&ana, "select count(*) from dwh.fact_payments").await, ["2"]);
    assert_eq!(rows(&bo, "select count(*) from dwh.currencies").await, ["2"]);
    for query in [
        "select * from dwh.fact_payments",
        "select * from affluent.dwh.fact_payments",
        "select * from \"dwh\".\"fact_payments\"",
        "select * from dwh.\"fact_payments$files\"",
        "select code from dwh.currencies where exists (select 1 from dwh.fact_payments)",
        "with p as (select * from dwh.fact_payments) select * from p",
        "select (select max(amount) from dwh.fact_payments)",
        "explain select * from dwh.fact_payments",
        "copy dwh.fact_payments to stdout",
        "select * from raw.transactions",
    ] {
        let refused = refusal(&bo, query).await;
        assert!(["42501", "42P01"].contains(&refused.as_str()), "{query}: {refused}");
    }
    assert_eq!(refusal(&bo, "select * from dwh.fact_payments").await, "42501");
    assert!(bo.prepare("select * from dwh.fact_payments where payment = $1").await.is_err());
    let told = "select table_name from information_schema.tables where table_schema = 'dwh' order by 1";
    assert_eq!(rows(&bo, told).await, ["currencies"]);
    assert_eq!(rows(&ana, told).await, ["currencies", "fact_payments"]);
}

/// Of a name that is not there only those are proposed that may be known.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_role_grants_is_not_told_of() {
    let warehouse = paid().await;
    let endpoint = Endpoint::start(&warehouse, with_users()).await;
    let ana = endpoint.connect(&format!("user=ana password='{PASSWORD}'")).await.unwrap();
    for (query, hint) in [
        ("select * from dwh.transaction", None),
        ("select * from dwh.fact_payment", Some("did you mean dwh.fact_payments?")),
    ] {
        let error = ana.simple_query(query).await.unwrap_err();
        assert_eq!((code(&error).as_str(), error.as_db_error().unwrap().hint()), ("42P01", hint), "{query}");
    }
}

/// Tools put what people type into texts, with the quotes that PostgreSQL wants. It never gets out of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_stays_a_value() {
    let warehouse = paid().await;
    let endpoint = Endpoint::start(&warehouse, BiOptions::default()).await;
    let client = endpoint.client().await;
    for (query, expected) in [
        (r"select count(*) from dwh.currencies where code = '\'' or 1 = 1 --'", "0"),
        (r"select '\'''", r"\'"),
        ("select 'two '''' quotes'", "two '' quotes"),
        (r#"select code from (select 'X' as code, 'Y' as "a\"", code") t"#, "X"),
    ] {
        assert_eq!(rows(&client, query).await, [expected], "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written() {
    let warehouse = paid().await;
    let endpoint = Endpoint::start(&warehouse, BiOptions::default()).await;
    let client = endpoint.client().await;
    for query in [
        "insert into dwh.currencies values ('X', 1)",
        "update dwh.currencies set digits = 3",
        "delete from dwh.currencies",
        "truncate dwh.currencies",
        "create table t (a int)",
        "create view v as select 1",
        "drop table dwh.currencies",
        "alter table dwh.currencies add b int",
        "copy dwh.currencies from stdin",
        "/* select */ drop schema dwh",
        "select 1; drop table dwh.currencies",
    ] {
        assert_eq!(refusal(&client, query).await, "25006", "{query}");
    }
    // What the first word does not give away is the engine's to refuse.
    for query in [
        "with x as (select 'X' as code, 1 as digits) insert into dwh.currencies select * from x",
        "explain analyze insert into dwh.currencies values ('X', 1)",
        "select 1 into t",
        "copy (select 1) to '/tmp/affluent-must-not-be-there'",
        "select * from '/etc/passwd'",
    ] {
        refusal(&client, query).await;
    }
    assert_eq!(rows(&client, "select count(*) from dwh.currencies").await, ["2"]);
}

fn openssl(directory: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_nothing_is_said_in_the_clear() {
    let files = tempfile::tempdir().unwrap();
    openssl(
        files.path(),
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE -keyout key.pem -out cert.pem",
    );
    let certificate_file = files.path().join("cert.pem");
    let tls =
        TlsOptions { certificate_file: certificate_file.clone(), key_file: files.path().join("key.pem") };
    let warehouse = paid().await;
    let endpoint = Endpoint::start(&warehouse, BiOptions { tls: tls.clone(), ..with_users() }).await;
    let login = format!("user=ana password='{PASSWORD}'");
    let error = endpoint.connect(&format!("{login} sslmode=disable")).await.err().unwrap();
    assert_eq!(code(&error), "28000");

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&certificate_file).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = MakeRustlsConnect::new(config);
    let text = endpoint.parameters(&format!("{login} sslmode=require"));
    let (client, connection) = tokio_postgres::connect(&text, connector.clone()).await.unwrap();
    tokio::spawn(connection);
    assert_eq!(rows(&client, "select count(*) from dwh.currencies").await, ["2"]);
    let wrong = endpoint.parameters("user=ana password=wrong-horse sslmode=require");
    let error = tokio_postgres::connect(&wrong, connector).await.err().unwrap();
    assert_eq!(code(&error), "28P01");

    // What cannot be read is not left out.
    let missing = TlsOptions { certificate_file: files.path().join("no.pem"), ..tls };
    let options = BiOptions { tls: missing, ..with_users() };
    let error = Service::new(options, warehouse.lake.clone(), Health::default()).err().unwrap();
    assert!(error.to_string().contains("bi.tls.certificate_file"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_lie_end_their_own_connection_only() {
    let warehouse = paid().await;
    let endpoint = Endpoint::start(&warehouse, BiOptions::default()).await;
    let witness = endpoint.client().await;
    // Before the password: too long, too short, not of the protocol, and what only sessions may say.
    for bytes in [
        &b"\0\x98\x96\x80\0\x03\0\0"[..],
        b"\0\0\0\x04",
        b"\0\0\0\x08\0\x03\0\0",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"\0\0\0\x0c\0\x03\0\0user",
    ] {
        let mut stream = TcpStream::connect(endpoint.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        assert_closed(&mut stream).await;
    }
    // In a session: longer than it may be, shorter than it says.
    for bytes in [
        &b"Q\x7f\xff\xff\xff"[..],
        b"Q\0\x20\0\x05",
        b"Q\0\0\0\x03",
        b"P\0\0\0\x04",
        b"B\0\0\0\x08\0\0\xff\xff",
        b"p\0\0\0\x09SCRAM",
        b"?\0\0\0\x04",
    ] {
        let mut stream = endpoint.raw().await;
        stream.write_all(bytes).await.unwrap();
        let (kind, body) = message(&mut stream).await.unwrap();
        let told = String::from_utf8_lossy(&body).into_owned();
        assert!(kind == b'E' && told.contains("FATAL") && told.contains("08P01"), "{bytes:?}: {told}");
        assert_closed(&mut stream).await;
    }
    assert_eq!(rows(&witness, "select 1").await, ["1"]);
}

/// The server says what it has to say, and leaves.
async fn assert_closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let read = tokio::time::timeout(LIMIT, stream.read_to_end(&mut rest)).await;
    // A reset is an end, too.
    assert!(read.is_ok(), "the connection stays open");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_cut_and_holds_nobody_up() {
    let warehouse = paid().await;
    let options = BiOptions { statement_timeout_s: 2, max_running: 1, ..BiOptions::default() };
    let endpoint = Endpoint::start(&warehouse, options).await;
    let witness = endpoint.client().await;
    let mut slow = endpoint.raw().await;
    let text = b"select a.value as x, b.value as y from generate_series(1, 100000) a, generate_series(1, 100000) b\0";
    slow.write_all(b"Q").await.unwrap();
    slow.write_all(&u32::try_from(text.len() + 4).unwrap().to_be_bytes()).await.unwrap();
    slow.write_all(text).await.unwrap();
    // There is one place for statements; the slow client gives it up.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        match witness.simple_query("select count(*) from dwh.fact_payments").await {
            Ok(_) => {}
            Err(error) => assert_eq!(code(&error), "57014"),
        }
    }
    assert_eq!(rows(&witness, "select count(*) from dwh.fact_payments").await, ["2"]);
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(LIMIT, slow.read_to_end(&mut bytes)).await;
    assert!(read.is_ok(), "the connection stays open");
    // What was on its way, of ten thousand million rows.
    assert!(bytes.len() < 64 << 20, "{} bytes were made for nobody", bytes.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_idle_connections_cost_little() {
    // Both ends are here.
    let files = rlimit::increase_nofile_limit(4_096).unwrap();
    assert!(files >= 2_200, "only {files} files may be open");
    let warehouse = paid().await;
    let endpoint = Endpoint::start(&warehouse, BiOptions::default()).await;
    let client = endpoint.client().await;
    assert_eq!(rows(&client, "select count(*) from dwh.fact_payments").await, ["2"]);
    let before = resident_bytes();
    let mut idle = Vec::new();
    for _ in 0..1_000 {
        idle.push(endpoint.raw().await);
    }
    let each = resident_bytes().saturating_sub(before) / idle.len();
    assert!(each < 64 << 10, "{each} bytes a connection");
    assert_eq!(rows(&client, "select count(*) from dwh.fact_payments").await, ["2"]);
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}
