//! `cargo +nightly fuzz run frame` in `crates/broker`: any content of a frame is decoded or refused.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| affluent_broker::fuzz_frame(bytes));
