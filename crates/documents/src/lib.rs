//! The NoSQL port: the trait DocumentStore, the embedded store and MongoDB.
