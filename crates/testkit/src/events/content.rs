//! What visitors click and services log.

use affluent_model::EventKind;
use rand::Rng as _;
use rand::rngs::SmallRng;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};
use uuid::Uuid;

const VISITORS: u32 = 5_000;
const PRODUCTS: u32 = 800;
const SERVICES: [&str; 8] =
    ["checkout", "payments", "ledger", "risk", "gateway", "accounts", "notifications", "search"];
const AGENTS: [&str; 3] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Version/17.5 Mobile Safari/604.1",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36",
];

/// Makes events from a random source.
pub(super) struct Content {
    kind: EventKind,
    rng: SmallRng,
}

impl Content {
    pub(super) fn new(kind: EventKind, rng: SmallRng) -> Self {
        Content { kind, rng }
    }

    /// Events that occur now: their ids, and the body of a request that carries them, as NDJSON.
    pub(super) fn batch(&mut self, count: u64) -> (Vec<Uuid>, String) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_us = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        let (mut ids, mut body) = (Vec::new(), String::new());
        for _ in 0..count {
            let mut random = [0; 10];
            self.rng.fill(&mut random);
            let id = uuid::Builder::from_unix_timestamp_millis(now_us / 1_000, &random).into_uuid();
            let event = match self.kind {
                EventKind::Clicks => self.click(id, now_us),
                EventKind::Logs => self.line(id, now_us),
            };
            body.push_str(&event.to_string());
            body.push('\n');
            ids.push(id);
        }
        (ids, body)
    }

    fn click(&mut self, id: Uuid, now_us: u64) -> Value {
        let rng = &mut self.rng;
        let visitor = rng.random_range(0..VISITORS);
        let product = rng.random_range(0..PRODUCTS);
        let event_type = match rng.random_range(0..100) {
            0..70 => "page_view",
            70..90 => "content_viewed",
            90..97 => "cart_abandoned",
            _ => "conversion",
        };
        let mut click = json!({
            "event_id": id.to_string(),
            "anonymous_id": format!("visitor-{visitor}"),
            "session_id": format!("session-{visitor}-{}", now_us / 1_800_000_000),
            "event_type": event_type,
            "occurred_at": now_us,
            "url": format!("https://shop.example/products/{product}?utm_source=newsletter"),
            "referrer": "https://shop.example/",
            "user_agent": AGENTS[rng.random_range(0..AGENTS.len())],
            "properties": {"product": product, "position": rng.random_range(0..40)},
        });
        // One in three is signed in.
        if visitor % 3 == 0 {
            click["user_id"] = format!("user-{visitor}").into();
        }
        click
    }

    fn line(&mut self, id: Uuid, now_us: u64) -> Value {
        let rng = &mut self.rng;
        let service = SERVICES[rng.random_range(0..SERVICES.len())];
        let millis = rng.random_range(1..400);
        let mut trace = [0_u8; 16];
        rng.fill(&mut trace);
        let trace_id = Uuid::from_bytes(trace).simple().to_string();
        let (severity, kind, message, attributes) = match rng.random_range(0..50) {
            0 if millis % 2 == 0 => {
                let message =
                    format!("gave up after {millis} ms: connection to 10.0.0.{} refused", millis % 250);
                (17, "error", message, json!({"exception.type": "ConnectionRefused", "attempt": millis % 5}))
            }
            0 => (
                17,
                "error",
                format!("order {} has no rate for 'XAU'", rng.random_range(0..100_000)),
                json!({}),
            ),
            1 => (
                9,
                "auth",
                format!("user {} signed in", rng.random_range(0..VISITORS)),
                json!({"method": "passkey"}),
            ),
            2 => {
                (9, "audit", format!("limit of customer {} raised", rng.random_range(0..VISITORS)), json!({}))
            }
            _ => (
                9,
                "app",
                format!("request answered in {millis} ms"),
                json!({"path": "/v1/payments", "status": 200}),
            ),
        };
        json!({
            "event_id": id.to_string(), "service": service, "severity": severity, "kind": kind,
            "occurred_at": now_us, "trace_id": trace_id, "message": message, "attributes": attributes,
        })
    }
}
