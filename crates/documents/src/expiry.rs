//! The task that removes what is past its time.

use crate::DocumentStore;
use affluent_model::time::now_micros;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Pause between two calls while more is due.
const PAUSE: Duration = Duration::from_millis(50);

/// Expires documents and tombstones every `interval` until `shutdown`. Faults are logged; what is due
/// stays due.
pub async fn expire_regularly(
    store: Arc<dyn DocumentStore>,
    interval: Duration,
    shutdown: CancellationToken,
) {
    loop {
        let pause = match store.expire(now_micros()).await {
            Ok(0) => interval,
            Ok(expired) => {
                tracing::debug!(expired, "documents expired");
                PAUSE
            }
            Err(error) => {
                tracing::warn!(%error, "documents not expired");
                interval
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => return,
        }
    }
}
