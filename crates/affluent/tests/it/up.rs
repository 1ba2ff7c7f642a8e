//! `affluent up` on embedded defaults: ready, read over HTTP, stopped by a signal.

use crate::platform::{Platform, affluent, get, get_with};
use std::time::{Duration, Instant};

#[test]
fn up_answers_ready_and_stops_on_sigterm_in_time() {
    let mut platform = Platform::start(&["up"], &[]);
    let ready = platform.until_ok("/readyz");
    for role in ["broker", "registry", "api"] {
        assert!(ready.contains(&format!("\"{role}\":\"ready\"")), "{ready}");
    }
    assert!(platform.log().contains("cdc.connection is empty"), "{}", platform.log());

    let http = platform.http.clone();
    let (status, metrics) = get(&format!("{http}/metrics"));
    assert_eq!(status, 200);
    assert!(metrics.contains("process_resident_memory_bytes"), "{metrics}");
    assert!(get(&format!("{http}/")).1.contains("· Affluent</title>"));
    let (status, page) = get(&format!("{http}/console/features"));
    assert_eq!(status, 200, "{page}");
    assert!(
        page.contains(">customer_velocity<") && page.contains("newest vectors in the lake: none yet"),
        "{page}"
    );
    let (status, problem) = get(&format!("{http}/v1/documents/mirrors.nothing"));
    assert_eq!(status, 404, "{problem}");
    assert!(problem.contains("\"status\":404"), "{problem}");
    assert_eq!(get(&format!("{http}/v1/documents/x?limit=0")).0, 400);
    assert_eq!(get(&format!("{http}/nowhere")).0, 404);

    let output = affluent(platform.directory.path()).args(["status", "--url", &http]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("broker") && text.contains("dead letters"), "{text}");

    let told = Instant::now();
    platform.signal("TERM");
    let status = platform.wait(Duration::from_secs(10));
    assert_eq!(status.code(), Some(0), "after {:?}: {}", told.elapsed(), platform.log());
}

#[test]
fn with_tokens_only_the_probes_are_open() {
    let token = "0123456789abcdef0123";
    let tokens = format!("[{{ name = 'test', token = '{token}', roles = ['read'] }}]");
    let mut platform = Platform::start(&["run", "api"], &[("AFFLUENT__HTTP__TOKENS", &tokens)]);
    platform.until_ok("/healthz");
    let (_, page) = get(&format!("{}/console/features", platform.http));
    assert!(!page.contains("customer_velocity"), "{page}");
    let url = format!("{}/metrics", platform.http);
    assert_eq!(get(&url).0, 401);
    assert_eq!(get_with(&url, Some("wrong")).0, 401);
    assert_eq!(get_with(&url, Some(token)).0, 200);
}

#[test]
fn a_taken_port_is_an_error_with_a_remedy() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let output = affluent(directory.path())
        .args(["run", "broker"])
        .env("AFFLUENT__BROKER__LISTEN", &address)
        .output()
        .unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains(&address) && err.contains("broker.listen"), "{err}");
}
