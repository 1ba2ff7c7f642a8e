//! The binary as its users meet it: called, configured wrongly, started, stopped, killed, left without
//! its database or its disk.
#![allow(clippy::unwrap_used)] // a helper of a test may fail the test, too
#![allow(clippy::print_stderr)] // figures of a round, seen with --nocapture

mod alerts;
mod batch_cluster;
mod batch_kill;
mod batch_trial;
mod bi_load;
mod broker;
mod chaos;
mod cli;
mod console;
mod console_http;
mod demo;
mod disk;
mod erase;
mod events;
mod evolution;
mod features_kill;
mod foreign_schema;
mod history_kill;
mod installation;
mod kill;
mod load;
mod models;
mod outages;
mod platform;
mod score_http;
mod score_kill;
mod score_rest;
mod setup;
mod telemetry;
mod training;
mod up;
mod upgrade;
