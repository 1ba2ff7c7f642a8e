//! Connections to the source: where it is, TLS as libpq means it, SQL sessions, replication.

pub(crate) mod address;
pub(crate) mod replication;
pub(crate) mod tls;
pub(crate) mod wire;

use super::CdcError;
use address::Address;
use std::time::Duration;
use tokio_postgres::Client;

/// Settings of every session: replication and snapshot give the same text for a value, and an
/// exported snapshot stays while others read in it.
pub(crate) const SESSION: &[(&str, &str)] = &[
    ("DateStyle", "ISO, YMD"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("lc_monetary", "C"),
    ("idle_in_transaction_session_timeout", "0"),
];

/// An SQL session; it ends when the client is dropped.
///
/// # Errors
/// [`CdcError::Postgres`]; passing where the server could not be reached.
pub(crate) async fn sql(address: &Address) -> Result<Client, CdcError> {
    let mut config = address.config.clone();
    config.application_name("affluent cdc").connect_timeout(Duration::from_secs(10));
    let connected = config.connect(address.tls()?).await;
    let (client, connection) = connected.map_err(|e| CdcError::sql("connect to PostgreSQL", &e))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "sql connection ended");
        }
    });
    let settings: Vec<String> =
        SESSION.iter().map(|(name, value)| format!("SET {name} = '{value}'")).collect();
    let batch = client.batch_execute(&settings.join("; ")).await;
    batch.map_err(|e| CdcError::sql("set up the session", &e))?;
    Ok(client)
}

/// An identifier as SQL writes it.
pub(crate) fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text literal as SQL writes it.
pub(crate) fn quote_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
