//! Sources to the bus, the bus to the sinks: change data capture, the collector, document and lake
//! sinks, dead letters.

pub mod cdc;
pub mod collect;
pub mod consume;
pub mod dead_letters;
pub mod sinks;
