//! Sources to the bus, the bus to the sinks: change data capture, document and lake sinks, dead letters.
