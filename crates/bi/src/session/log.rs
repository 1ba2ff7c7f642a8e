//! The log of statements, and their metrics. Values are left out of texts: they may be personal.

use super::Session;
use super::run::Run;
use super::text::without_values;
use crate::error::PgError;
use affluent_telemetry::metrics_list;

/// Bytes of a text in the log at most.
const TEXT_BYTES_MAX: usize = 2_000;

impl Session {
    /// A statement is over. What reads nothing (settings, transactions) is not told of unless it fails.
    pub(super) fn tell(&self, run: &Run, text: &str, result: &Result<(), PgError>) {
        let code = result.as_ref().err().map_or("00000", |error| error.code);
        if !run.reads && result.is_ok() {
            return;
        }
        let elapsed = run.begun.elapsed();
        metrics_list::bi_statement(&self.user.name, code, elapsed.as_secs_f64(), run.rows);
        if !self.shared.options.query_log {
            return;
        }
        tracing::info!(
            target: "affluent_bi::queries",
            user = self.user.name,
            application = self.who.setting("application_name").unwrap_or_default(),
            peer = %self.peer,
            pid = self.ticket.pid,
            version = run.version,
            rows = run.rows,
            ms = elapsed.as_secs_f64() * 1e3,
            code,
            text = without_values(text, TEXT_BYTES_MAX),
            "statement"
        );
    }
}
