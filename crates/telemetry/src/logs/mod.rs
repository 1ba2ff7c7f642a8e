//! Process-wide logging: human lines on a terminal, JSON where a machine reads, and both also into the platform's own pipeline of
//! log lines where that is asked for ([`own`]).

pub mod own;

use std::io::IsTerminal;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt};

/// How log lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Starts logging to standard error; `filter` is in the syntax of `RUST_LOG`, which overrides it.
/// Colours only on a terminal and without `NO_COLOR`. `is_own`: lines are kept for [`own::take`], too. A second call does nothing.
pub fn init(filter: &str, format: LogFormat, is_own: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let shown =
        fmt::layer().with_ansi(!no_color && std::io::stderr().is_terminal()).with_writer(std::io::stderr);
    let shown = match format {
        LogFormat::Text => shown.with_target(false).boxed(),
        LogFormat::Json => shown.json().boxed(),
    };
    let kept = is_own.then_some(own::OwnLines);
    // The filter is the innermost: it counts for both.
    let _ = tracing_subscriber::registry().with(filter).with(shown).with(kept).try_init();
}
