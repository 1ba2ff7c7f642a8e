//! A running `affluent up` on free ports and a fresh directory.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The binary under test, without what the environment might bring.
pub(crate) fn affluent(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_affluent"));
    command.current_dir(directory);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AFFLUENT_") {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG");
    command
}

/// A process with its log.
pub(crate) struct Platform {
    pub(crate) directory: TempDir,
    child: Child,
    log: Arc<Mutex<String>>,
    /// `http://127.0.0.1:PORT`, from the log.
    pub(crate) http: String,
}

impl Platform {
    /// Starts `affluent ARGUMENTS` with every port free and `settings` on top, and waits until the
    /// HTTP interface listens.
    pub(crate) fn start(arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = affluent(directory.path());
        for section in ["BROKER", "REGISTRY_SERVER", "HTTP", "BI"] {
            command.env(format!("AFFLUENT__{section}__LISTEN"), "127.0.0.1:0");
        }
        command.envs(settings.iter().copied()).args(arguments);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (lines, kept) = (BufReader::new(child.stderr.take().unwrap()).lines(), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut log = kept.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        let mut platform = Platform { directory, child, log, http: String::new() };
        platform.http = platform.until("the http interface to listen", |log| {
            let line = log.lines().find(|line| line.contains("http interface listens"))?;
            Some(format!("http://{}", line.split("address=").nth(1)?.trim()))
        });
        platform
    }

    /// What `found` finds in the log, waiting for it.
    pub(crate) fn until<T>(&mut self, what: &str, found: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(found) = found(&self.log()) {
                return found;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "waited for {what}, but it ended with {ended:?}:\n{}", self.log());
            assert!(Instant::now() < deadline, "waited for {what}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until GET `path` answers 200, and gives the body.
    pub(crate) fn until_ok(&mut self, path: &str) -> String {
        let url = format!("{}{path}", self.http);
        self.until(&format!("200 from {path}"), |_| match get(&url) {
            (200, body) => Some(body),
            _ => None,
        })
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, signal: &str) {
        let status =
            Command::new("kill").args(["-s", signal, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the end, at most `limit`.
    pub(crate) fn wait(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "still running after {limit:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Status and body of a GET; status 0 where nothing answers.
pub(crate) fn get(url: &str) -> (u16, String) {
    get_with(url, None)
}

/// As [`get`], with a bearer token.
pub(crate) fn get_with(url: &str, token: Option<&str>) -> (u16, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut request = reqwest::Client::new().get(url).timeout(Duration::from_secs(10));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        match request.send().await {
            Ok(response) => (response.status().as_u16(), response.text().await.unwrap_or_default()),
            Err(_) => (0, String::new()),
        }
    })
}
