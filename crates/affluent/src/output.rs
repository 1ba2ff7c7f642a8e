//! What the commands print, and how they end: the one place that writes to standard output.

use crate::cli::Format;
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

/// How a command ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0
    Done,
    /// 1: it ran, and the answer is no (a goal missed, a difference found).
    Failed,
    /// 99: nothing to do.
    NothingToDo,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::NothingToDo => 99,
        })
    }
}

/// The command was called wrongly; ends the process with 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(String);

/// An error that ends the process with exit code 2.
pub(crate) fn usage(message: String) -> anyhow::Error {
    Usage(message).into()
}

/// Prints `text` and a line end, if it has none. A closed pipe is not an error.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = out.write_all(b"\n");
    }
    let _ = out.flush();
}

/// Writes `text` as it is. False when nobody reads any more.
pub(crate) fn write(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

/// Tells the person at the terminal something that is no part of the output.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints a value as indented JSON.
///
/// # Errors
/// When the value has no JSON form.
pub(crate) fn print_json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    print(&serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Prints the error that ended the command, with its causes, and gives the exit code.
pub(crate) fn fail(error: &anyhow::Error, format: Format) -> ExitCode {
    let bad_usage =
        error.chain().any(|cause| cause.is::<Usage>() || cause.is::<crate::config::ConfigError>());
    let code = if bad_usage { 2 } else { 1 };
    let mut err = std::io::stderr().lock();
    let _ = match format {
        Format::Text => writeln!(err, "error: {error:#}"),
        Format::Json => writeln!(err, "{}", serde_json::json!({"error": format!("{error:#}"), "exit": code})),
    };
    ExitCode::from(code)
}

/// Progress may be drawn: standard error is a terminal.
pub(crate) fn is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Columns as wide as their widest cell, two spaces between them. Empty headers have no title.
pub(crate) fn table(headers: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut lines: Vec<Vec<String>> = vec![headers.iter().map(|&h| h.to_owned()).collect()];
    lines.extend(rows);
    let width = |column: usize| lines.iter().map(|l| l[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..headers.len()).map(width).collect();
    let line = |cells: &Vec<String>| {
        let padded = cells.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    lines.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lines_up() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["longer".to_owned(), "22".to_owned()]];
        assert_eq!(table(&["name", "n"], rows), "name    n\na       1\nlonger  22\n");
    }
}
