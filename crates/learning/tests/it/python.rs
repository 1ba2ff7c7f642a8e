//! Python beside the tests: `make setup` installs what it needs.

use serde_json::Value;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// Runs a script with a JSON on its standard input; the JSON that it prints.
pub(crate) fn run(script: &str, input: &Value) -> Value {
    let python = std::env::var("AFFLUENT_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut child = Command::new(&python)
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{python}: {error}; `make setup` installs what tests need"));
    child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        !stderr.contains("ModuleNotFoundError"),
        "{python} lacks a package: run `make setup` and set AFFLUENT_TEST_PYTHON\n{stderr}"
    );
    assert!(output.status.success(), "the script failed:\n{stderr}");
    serde_json::from_slice(&output.stdout).unwrap()
}
