//! An installation under test: the real binary with a config file and a data directory of its own,
//! started, killed, asked and verified as an operator would.
//!
//! What is captured and what is done to it is the business of the tests. Its broker is the embedded one, or an Apache
//! Kafka of its own where one is asked for ([`ApacheKafka::asked_for`]). Invariant: no process started here outlives
//! the test, also when the test is killed.

use affluent_bus::BusOptions;
use affluent_lake::{Lake, LakeOptions, Scan};
use affluent_model::Value;
use affluent_testkit::{ApacheKafka, Database, free_ports};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use uuid::Uuid;

/// The binary under test.
pub(crate) const AFFLUENT: &str = env!("CARGO_BIN_EXE_affluent");

/// `AFFLUENT_TEST_BINARY` names another one, such as the one to be released.
fn affluent() -> OsString {
    std::env::var_os("AFFLUENT_TEST_BINARY").unwrap_or_else(|| AFFLUENT.into())
}

/// Starting includes recovery of every store after a kill.
pub(crate) const START: Duration = Duration::from_secs(60);
/// Two cores shared with everything else that is under test.
const VERIFY: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(15);
const LOG_TAIL: usize = 60;

/// One heavy test at a time: they measure time limits of a machine that they would share.
pub(crate) async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

/// How the binary is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shell {
    /// As it is.
    None,
    /// Writes beyond the limit of the file size fail instead of killing the process.
    IgnoreFileLimit,
}

pub(crate) struct Installation {
    directory: PathBuf,
    data: PathBuf,
    /// What is started: the binary under test, or another version of it.
    binary: OsString,
    /// What is left of it is removed with this one.
    owns_directory: bool,
    http: u16,
    broker: u16,
    /// In place of the embedded broker.
    kafka: Option<Arc<ApacheKafka>>,
    registry: u16,
    bi: u16,
    shell: Shell,
    /// Keys of the configuration that what is started from now on has otherwise, as variables of its environment.
    settings: BTreeMap<String, String>,
    child: Option<Child>,
    started: Instant,
    runs: u32,
}

impl Installation {
    /// An installation that captures `database`, with `cdc` as further lines of that section of its
    /// config file. Nothing is started.
    pub(crate) fn new(database: &Database, cdc: &str) -> Self {
        let directory = std::env::temp_dir().join(affluent_testkit::unique("affluent-system"));
        std::fs::create_dir_all(&directory).unwrap();
        Self::with_data_in(&directory.join("data"), directory.clone(), database, cdc)
    }

    /// The same with its data elsewhere.
    pub(crate) fn with_data_in(data: &Path, directory: PathBuf, database: &Database, cdc: &str) -> Self {
        Self::configured(data, directory, &captured(database, cdc))
    }

    /// An installation that captures `database` and has these sections in its config file too.
    pub(crate) fn with_sections(database: &Database, sections: &str) -> Self {
        let directory = std::env::temp_dir().join(affluent_testkit::unique("affluent-system"));
        std::fs::create_dir_all(&directory).unwrap();
        let sections = format!("{}{sections}", captured(database, ""));
        Self::configured(&directory.join("data"), directory.clone(), &sections)
    }

    /// An installation that captures nothing: events come in, and that is all.
    pub(crate) fn of_events() -> Self {
        let directory = std::env::temp_dir().join(affluent_testkit::unique("affluent-system"));
        std::fs::create_dir_all(&directory).unwrap();
        Self::configured(&directory.join("data"), directory.clone(), "")
    }

    /// The same with its data there.
    pub(crate) fn of_events_in(data: &Path, directory: PathBuf) -> Self {
        Self::configured(data, directory, "")
    }

    fn configured(data: &Path, directory: PathBuf, sections: &str) -> Self {
        let [http, broker, registry, bi] = free_ports();
        let kafka = ApacheKafka::asked_for().map(Arc::new);
        let config = format!(
            "data_dir = {data:?}\n{sections}{bus}\
             [lake.maintenance]\ninterval_s = 2\ncompact_files_min = 4\nkeep_all_s = 5\n\
             [stage]\ninterval_ms = 500\n\
             [http]\nlisten = \"127.0.0.1:{http}\"\n\
             [broker]\nlisten = \"127.0.0.1:{broker}\"\n\
             [registry_server]\nlisten = \"127.0.0.1:{registry}\"\n\
             [bi]\nlisten = \"127.0.0.1:{bi}\"\n",
            bus = kafka.as_deref().map(bus_section).unwrap_or_default(),
        );
        std::fs::write(directory.join("affluent.toml"), config).unwrap();
        let is_apache = kafka.is_some();
        let mut installation = Installation {
            directory,
            data: data.to_owned(),
            binary: affluent(),
            owns_directory: true,
            http,
            broker,
            kafka,
            registry,
            bi,
            shell: Shell::None,
            settings: BTreeMap::new(),
            child: None,
            started: Instant::now(),
            runs: 0,
        };
        if is_apache {
            // As on the embedded broker: a process that comes back does not wait for its own session to end.
            for sink in ["sink_documents", "sink_events", "sink_lake"] {
                installation.set(&format!("{sink}.instance_id"), Some(sink));
            }
        }
        installation
    }

    /// Another process of the same installation.
    pub(crate) fn beside(&self) -> Self {
        Installation {
            directory: self.directory.clone(),
            data: self.data.clone(),
            binary: self.binary.clone(),
            owns_directory: false,
            settings: self.settings.clone(),
            kafka: self.kafka.clone(),
            child: None,
            started: Instant::now(),
            runs: 0,
            ..*self
        }
    }

    /// Another process of the same installation, with an HTTP interface of its own.
    pub(crate) fn beside_with_http(&self) -> Self {
        let [http] = free_ports();
        let mut beside = self.beside();
        beside.http = http;
        beside.set("http.listen", Some(&format!("127.0.0.1:{http}")));
        beside
    }

    /// What is started from now on.
    pub(crate) fn use_binary(&mut self, binary: OsString) {
        self.binary = binary;
    }

    /// The Apache Kafka that is its broker, where it is not the embedded one.
    pub(crate) fn kafka(&self) -> Option<Arc<ApacheKafka>> {
        self.kafka.clone()
    }

    /// Where its HTTP interface, its broker and its registry are.
    pub(crate) fn http_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }

    pub(crate) fn bootstrap(&self) -> String {
        match &self.kafka {
            Some(kafka) => kafka.bootstrap_servers(),
            None => format!("127.0.0.1:{}", self.broker),
        }
    }

    /// How a client of its bus is made.
    pub(crate) fn bus(&self) -> BusOptions {
        let properties = self.kafka.as_ref().map(|kafka| kafka.client_properties()).unwrap_or_default();
        BusOptions { bootstrap_servers: self.bootstrap(), properties, ..BusOptions::default() }
    }

    pub(crate) fn registry_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.registry)
    }

    /// Its warehouse, for clients of PostgreSQL.
    pub(crate) fn bi_url(&self) -> String {
        format!("postgres://affluent@127.0.0.1:{}/affluent", self.bi)
    }

    /// The directory of its stores.
    pub(crate) fn data(&self) -> PathBuf {
        self.data.clone()
    }

    /// The way to start it from now on.
    pub(crate) fn through(mut self, shell: Shell) -> Self {
        self.shell = shell;
        self
    }

    /// The event ids in a table of its lake, each as often as it is there.
    pub(crate) async fn events_in_lake(&self, zone: &str, table: &str) -> Vec<Uuid> {
        let ids = self.texts_in_lake(zone, table, "event_id").await;
        ids.iter().map(|id| Uuid::parse_str(id).unwrap()).collect()
    }

    /// A column of text of a table of its lake, in no order; empty where there is no such table.
    pub(crate) async fn texts_in_lake(&self, zone: &str, table: &str, column: &str) -> Vec<String> {
        let options = LakeOptions { warehouse: self.data().join("lake"), ..LakeOptions::default() };
        let lake = Lake::open(options).await.unwrap();
        let Ok(table) = lake.table(zone, table).await else { return Vec::new() };
        let columns = vec![column.to_owned()];
        let mut stream = table.scan(Scan { columns, ..Scan::default() }).await.unwrap();
        let mut texts = Vec::new();
        while let Some(rows) = stream.next().await {
            for row in rows.unwrap() {
                let Value::Text(text) = &row[0] else { panic!("{row:?}") };
                texts.push(text.clone());
            }
        }
        texts
    }

    fn config(&self) -> PathBuf {
        self.directory.join("affluent.toml")
    }

    fn log_path(&self) -> PathBuf {
        self.directory.join("affluent.log")
    }

    /// What every run has logged so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// Sets a key for what is started from now on, `section.key`; without a value, as the file has it.
    pub(crate) fn set(&mut self, key: &str, value: Option<&str>) {
        let name = format!("AFFLUENT__{}", key.replace('.', "__").to_uppercase());
        self.set_variable(&name, value);
    }

    /// The same for a variable of the environment.
    pub(crate) fn set_variable(&mut self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => self.settings.insert(name.to_owned(), value.to_owned()),
            None => self.settings.remove(name),
        };
    }

    /// Starts `affluent run` with a role of its own process, which logs to a file of its own, with failpoints armed where
    /// given.
    pub(crate) fn start_beside(
        &self,
        role: &str,
        settings: &[(&str, String)],
        log: &str,
        failpoints: Option<&str>,
    ) -> (Child, PathBuf) {
        let mut beside = self.beside();
        for (key, value) in settings {
            beside.set(key, Some(value));
        }
        let path = self.directory.join(log);
        let log = std::fs::File::create(&path).unwrap();
        let mut command = beside.command();
        command.args(["run", role]).stdout(Stdio::null()).stderr(log);
        if let Some(failpoints) = failpoints {
            command.env("FAILPOINTS", failpoints);
        }
        (command.spawn().unwrap(), path)
    }

    fn command(&self) -> Command {
        // The child dies with the thread that starts it: the test's.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if self.shell == Shell::IgnoreFileLimit {
            command.args(["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
        }
        command.arg(&self.binary).env_remove("FAILPOINTS").env_remove("RUST_LOG");
        command.envs(&self.settings).arg("--config").arg(self.config());
        command.current_dir(&self.directory).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Starts `affluent up`, with failpoints armed where given.
    pub(crate) fn start(&mut self, failpoints: Option<&str>) {
        self.start_with(&["up"], failpoints);
    }

    /// Starts `affluent run` with these roles.
    pub(crate) fn start_roles(&mut self, roles: &[&str]) {
        self.start_with(&[&["run"], roles].concat(), None);
    }

    fn start_with(&mut self, arguments: &[&str], failpoints: Option<&str>) {
        assert!(self.child.is_none(), "it runs already");
        self.runs += 1;
        let mut command = self.command();
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::piped());
        if let Some(failpoints) = failpoints {
            command.env("FAILPOINTS", failpoints);
        }
        let mut child = command.spawn().expect("start the binary by setpriv of util-linux");
        let mut stderr = child.stderr.take().unwrap();
        let log = std::fs::File::options().create(true).append(true).open(self.log_path()).unwrap();
        tokio::task::spawn(async move {
            let mut log = tokio::fs::File::from_std(log);
            let _ = tokio::io::copy(&mut stderr, &mut log).await;
        });
        self.child = Some(child);
        self.started = Instant::now();
    }

    fn child(&mut self) -> &mut Child {
        self.child.as_mut().expect("it does not run")
    }

    pub(crate) fn process_id(&mut self) -> u32 {
        self.child().id().expect("it has ended")
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&mut self, signal: &str) {
        let id = self.process_id().to_string();
        let told = std::process::Command::new("kill").args(["-s", signal, &id]).status().unwrap();
        assert!(told.success(), "kill -s {signal} {id}");
    }

    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// How it ended by itself, where it did; it can be started again then.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().unwrap()?;
        self.child = None;
        Some(status)
    }

    pub(crate) async fn is_ready(&self) -> bool {
        self.get("/readyz").await.is_some_and(|(status, _)| status == 200)
    }

    /// `kill -9`.
    pub(crate) async fn kill(&mut self) {
        let mut child = self.child.take().expect("it does not run");
        child.kill().await.unwrap();
    }

    /// SIGTERM; how it ended, and after what time.
    pub(crate) async fn terminate(&mut self, limit: Duration) -> (ExitStatus, Duration) {
        let id = self.process_id().to_string();
        let begun = Instant::now();
        let told = Command::new("kill").args(["-TERM", &id]).status().await.unwrap();
        assert!(told.success());
        match self.wait_end(limit).await {
            Some(status) => (status, begun.elapsed()),
            None => panic!("still there {limit:?} after SIGTERM\n{}", self.tail()),
        }
    }

    /// Waits for the end; absent when it still runs after `limit`.
    pub(crate) async fn wait_end(&mut self, limit: Duration) -> Option<ExitStatus> {
        let ended = tokio::time::timeout(limit, self.child().wait()).await.ok()?;
        self.child = None;
        Some(ended.unwrap())
    }

    /// Waits until every role does its work; the time since the start.
    pub(crate) async fn wait_ready(&mut self) -> Duration {
        let deadline = Instant::now() + START;
        loop {
            if let Some(status) = self.child().try_wait().unwrap() {
                panic!("ended with {status} instead of getting ready\n{}", self.tail());
            }
            let answer = self.get("/readyz").await;
            if answer.as_ref().is_some_and(|(code, _)| *code == 200) {
                return self.started.elapsed();
            }
            assert!(
                Instant::now() < deadline,
                "not ready after {START:?}, last answer {answer:?}\n{}",
                self.tail()
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// Whether the collector acknowledged the click of this id.
    pub(crate) async fn click(&self, id: &str) -> bool {
        let url = format!("http://127.0.0.1:{}/collect/events", self.http);
        let body = format!(r#"{{"event_id":"{id}","event_type":"page_view","user_id":"kill"}}"#);
        let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).build().unwrap();
        let answer = client.post(url).header("content-type", "application/json").body(body).send().await;
        answer.is_ok_and(|answer| answer.status() == 202)
    }

    /// Status and body of a page; absent where nothing answers.
    pub(crate) async fn get(&self, path: &str) -> Option<(u16, String)> {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap();
        let answer = client.get(format!("http://127.0.0.1:{}{path}", self.http)).send().await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    /// Waits until `found` says so of the page.
    pub(crate) async fn wait_page(&self, path: &str, limit: Duration, found: impl Fn(u16, &str) -> bool) {
        let deadline = Instant::now() + limit;
        loop {
            let answer = self.get(path).await;
            if answer.as_ref().is_some_and(|(code, body)| found(*code, body)) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{path} does not show it within {limit:?}: {answer:?}\n{}",
                self.tail()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&mut self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process_id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or(0) * 1024
    }

    /// Runs a command of the binary; whether it did its work, and what it printed.
    pub(crate) async fn run(&self, arguments: &[&str], limit: Duration) -> (ExitStatus, String) {
        let said = self.begin(arguments, None).end(limit).await;
        (said.status, format!("{}{}\n", said.out, said.err))
    }

    /// Starts a command of the binary, with failpoints armed where given.
    pub(crate) fn begin(&self, arguments: &[&str], failpoints: Option<&str>) -> Begun {
        let mut command = self.command();
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(failpoints) = failpoints {
            command.env("FAILPOINTS", failpoints);
        }
        let mut child = command.spawn().unwrap();
        let logged = Logged::default();
        let logging = tokio::spawn(keep(child.stderr.take().unwrap(), Arc::clone(&logged)));
        Begun { child, what: arguments.join(" "), logged, logging }
    }

    /// Asserts that every store holds exactly what the database holds; the time it took.
    pub(crate) async fn verify(&self) -> Duration {
        let begun = Instant::now();
        let (status, printed) = self.run(&["verify"], VERIFY).await;
        assert!(status.success(), "verify found a difference ({status}):\n{printed}\n{}", self.tail());
        begun.elapsed()
    }

    /// The end of the log, with where to find the rest.
    pub(crate) fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n");
        format!("--- end of {} (run {})\n{tail}", self.log_path().display(), self.runs)
    }
}

/// A command of the binary that runs.
pub(crate) struct Begun {
    child: Child,
    what: String,
    logged: Logged,
    logging: JoinHandle<()>,
}

/// What a command has logged until now.
type Logged = Arc<std::sync::Mutex<String>>;

/// Keeps what is logged until its end.
async fn keep(log: ChildStderr, logged: Logged) {
    let mut lines = BufReader::new(log).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        *logged.lock().unwrap() += &format!("{line}\n");
    }
}

/// How a command ended, and what it printed.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Begun {
    pub(crate) async fn signal(&self, signal: &str) {
        let id = self.child.id().expect("it has ended").to_string();
        assert!(Command::new("kill").args([signal, &id]).status().await.unwrap().success());
    }

    /// Waits until it passes a failpoint that was armed.
    pub(crate) async fn reaches(&self, failpoint: &str, limit: Duration) {
        let deadline = Instant::now() + limit;
        let is_there = |line: &str| line.contains("failpoint reached") && line.contains(failpoint);
        loop {
            let has_ended = self.logging.is_finished();
            let logged = self.logged.lock().unwrap().clone();
            if logged.lines().any(is_there) {
                return;
            }
            assert!(!has_ended && Instant::now() < deadline, "{failpoint} is not reached\n{logged}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits for its end.
    pub(crate) async fn end(mut self, limit: Duration) -> Said {
        let mut out = String::new();
        let mut stdout = self.child.stdout.take().unwrap();
        let all = async {
            let (_, kept) = tokio::join!(stdout.read_to_string(&mut out), &mut self.logging);
            kept.unwrap();
            self.child.wait().await.unwrap()
        };
        let ended = tokio::time::timeout(limit, all).await;
        let err = self.logged.lock().unwrap().clone();
        match ended {
            Ok(status) => Said { status, out, err },
            Err(_) => panic!("`affluent {}` takes longer than {limit:?}: {out}\n{err}", self.what),
        }
    }
}

/// The section that captures `database`, with `cdc` as further lines.
fn captured(database: &Database, cdc: &str) -> String {
    let slot = &database.name;
    format!(
        "[cdc]\n{cdc}\nconnection = {url:?}\nslot = {slot:?}\npublication = {slot:?}\n\
         discover_s = 1\nheartbeat_s = 1\ncheckpoint_ms = 200\n\
         [cdc.snapshot]\nchunk_rows = 1500\n",
        url = database.url,
    )
}

/// The section that names `kafka`.
fn bus_section(kafka: &ApacheKafka) -> String {
    let mut section =
        format!("[bus]\nbootstrap_servers = {:?}\n[bus.properties]\n", kafka.bootstrap_servers());
    for (key, value) in kafka.client_properties() {
        writeln!(section, "{key:?} = {value:?}").unwrap();
    }
    section
}

impl Drop for Installation {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.start_kill();
        }
        // What a failed test leaves behind is what explains it.
        if self.owns_directory && !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}
