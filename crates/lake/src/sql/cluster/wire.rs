//! What the connections between nodes have in common: how long they wait, how large a message may be.
//!
//! Invariant: a node that vanishes without a word, such as a machine that loses its power, is noticed.

use ballista_core::extension::EndpointOverrideFn;
use ballista_core::utils::GrpcClientConfig;
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::Endpoint;

/// Most bytes of a message: a plan with all that it carries, or a batch of rows.
pub(super) const MESSAGE_BYTES_MAX: u32 = 256 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause between two signs of life, and how long one is waited for.
const ALIVE: Duration = Duration::from_secs(5);
const SILENT: Duration = Duration::from_secs(10);

pub(super) fn message_bytes_max() -> usize {
    usize::try_from(MESSAGE_BYTES_MAX).unwrap_or(usize::MAX)
}

/// Of connections to the scheduler.
pub(super) fn client_config() -> GrpcClientConfig {
    GrpcClientConfig {
        connect_timeout_seconds: CONNECT_TIMEOUT.as_secs(),
        timeout_seconds: CALL_TIMEOUT.as_secs(),
        http2_keepalive_interval_seconds: ALIVE.as_secs(),
        max_message_size: message_bytes_max(),
        ..GrpcClientConfig::default()
    }
}

/// Of connections to executors, which Ballista opens by itself.
pub(super) fn endpoints() -> EndpointOverrideFn {
    Arc::new(|endpoint: Endpoint| {
        Ok(endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(ALIVE)
            .keep_alive_timeout(SILENT)
            .keep_alive_while_idle(true))
    })
}
