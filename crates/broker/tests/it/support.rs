//! A broker for one test, and running clients against it.

use affluent_broker::{Broker, BrokerOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// The longest any client may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A running broker; stopped and its directory removed when dropped.
pub(crate) struct TestBroker {
    pub(crate) address: SocketAddr,
    pub(crate) options: BrokerOptions,
    running: Option<(CancellationToken, JoinHandle<()>)>,
    _dir: tempfile::TempDir,
}

impl TestBroker {
    pub(crate) fn start() -> Self {
        Self::with(BrokerOptions::default())
    }

    /// As the options say, but in a directory and on a port of its own.
    pub(crate) fn with(options: BrokerOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = BrokerOptions { listen, data_dir: dir.path().join("broker"), ..options };
        let mut broker = Self { address: listen, options, running: None, _dir: dir };
        broker.run();
        broker
    }

    fn run(&mut self) {
        let broker = Broker::open(self.options.clone()).unwrap();
        self.address = broker.local_addr();
        // Clients remember the port, so it stays through restarts.
        self.options.listen = self.address;
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(broker.run(stopping)).unwrap();
        });
        self.running = Some((stop, thread));
    }

    pub(crate) fn stop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            stop.cancel();
            thread.join().unwrap();
        }
    }

    /// Stops it and opens the same directory again on the same port.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.run();
    }

    pub(crate) fn bootstrap(&self) -> String {
        self.address.to_string()
    }

    /// Produces lines with kcat.
    pub(crate) fn produce(&self, topic: &str, lines: &[String], args: &[&str]) {
        let bootstrap = self.bootstrap();
        let all = [&["-P", "-b", &bootstrap, "-t", topic], args].concat();
        run_with_input("kcat", &all, &(lines.join("\n") + "\n"));
    }

    /// Everything in a topic from the beginning, one line a record in `format`.
    pub(crate) fn consume(&self, topic: &str, format: &str) -> Vec<String> {
        let bootstrap = self.bootstrap();
        let out =
            run("kcat", &["-C", "-b", &bootstrap, "-t", topic, "-o", "beginning", "-e", "-q", "-f", format]);
        out.lines().map(str::to_owned).collect()
    }

    /// Runs a script of `clients/` with the bootstrap address and `args`.
    pub(crate) fn python(&self, script: &str, args: &[&str]) -> String {
        finish(self.spawn_python(script, args), script)
    }

    pub(crate) fn spawn_python(&self, script: &str, args: &[&str]) -> Child {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/clients").join(script);
        let bootstrap = self.bootstrap();
        let path = path.to_str().unwrap();
        spawn(&python(), &[&[path, bootstrap.as_str()], args].concat())
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        self.stop();
    }
}

fn python() -> String {
    let python = std::env::var("AFFLUENT_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let probe = Command::new(&python).args(["-c", "import confluent_kafka"]).output();
    let found = probe.is_ok_and(|out| out.status.success());
    assert!(found, "{python} has no confluent-kafka: run `make setup`, or set AFFLUENT_TEST_PYTHON");
    python
}

pub(crate) fn spawn(program: &str, args: &[&str]) -> Child {
    let child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    child.unwrap_or_else(|error| panic!("{program}: {error}: run `make setup`"))
}

pub(crate) fn run(program: &str, args: &[&str]) -> String {
    run_with_input(program, args, "")
}

pub(crate) fn run_with_input(program: &str, args: &[&str], input: &str) -> String {
    let mut child = spawn(program, args);
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let feeding = std::thread::spawn(move || {
        let _ = stdin.write_all(input.as_bytes());
    });
    let out = finish(child, &format!("{program} {args:?}"));
    feeding.join().unwrap();
    out
}

/// Waits for `child` within the deadline and returns what it printed.
pub(crate) fn finish(mut child: Child, what: &str) -> String {
    let id = child.id();
    drop(child.stdin.take());
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let Ok(output) = receiver.recv_timeout(DEADLINE) else {
        let _ = Command::new("kill").arg(id.to_string()).status();
        panic!("{what} did not end within {DEADLINE:?}");
    };
    let output = output.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what} failed: {stderr}\n{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stdout).unwrap()
}

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Files with this extension anywhere below `dir`.
pub(crate) fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

pub(crate) fn lines(range: std::ops::Range<usize>, prefix: &str) -> Vec<String> {
    range.map(|n| format!("{prefix}{n}")).collect()
}
