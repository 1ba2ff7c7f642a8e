//! The broker as clients that nobody here wrote see it: kcat and Python's confluent-kafka, and raw
//! sockets for what no client would send. Every test has a broker and a directory of its own.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod clients;
mod groups;
mod kcat;
mod raw;
mod restart;
mod storage;
mod support;
