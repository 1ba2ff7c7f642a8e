//! The broker of an installation as something that goes by itself: the role in a process of its own, or the Apache
//! Kafka that stands in its place.

use crate::installation::Installation;
use affluent_testkit::ApacheKafka;
use std::sync::Arc;
use std::time::Duration;

const STOP_LIMIT: Duration = Duration::from_secs(15);

pub(crate) enum Broker {
    Role(Box<Installation>),
    /// It runs from the beginning.
    Apache(Arc<ApacheKafka>),
}

impl Broker {
    pub(crate) fn of(installation: &Installation) -> Self {
        match installation.kafka() {
            Some(kafka) => Broker::Apache(kafka),
            None => Broker::Role(Box::new(installation.beside())),
        }
    }

    pub(crate) fn start(&mut self) {
        match self {
            Broker::Role(role) => role.start_roles(&["broker"]),
            Broker::Apache(kafka) => kafka.start_again().unwrap(),
        }
    }

    /// `kill -9`.
    pub(crate) async fn kill(&mut self) {
        match self {
            Broker::Role(role) => role.kill().await,
            Broker::Apache(kafka) => kafka.kill(),
        }
    }

    /// Stops it in order.
    pub(crate) async fn stop(&mut self) {
        match self {
            Broker::Role(role) => {
                role.terminate(STOP_LIMIT).await;
            }
            Broker::Apache(kafka) => kafka.stop().unwrap(),
        }
    }
}
