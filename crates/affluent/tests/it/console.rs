//! The console as people use it: in a headless Chromium, driven by `console/browse.py`. Under the demo, with everything that is streamed, learned
//! and scored; and behind tokens, where something can be changed.
//!
//! `AFFLUENT_TEST_PICTURES` names a folder for pictures of the pages (`make screenshots`).

use crate::installation::{AFFLUENT, Installation, turn};
use crate::models::model;
use affluent_bus::{Bus, BusOptions, Outgoing, ProducerOptions};
use affluent_model::names::TOPIC_CLICKS;
use bytes::Bytes;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

const ADMIN: &str = "admin-admin-admin-1";
const READER: &str = "reader-reader-reader-1";
const BROWSE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/console/browse.py");
/// Every page is opened several times, beside everything else on two cores.
const BROWSING: Duration = Duration::from_secs(600);
const DEMO: Duration = Duration::from_secs(300);
const LIMIT: Duration = Duration::from_secs(60);

/// Whether there is a browser; says so where there is none.
fn has_browser() -> bool {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = names.iter().any(|name| {
        let mut command = std::process::Command::new(name);
        command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    });
    if !found {
        eprintln!("skipped: no chromium found; run `make setup`");
    }
    found
}

/// Goes through these steps; nothing goes wrong.
async fn browse(url: &str, arguments: &[&str], log: &str) {
    let python = std::env::var("AFFLUENT_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut command = Command::new(&python);
    command.arg("-B").arg(BROWSE).arg(url).args(arguments).kill_on_drop(true);
    let output = tokio::time::timeout(BROWSING, command.output()).await.unwrap().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{python} {BROWSE}:\n{said}\n{log}");
    eprintln!("{said}");
}

/// The lines of a stream.
fn read(stream: impl AsyncRead + Unpin + Send + 'static, into: mpsc::UnboundedSender<String>) {
    let mut lines = BufReader::new(stream).lines();
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            // Nobody reads any more once the address is known.
            let _ = into.send(line);
        }
    });
}

/// The console's address, as a demo says it.
async fn address(demo: &mut Child) -> String {
    let (into, mut lines) = mpsc::unbounded_channel();
    read(demo.stdout.take().unwrap(), into.clone());
    read(demo.stderr.take().unwrap(), into);
    let mut said = String::new();
    let found = async {
        while let Some(line) = lines.recv().await {
            said += &line;
            said.push('\n');
            if let Some(at) = line.find("http://").filter(|_| line.contains("console")) {
                return line[at..]
                    .split_whitespace()
                    .next()
                    .unwrap()
                    .trim_end_matches(['/', '.', ','])
                    .to_owned();
            }
        }
        String::new()
    };
    let found = tokio::time::timeout(DEMO, found).await.unwrap_or_default();
    assert!(!found.is_empty(), "it does not say where its console is:\n{said}");
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_of_a_demo_works_in_a_browser() {
    if !has_browser() {
        return;
    }
    let _turn = turn().await;
    let scratch = tempfile::tempdir().unwrap();
    let mut command = Command::new(AFFLUENT);
    command.args(["demo", "--seconds", "20", "--rate", "200", "--no-models", "--keep"]);
    command.arg(scratch.path().join("demo")).current_dir(scratch.path()).env_remove("FAILPOINTS");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut demo = command.spawn().unwrap();
    let url = address(&mut demo).await;
    let mut arguments = vec!["pages", "live", "keyboard", "french", "desk", "query", "features", "report"];
    let pictures = std::env::var("AFFLUENT_TEST_PICTURES").unwrap_or_default();
    if !pictures.is_empty() {
        arguments.extend(["--pictures", pictures.as_str()]);
    }
    browse(&url, &arguments, "").await;
    // It stops its private PostgreSQL, too.
    let id = demo.id().expect("it has ended").to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    tokio::time::timeout(LIMIT, demo.wait()).await.expect("it does not end").unwrap();
}

/// A click that nobody can read.
async fn send_garbage(broker: &str) {
    let bus = Bus::new(BusOptions { bootstrap_servers: broker.to_owned(), ..BusOptions::default() }).unwrap();
    let producer = bus.producer(ProducerOptions::default()).unwrap();
    let garbage = Outgoing {
        topic: TOPIC_CLICKS.into(),
        partition: None,
        key: None,
        value: Some(Bytes::from_static(b"{\"no such format\"")),
        headers: Vec::new(),
        timestamp_ms: None,
    };
    producer.send(garbage).await.unwrap();
    producer.flush(Duration::from_secs(10)).await.unwrap();
}

/// Two versions of a model that was learned elsewhere.
async fn import_models(installation: &Installation) {
    let scratch = tempfile::tempdir().unwrap();
    for left in [-1.0, -2.0] {
        let file = scratch.path().join("model.json");
        std::fs::write(&file, model(left)).unwrap();
        let features = "card_payment_amount,card_customer_payments_1d";
        let import = ["models", "import", file.to_str().unwrap(), "--name", "fraud", "--features", features];
        let (status, said) = installation.run(&import, LIMIT).await;
        assert!(status.success(), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_tokens_everybody_does_what_they_may() {
    if !has_browser() {
        return;
    }
    let _turn = turn().await;
    let mut installation = Installation::of_events();
    let token = |token: &str, role: &str| {
        format!("{{ name = '{role}', token = '{token}', roles = ['{role}'], requests_per_s = 0 }}")
    };
    let tokens = format!("[{}, {}]", token(ADMIN, "admin"), token(READER, "read"));
    installation.set("http.tokens", Some(&tokens));
    import_models(&installation).await;
    installation.start(None);
    installation.wait_ready().await;
    send_garbage(&installation.bootstrap()).await;
    let arguments =
        ["--token", ADMIN, "--reader", READER, "paint", "pages", "live", "models", "letters", "batch"];
    browse(&installation.http_url(), &arguments, &installation.tail()).await;
    let (status, _) = installation.terminate(LIMIT).await;
    assert!(status.success(), "{}", installation.tail());
}
