//! What is refused before it costs: size, compression, tokens, rates, overload, foreign pages.

use super::Rig;
use affluent_stream::collect::CollectToken;
use serde_json::json;
use std::io::Write;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_and_bombs_stop_at_the_limit() {
    let rig = Rig::new(|options| options.items_max = 3).await;
    let large = "x".repeat((4 << 20) + 1);
    let answer = rig.post("/collect/events", &[], large).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (413, json!("body_too_large")));

    // 200 MiB of spaces: under 1 MiB of gzip, a few KiB of zstd.
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut zs = zstd::Encoder::new(Vec::new(), 1).unwrap();
    let chunk = vec![b' '; 1 << 20];
    for _ in 0..200 {
        gz.write_all(&chunk).unwrap();
        zs.write_all(&chunk).unwrap();
    }
    for (encoding, bomb) in [("gzip", gz.finish().unwrap()), ("zstd", zs.finish().unwrap())] {
        let answer = rig.post("/collect/events", &[("content-encoding", encoding)], bomb).await;
        assert_eq!(
            (answer.status, answer.json()["code"].clone()),
            (413, json!("decoded_too_large")),
            "{encoding}"
        );
    }
    let answer = rig.post("/collect/events", &[("content-encoding", "gzip")], "no gzip").await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (400, json!("broken_encoding")));

    let items = "{\"event_type\":\"x\"}\n".repeat(5);
    let answer = rig.post("/collect/events", &[], items).await;
    assert_eq!(answer.json()["accepted"], 3);
    assert_eq!(answer.json()["rejected"][0]["reason"], "too_many_items");
    assert_eq!(rig.events().await.len(), 3);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_open_and_limit() {
    let token = |name: &str, items_per_s| CollectToken {
        name: name.to_owned(),
        token: format!("{name}-0123456789abcdef"),
        items_per_s,
    };
    let rig = Rig::new(|options| options.tokens = vec![token("web", 5), token("back", 0)]).await;
    let event = r#"{"event_type":"x"}"#;
    let answer = rig.post("/collect/events", &[], event).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (401, json!("unauthorized")));
    let web = [("authorization", "Bearer web-0123456789abcdef")];
    let twenty = format!("{event}\n").repeat(20);
    assert_eq!(rig.post("/collect/events", &web, twenty.clone()).await.status, 202);
    let answer = rig.post("/collect/events?token=web-0123456789abcdef", &[], event).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (429, json!("rate_limited")));
    let seconds: u64 = answer.retry_after.unwrap().parse().unwrap();
    assert!((1..=4).contains(&seconds), "{seconds}");
    let back = [("authorization", "Bearer back-0123456789abcdef")];
    for _ in 0..3 {
        assert_eq!(rig.post("/collect/events", &back, twenty.clone()).await.status, 202);
    }
    // OTLP speaks its own language, in errors too.
    let answer = rig.post("/v1/logs", &[("content-type", "application/json")], "{}").await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (401, json!(16)));
    assert_eq!(rig.events().await.len(), 80);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overload_is_told_before_memory_grows() {
    let rig = Rig::new(|options| {
        options.requests_max = 2;
        options.body_timeout_ms = 2_000;
    })
    .await;
    let address = rig.url.strip_prefix("http://").unwrap().to_owned();
    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        let head = "POST /collect/events HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{";
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let event = r#"{"event_type":"x"}"#;
    super::until("both slow requests were let in", async || {
        let answer = rig.post("/collect/events", &[], event).await;
        answer.status == 429 && answer.retry_after.as_deref() == Some("1")
    })
    .await;
    // The slow ones are given up, and the others get their turn.
    for stream in &mut slow {
        let mut answer = vec![0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, b"HTTP/1.1 408");
    }
    super::until("room again", async || rig.post("/collect/events", &[], event).await.status == 202).await;
    rig.stop().await;

    let rig = Rig::new(|options| {
        options.body_bytes_max = 1_000;
        options.decoded_bytes_max = 1_000;
        options.inflight_bytes_max = 1_000;
    })
    .await;
    let address = rig.url.strip_prefix("http://").unwrap().to_owned();
    let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
    let head =
        format!("POST /collect/events HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n\r\n{}", " ".repeat(800));
    stream.write_all(head.as_bytes()).await.unwrap();
    let large = format!("{event}{}", " ".repeat(500));
    super::until("the budget is held", async || {
        rig.post("/collect/events", &[], large.clone()).await.status == 429
    })
    .await;
    drop(stream);
    super::until("the budget is back", async || {
        rig.post("/collect/events", &[], large.clone()).await.status == 202
    })
    .await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_named_origins_may_send() {
    let rig = Rig::new(|options| options.origins = vec!["https://shop.example".to_owned()]).await;
    for (origin, expected) in [("https://shop.example", true), ("https://evil.example", false)] {
        let url = format!("{}/collect/events", rig.url);
        let preflight = rig
            .http
            .request(reqwest::Method::OPTIONS, url)
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type")
            .send()
            .await
            .unwrap();
        assert_eq!(preflight.status(), 204);
        let headers = preflight.headers();
        assert_eq!(headers.get("access-control-allow-origin").is_some_and(|o| o == origin), expected);
        assert_eq!(headers.get("access-control-allow-credentials").is_some(), expected);
    }
    rig.stop().await;
}
