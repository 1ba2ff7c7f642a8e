//! The bytes of an accepted item, and the key that chooses its partition.

use super::options::PartitionBy;
use affluent_bus::codec::{EventEncoder, EventFormat};
use affluent_bus::registry::RegistryClient;
use affluent_model::{ClickEvent, LogEvent, time};
use bytes::Bytes;
use parking_lot::Mutex;

/// Encoders that are kept between requests.
const IDLE_MAX: usize = 32;

/// Encoders for requests that run at the same time; each has what it learnt of the registry.
pub(crate) struct Encoders {
    format: EventFormat,
    registry: Option<RegistryClient>,
    idle: Mutex<Vec<EventEncoder>>,
}

impl Encoders {
    pub(crate) fn new(format: EventFormat, registry: Option<RegistryClient>) -> Self {
        Encoders { format, registry, idle: Mutex::default() }
    }

    pub(crate) fn take(&self) -> EventEncoder {
        let idle = self.idle.lock().pop();
        idle.unwrap_or_else(|| EventEncoder::new(self.format, self.registry.clone()))
    }

    pub(crate) fn give_back(&self, encoder: EventEncoder) {
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX {
            idle.push(encoder);
        }
    }
}

/// The key of a click.
pub(crate) fn click_key(event: &ClickEvent<impl AsRef<str>>, by: PartitionBy) -> Bytes {
    match by {
        PartitionBy::User => event.visitor().map_or_else(
            || Bytes::from(event.event_id.to_string()),
            |visitor| Bytes::copy_from_slice(visitor.as_bytes()),
        ),
        PartitionBy::Date => {
            let days = event.occurred_at.div_euclid(86_400_000_000);
            Bytes::from(time::format_date(i32::try_from(days).unwrap_or(0)))
        }
    }
}

/// The key of a log line.
pub(crate) fn log_key(event: &LogEvent) -> Bytes {
    Bytes::copy_from_slice(event.service.as_bytes())
}
