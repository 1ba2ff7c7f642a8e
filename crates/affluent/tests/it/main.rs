//! The binary as its users meet it: called, configured wrongly, started, stopped.

mod cli;
mod platform;
mod up;
