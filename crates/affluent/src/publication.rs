//! Copies of the published warehouse in the PostgreSQL of `bi.publish.postgres`: what they are made with.

use crate::batch;
use crate::config::Config;
use affluent_bi::publish::{Connect, Publisher};
use affluent_lake::Lake;
use affluent_stream::cdc::{CdcOptions, connect_source};
use affluent_telemetry::health::Health;
use std::sync::Arc;

/// Copies what is published in `lake`.
///
/// # Errors
/// Models that cannot be read, options that cannot work.
pub(crate) fn publisher(config: &Config, lake: Lake, health: Health) -> anyhow::Result<Publisher> {
    let options = config.bi.publish.clone();
    let connect = connect(options.postgres.clone());
    Ok(Publisher::new(options, lake, batch::models(config)?, connect, health)?)
}

/// As the payments database is reached, TLS included.
fn connect(connection: String) -> Connect {
    let options = CdcOptions { connection, ..CdcOptions::default() };
    Arc::new(move || {
        let options = options.clone();
        Box::pin(async move {
            let connected = connect_source(&options).await;
            connected.map_err(|error| error.to_string().replace("cdc.connection", "bi.publish.postgres"))
        })
    })
}
