//! Kafka Streams: its own example counts words, with a repartition topic, a compacted changelog and a group of its own
//! protocol on our broker, and goes on where it was.

use crate::{java, topic};
use affluent_testkit::Broker;
use affluent_testkit::java::Running;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const INPUT: &str = "streams-plaintext-input";
const OUTPUT: &str = "streams-wordcount-output";
const LIMIT: Duration = Duration::from_secs(120);

fn say(bootstrap: &str, lines: &str) {
    let mut kcat = Command::new("kcat");
    let mut kcat = kcat.args(["-P", "-b", bootstrap, "-t", INPUT]).stdin(Stdio::piped()).spawn().unwrap();
    kcat.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(kcat.wait().unwrap().success());
}

/// The newest count of each word.
fn counts(bootstrap: &str) -> BTreeMap<String, i64> {
    let lines = topic(bootstrap, OUTPUT, &["-s", "value=>q", "-f", "%k %s\n"]);
    let pair = |line: &String| {
        let (word, count) = line.rsplit_once(' ')?;
        Some((word.to_owned(), count.parse().ok()?))
    };
    lines.iter().filter_map(pair).collect()
}

fn start(directory: &Path, bootstrap: &str) -> Running {
    let settings = directory.join("streams.properties");
    let state = directory.join("state");
    let text =
        format!("bootstrap.servers={bootstrap}\nstate.dir={}\ncommit.interval.ms=200\n", state.display());
    std::fs::write(&settings, text).unwrap();
    let mut program = java().program("org.apache.kafka.streams.examples.wordcount.WordCountDemo", 384);
    Running::start(program.arg(settings), &directory.join("log")).unwrap()
}

#[test]
fn words_are_counted_through_a_kill() {
    let broker = Broker::start().unwrap();
    let bootstrap = broker.bootstrap_servers();
    let directory = tempfile::tempdir().unwrap();
    say(bootstrap, "all streams lead to kafka\nhello kafka streams\n");
    let mut streams = start(directory.path(), bootstrap);
    let count = |word: &str| counts(bootstrap).get(word).copied().unwrap_or_default();
    streams.until("words are counted", LIMIT, || count("kafka") == 2 && count("hello") == 1).unwrap();
    drop(streams);
    say(bootstrap, "kafka again\n");
    let mut streams = start(directory.path(), bootstrap);
    streams.until("it goes on where it was", LIMIT, || count("kafka") == 3 && count("again") == 1).unwrap();
    assert_eq!((count("all"), count("streams"), count("lead")), (1, 2, 1));
    streams.stop(LIMIT).unwrap();
}
