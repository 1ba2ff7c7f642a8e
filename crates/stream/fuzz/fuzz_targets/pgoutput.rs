//! `cargo +nightly fuzz run pgoutput` in `crates/stream`: any message is decoded or refused.

#![no_main]

use affluent_stream::cdc::decode::pgoutput::decode;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = decode(bytes, false);
    let _ = decode(bytes, true);
});
