//! The online store: the newest values of each key, read by key.
