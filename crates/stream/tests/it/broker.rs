//! The bus that all tests of this binary share.

use crate::collect::until;
use affluent_bus::{Bus, BusOptions, TopicSpec};
use affluent_testkit::broker::Broker;

/// The address of its broker: an embedded one, or the one that `AFFLUENT_TEST_KAFKA` names.
pub(crate) fn broker() -> String {
    Broker::shared().bootstrap_servers().to_owned()
}

/// A bus at the shared broker.
pub(crate) fn bus() -> Bus {
    Bus::new(BusOptions { bootstrap_servers: broker(), ..BusOptions::default() }).expect("a bus")
}

/// Deletes the topic, and makes one of the same name.
pub(crate) async fn make_anew(topic: &str, partitions: i32) {
    let admin = bus().admin().unwrap();
    admin.delete_topic(topic).await.unwrap();
    until("the topic is gone", async || admin.partitions(topic).await.unwrap().is_none()).await;
    admin.ensure_topic(topic, &TopicSpec::new(partitions)).await.unwrap();
}
