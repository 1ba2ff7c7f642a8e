//! The topic.
