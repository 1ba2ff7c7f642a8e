//! The embedded one-node broker that speaks the Kafka protocol.
