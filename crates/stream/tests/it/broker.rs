//! The bus that all tests of this binary share.

use affluent_bus::{Bus, BusOptions};
use affluent_testkit::broker::Broker;

/// The address of its broker: an embedded one, or the one that `AFFLUENT_TEST_KAFKA` names.
pub(crate) fn broker() -> String {
    Broker::shared().bootstrap_servers().to_owned()
}

/// A bus at the shared broker.
pub(crate) fn bus() -> Bus {
    Bus::new(BusOptions { bootstrap_servers: broker(), ..BusOptions::default() }).expect("a bus")
}
