//! Of the payments database: whether it can be captured, and whether scores can be written into it.

use super::Trial;
use crate::config::Config;
use affluent_stream::cdc::connect_source;
use affluent_stream::cdc::survey::{Severity, survey};
use chrono::{DateTime, Utc};
use tokio_postgres::error::SqlState;

const PART: &str = "cdc";
const SCORES: &str = "score";

pub(super) async fn trials(config: &Config) -> Vec<Trial> {
    let options = &config.cdc;
    if options.connection.is_empty() {
        return vec![Trial::skipped(PART, "cdc.connection is empty: no database is captured")];
    }
    let seen = match survey(options).await {
        Ok(seen) => seen,
        Err(error) => {
            return vec![Trial::failed(
                PART,
                error,
                "does cdc.connection name host, port, database, user and password, is the server there, and does pg_hba.conf let us in?",
            )];
        }
    };
    let (count, bytes) =
        seen.selected(options).fold((0, 0), |(n, bytes), table| (n + 1, bytes + table.bytes));
    let found = format!(
        "PostgreSQL {}.{}, database {}, user {}: {count} tables selected, {:.1} MB",
        seen.server.version / 10_000,
        seen.server.version % 10_000,
        seen.server.database,
        seen.user.name,
        bytes as f64 / 1e6
    );
    let findings = seen.findings(options).into_iter().map(|finding| match finding.severity {
        Severity::Missing => Trial::failed(PART, finding.what, finding.remedy),
        Severity::Advice => Trial::advice(PART, finding.what, finding.remedy),
    });
    std::iter::once(Trial::ok(PART, found)).chain(findings).collect()
}

/// The statement that writes scores, explained for no rows: that checks tables, columns, types and rights, and writes nothing.
pub(super) async fn write_back(config: &Config) -> Vec<Trial> {
    let statement = &config.score.stream.write_back.statement;
    if statement.is_empty() || config.cdc.connection.is_empty() {
        return vec![Trial::skipped(SCORES, "no score is written back into a database")];
    }
    // Why it is not reached is said where it is captured.
    let Ok(client) = connect_source(&config.cdc).await else {
        return vec![Trial::skipped(SCORES, "the payments database is not reached")];
    };
    let (ids, scores, decisions): (Vec<&str>, Vec<Option<f64>>, Vec<&str>) = Default::default();
    let times: Vec<DateTime<Utc>> = Vec::new();
    let explained = client.query(&format!("EXPLAIN {statement}"), &[&ids, &scores, &decisions, &times]).await;
    let Err(error) = explained else {
        return vec![Trial::ok(SCORES, "scores may be written back")];
    };
    let said = error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned());
    let what = format!("scores cannot be written back: {said}");
    vec![match error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
        true => Trial::failed(
            SCORES,
            what,
            "GRANT UPDATE on the columns that the statement sets (deploy/oltp/cdc_role.sql), or set score.stream.write_back.statement to \"\"",
        ),
        false => Trial::advice(
            SCORES,
            what,
            "where payments are scored: write score.stream.write_back.statement for this schema, or set it to \"\"",
        ),
    }]
}
