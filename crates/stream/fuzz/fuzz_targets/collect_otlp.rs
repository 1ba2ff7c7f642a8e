//! `cargo +nightly fuzz run collect_otlp` in `crates/stream`: any body becomes records or is refused.

#![no_main]

use affluent_stream::collect::{CollectOptions, LogParser, otlp};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let logs = LogParser::new(&CollectOptions::default());
    let seed = otlp::Seed::new(bytes, None);
    for encoding in [otlp::Encoding::Protobuf, otlp::Encoding::Json] {
        if let Ok(records) = logs.parse_otlp(encoding, bytes, 1_763_800_000_000_000, &seed) {
            for line in records.flatten() {
                assert!(!line.service.is_empty() && line.attributes.starts_with('{'));
            }
        }
    }
});
