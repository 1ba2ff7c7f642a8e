//! Makes dead letters durable.

use super::{DEAD_LETTER_BYTES_MAX, outgoing, topic_spec};
use affluent_bus::{Bus, BusError, Producer, ProducerOptions};
use affluent_model::DeadLetter;
use affluent_model::names::TOPIC_DEAD_LETTERS;

/// Writes to the topic `dead-letters`. Connects at the first letter: most processes never have one.
#[derive(Debug)]
pub struct DeadLetterWriter {
    bus: Bus,
    producer: Option<Producer>,
}

impl DeadLetterWriter {
    /// A writer on `bus`.
    #[must_use]
    pub fn new(bus: Bus) -> Self {
        DeadLetterWriter { bus, producer: None }
    }

    /// Writes the letters; when this returns `Ok`, every replica has them.
    ///
    /// # Errors
    /// [`BusError`]; some of the letters may have been written, and repeating writes the same keys.
    pub async fn write(&mut self, letters: &[DeadLetter]) -> Result<(), BusError> {
        if letters.is_empty() {
            return Ok(());
        }
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => self.connect().await?,
        };
        let mut last = 0;
        for letter in letters {
            last = producer.send(outgoing(letter)).await?;
        }
        producer.wait_acked(last).await?;
        // Kept only after success: a producer that failed once accepts nothing any more.
        self.producer = Some(producer);
        Ok(())
    }

    async fn connect(&self) -> Result<Producer, BusError> {
        self.bus.admin()?.ensure_topic(TOPIC_DEAD_LETTERS, &topic_spec()).await?;
        self.bus.producer(producer_options())
    }
}

/// Small batches, large records.
pub(super) fn producer_options() -> ProducerOptions {
    ProducerOptions { linger_ms: 1, max_message_bytes: DEAD_LETTER_BYTES_MAX, ..ProducerOptions::default() }
}
