//! The embedded broker under programs of Java that nobody here wrote: Kafka's own measuring and verifying tools, its
//! console tools of two versions, Kafka Streams, and a Kafka Connect worker.
//!
//! Needs `AFFLUENT_TEST_CONNECT`, a directory of jars; `make interop` fetches them.
#![allow(clippy::unwrap_used)] // a helper of a test may fail the test, too

mod connect;
mod streams;
mod tools;

use affluent_testkit::connect::jars;
use affluent_testkit::java::Java;
use std::process::Command;

fn java() -> Java {
    jars().expect("AFFLUENT_TEST_CONNECT names a directory of jars; `make interop` fetches them")
}

/// What the program printed, at its good end.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}\n{errors}", output.status);
    said
}

/// Every record of a topic, in the form that kcat is told; a topic that is not there yet has none.
fn topic(bootstrap: &str, name: &str, form: &[&str]) -> Vec<String> {
    let mut kcat = Command::new("kcat");
    kcat.args(["-C", "-b", bootstrap, "-t", name, "-o", "beginning", "-e", "-q"]).args(form);
    let output = kcat.output().unwrap_or_else(|error| panic!("kcat: {error}; run `make setup`"));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}
