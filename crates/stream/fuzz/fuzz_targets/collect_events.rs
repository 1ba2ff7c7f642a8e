//! `cargo +nightly fuzz run collect_events` in `crates/stream`: any body becomes events or rejects.

#![no_main]

use affluent_stream::collect::{Arrival, CollectOptions, Content, EventParser, LogArrival, LogParser};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let options = CollectOptions::default();
    let (events, logs) = (EventParser::new(&options), LogParser::new(&options));
    let arrival = Arrival { received_at: 1_763_800_000_000_000, ip: None, user_agent: None };
    for content in [Content::Json, Content::Lines, Content::Protobuf] {
        for event in events.parse(content, bytes, &arrival).flatten() {
            assert!(!event.event_type.is_empty() && event.properties.starts_with('{'));
        }
    }
    let arrival = LogArrival { received_at: arrival.received_at, service: None };
    for content in [Content::Json, Content::Lines] {
        for line in logs.parse(content, bytes, &arrival).flatten() {
            assert!(!line.service.is_empty() && line.attributes.starts_with('{'));
        }
    }
});
