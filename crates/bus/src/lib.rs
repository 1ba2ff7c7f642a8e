//! The Kafka client side: producer, consumer, codecs, schema registry client and server.
