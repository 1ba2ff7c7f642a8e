//! What the HTTP interface does with requests that are not as they should be: without a token, of another role, too large, malformed, sent again,
//! late, full of what would be dangerous elsewhere; over TLS; and as its own description says.

use crate::platform::{Platform, affluent, get, get_with};
use affluent_model::time::{format_micros, now_micros};
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value as Json, json};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const SCORE: &str = "score-score-score-1";
const LABEL: &str = "label-label-label-1";
const READ: &str = "read-read-read-read-1";
const SLOW: &str = "slow-slow-slow-slow-1";

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Every error is a problem, and says so.
    fn is_problem(&self, status: u16) {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.body);
        assert_eq!(self.json()["status"], status, "{}", self.body);
    }
}

/// A platform with one token a role; `SLOW` may score once a second.
fn with_tokens() -> Platform {
    let token =
        |token: &str, role: &str| format!("{{ name = '{role}', token = '{token}', roles = ['{role}'] }}");
    let slow = format!("{{ name = 'slow', token = '{SLOW}', roles = ['score'], requests_per_s = 1 }}");
    let tokens =
        format!("[{}, {}, {}, {slow}]", token(SCORE, "score"), token(LABEL, "label"), token(READ, "read"));
    let settings = [("AFFLUENT__HTTP__TOKENS", tokens.as_str()), ("AFFLUENT__HTTP__MAX_BODY_BYTES", "20000")];
    let mut platform = Platform::start(&["up"], &settings);
    platform.until_ok("/readyz");
    platform
}

fn ask(
    platform: &Platform,
    (method, path): (Method, &str),
    token: Option<&str>,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
        let mut request = client.request(method, format!("{}{path}", platform.http)).body(body.to_owned());
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            request = request.header(name, HeaderValue::from_str(value).unwrap());
        }
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, body: response.text().await.unwrap() }
    })
}

const JSON: (&str, &str) = ("content-type", "application/json");

fn score(platform: &Platform, headers: &[(&str, &str)], body: &Json) -> Answer {
    let headers: Vec<(&str, &str)> = headers.iter().copied().chain([JSON]).collect();
    ask(platform, (Method::POST, "/v1/score"), Some(SCORE), &headers, &body.to_string())
}

fn payment() -> Json {
    json!({"transaction_id": "6f1b4a4e-0000-4000-8000-000000000001", "amount": "12.34", "currency": "EUR", "customer_id": 42})
}

#[test]
fn tokens_roles_and_rates() {
    let platform = with_tokens();
    let body = payment().to_string();
    for (method, path, allowed) in [
        (Method::GET, "/metrics", vec![READ]),
        (Method::GET, "/v1/status", vec![READ]),
        (Method::GET, "/v1/documents/mirrors.transactions", vec![READ]),
        (Method::GET, "/v1/features?entity=customer&key=42", vec![READ]),
        (Method::GET, "/v1/scores/nobody", vec![READ, SCORE]),
        (Method::GET, "/openapi.json", vec![READ, SCORE, LABEL]),
        (Method::POST, "/v1/score", vec![SCORE]),
        (Method::POST, "/v1/score/batch", vec![SCORE]),
        (Method::POST, "/v1/labels", vec![LABEL]),
    ] {
        let to = || (method.clone(), path);
        let none = ask(&platform, to(), None, &[JSON], &body);
        none.is_problem(401);
        assert_eq!(none.header("www-authenticate"), Some("Bearer"));
        ask(&platform, to(), Some("nobody-nobody-nobody"), &[JSON], &body).is_problem(401);
        for token in [READ, SCORE, LABEL] {
            let answer = ask(&platform, to(), Some(token), &[JSON], &body);
            if allowed.contains(&token) {
                assert!(![401, 403].contains(&answer.status), "{path}: {} {}", answer.status, answer.body);
            } else {
                answer.is_problem(403);
            }
        }
    }
    assert_eq!(get(&format!("{}/healthz", platform.http)).0, 200, "the probes are open");
    // One request a second: of five at once, some come too soon.
    let answers: Vec<Answer> =
        (0..5).map(|_| ask(&platform, (Method::POST, "/v1/score"), Some(SLOW), &[JSON], &body)).collect();
    let refused: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(!refused.is_empty() && refused.len() < 5, "{} of 5", refused.len());
    for answer in refused {
        answer.is_problem(429);
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
}

#[test]
fn bodies_keys_deadlines_and_dangerous_strings() {
    let platform = with_tokens();
    let to_score = || (Method::POST, "/v1/score");
    for (path, token) in [("/v1/score", SCORE), ("/v1/score/batch", SCORE), ("/v1/labels", LABEL)] {
        let post = |headers: &[(&str, &str)], body: &str| {
            ask(&platform, (Method::POST, path), Some(token), headers, body)
        };
        post(&[JSON], &format!("{{\"transaction_id\": \"{}\"}}", "x".repeat(30_000))).is_problem(413);
        post(&[], "{}").is_problem(415);
        post(&[("content-type", "text/plain")], "{}").is_problem(415);
        for malformed in ["", "{", "nonsense", "{\"a\": 1} {}", "\u{0}"] {
            post(&[JSON], malformed).is_problem(400);
        }
        for wrong in ["[]", "null", "1", "{}", "{\"surprise\": 1}"] {
            post(&[JSON], wrong).is_problem(422);
        }
        // As deep as the body may be long.
        let deep = post(&[JSON], &"[".repeat(19_000));
        assert!([400, 422].contains(&deep.status), "{} {}", deep.status, deep.body);
        ask(&platform, (Method::GET, path), Some(token), &[], "").is_problem(405);
    }

    let scored = score(&platform, &[], &payment());
    assert_eq!(scored.status, 200, "{}", scored.body);
    let whole = scored.json();
    assert_eq!(whole["transaction_id"], payment()["transaction_id"]);
    assert!(["approve", "review", "decline"].contains(&whole["decision"].as_str().unwrap()), "{whole}");
    // No model serves, and nothing was streamed: it says so.
    assert!(whole["degraded"].is_string() && whole["score"].is_null(), "{whole}");

    // Sent again: the same answer, to the byte. With another body: refused.
    let key = [("idempotency-key", "k-1")];
    let first = score(&platform, &key, &payment());
    let again = score(&platform, &key, &payment());
    assert_eq!((first.body.as_str(), first.header("idempotent-replayed")), (again.body.as_str(), None));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let mut other = payment();
    other["amount"] = json!("12.35");
    score(&platform, &key, &other).is_problem(422);
    score(&platform, &[("idempotency-key", "")], &payment()).is_problem(400);
    let long = "k".repeat(256);
    score(&platform, &[("idempotency-key", long.as_str())], &payment()).is_problem(400);

    let late = score(&platform, &[("x-deadline-ms", "0")], &payment()).json();
    assert_eq!(
        (late["degraded"].as_str(), late["features"]["source"].as_str()),
        (Some("deadline"), Some("none"))
    );
    score(&platform, &[("x-deadline-ms", "soon")], &payment()).is_problem(400);
    let mut ahead = payment();
    ahead["occurred_at"] = json!(format_micros(now_micros() + 3_600_000_000, true));
    score(&platform, &[], &ahead).is_problem(422);
    ahead["occurred_at"] = json!(format_micros(now_micros() + 60_000_000, true));
    assert_eq!(score(&platform, &[], &ahead).status, 200);

    let batch = json!({"transactions": [payment(), other, {"transaction_id": "x"}]}).to_string();
    let batch = ask(&platform, (Method::POST, "/v1/score/batch"), Some(SCORE), &[JSON], &batch);
    let scores = batch.json()["scores"].clone();
    assert_eq!((batch.status, scores.as_array().unwrap().len()), (200, 3), "{}", batch.body);
    assert_eq!(scores[2]["problem"]["status"], 422);
    assert!(scores[0]["decision"].is_string() && scores[1]["decision"].is_string());

    let dangerous = [
        "'; drop table transactions; --",
        "\" or 1=1 --",
        "{\"$gt\": \"\"}",
        "<script>alert(1)</script>",
        "../../../etc/passwd",
        "${env:HOME}",
        "%00",
        "\u{0}",
        "\r\nx-injected: 1",
        "\u{202e}\u{1f4a3}",
        "NaN",
        "-9223372036854775809",
    ];
    for text in dangerous {
        for field in [
            "transaction_id",
            "occurred_at",
            "amount",
            "currency",
            "customer_id",
            "merchant_id",
            "terminal_id",
            "device_id",
            "card_token",
            "card_bin",
            "ip",
            "payment_method",
            "status",
        ] {
            let mut asked = payment();
            asked[field] = json!(text);
            let answer = score(&platform, &[], &asked);
            assert!(
                [200, 422].contains(&answer.status),
                "{field} {text:?}: {} {}",
                answer.status,
                answer.body
            );
            assert!(answer.header("x-injected").is_none());
        }
        let label = json!({"transaction_id": text, "label": "confirmed"}).to_string();
        let answer = ask(&platform, (Method::POST, "/v1/labels"), Some(LABEL), &[JSON], &label);
        assert!([404, 422].contains(&answer.status), "{text:?}: {} {}", answer.status, answer.body);
        let escaped: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        for path in [
            format!("/v1/scores/{escaped}"),
            format!("/v1/documents/{escaped}"),
            format!("/v1/documents/mirrors.transactions/{escaped}"),
            format!("/v1/features?entity={escaped}&key={escaped}"),
        ] {
            let (status, body) = get_with(&format!("{}{path}", platform.http), Some(READ));
            assert!([400, 404].contains(&status), "{path}: {status} {body}");
        }
    }
    assert_eq!(
        ask(&platform, to_score(), Some(SCORE), &[JSON], &payment().to_string()).status,
        200,
        "it lives"
    );
    assert_eq!(get(&format!("{}/readyz", platform.http)).0, 200);
}

#[test]
fn an_interface_that_is_ready_has_its_rules() {
    let mut platform = Platform::start(&["run", "api"], &[]);
    platform.until_ok("/readyz");
    let answer = ask(&platform, (Method::POST, "/v1/score"), None, &[JSON], &payment().to_string());
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_ne!(answer.json()["rules_version"], "none", "{}", answer.body);
}

fn openssl(directory: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn over_tls_nothing_is_served_in_the_clear() {
    let files = tempfile::tempdir().unwrap();
    openssl(
        files.path(),
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE -keyout key.pem -out cert.pem",
    );
    let (cert, key) = (files.path().join("cert.pem"), files.path().join("key.pem"));
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let tls = [("AFFLUENT__HTTP__TLS__CERTIFICATE_FILE", cert), ("AFFLUENT__HTTP__TLS__KEY_FILE", key)];
    let platform = Platform::start(&["run", "api"], &tls);
    assert_eq!(get(&format!("{}/healthz", platform.http)).0, 0, "plain HTTP has no answer");
    let address = platform.http.trim_start_matches("http://");
    let asked = |url: &str| {
        let mut command = affluent(platform.directory.path());
        command.args(["status", "--url", url]).env("AFFLUENT__HTTP__TLS__CERTIFICATE_FILE", cert);
        let output = command.env("AFFLUENT__HTTP__TLS__KEY_FILE", key).output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let (_, said) = asked(&format!("https://{address}"));
    assert!(said.contains("api"), "{said}");
    let (code, said) = asked(&format!("http://{address}"));
    assert_eq!(code, Some(1), "{said}");

    for (name, value) in
        [("CERTIFICATE_FILE", key), ("KEY_FILE", cert), ("KEY_FILE", "nowhere.pem"), ("KEY_FILE", "")]
    {
        let directory = tempfile::tempdir().unwrap();
        let mut command = affluent(directory.path());
        command.args(["run", "api"]).envs(tls).env(format!("AFFLUENT__HTTP__TLS__{name}"), value);
        let output = command.env("AFFLUENT__HTTP__LISTEN", "127.0.0.1:0").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            matches!(output.status.code(), Some(1 | 2)) && said.contains("http.tls"),
            "{name}={value}: {said}"
        );
    }
}

/// Requests made from the description, good and bad ones, by schemathesis: no answer is an error of the server or anything that is not described.
#[test]
fn the_interface_is_as_it_describes_itself() {
    let platform = with_tokens();
    let python = std::env::var("AFFLUENT_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let run = |token: &str, paths: &str| {
        let mut command = Command::new(&python);
        command.args(["-c", "from schemathesis.cli import schemathesis; schemathesis()", "run"]);
        command.arg(format!("{}/openapi.json", platform.http)).current_dir(platform.directory.path());
        command.args(["--header", &format!("Authorization: Bearer {token}"), "--include-path-regex", paths]);
        command.args([
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
             response_schema_conformance",
            "--phases",
            "examples,coverage,fuzzing",
            "--max-examples",
            "40",
            "--seed",
            "1",
            "--suppress-health-check",
            "all",
            "--warnings",
            "off",
        ]);
        let output = command.output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{paths}: run `make setup` where schemathesis is missing\n{said}");
        assert!(said.contains("No issues found"), "{said}");
    };
    run(SCORE, "^/v1/score");
    run(LABEL, "^/v1/labels$");
    run(READ, "^/(healthz|v1/documents|v1/features|v1/status)");
}

#[test]
fn a_process_without_rules_judges_nobody_until_they_are_mended() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.toml");
    std::fs::write(&rules, "[[rules]").unwrap();
    let settings = [("AFFLUENT__SCORE__SERVING__RULES", rules.to_str().unwrap())];
    let mut platform = Platform::start(&["up"], &settings);
    platform.until("the rules to be refused", |log| log.contains("no rules to judge by").then_some(()));
    assert_eq!(get(&format!("{}/readyz", platform.http)).0, 503);
    let asked = |platform: &Platform| {
        ask(platform, (Method::POST, "/v1/score"), None, &[JSON], &payment().to_string())
    };
    asked(&platform).is_problem(503);
    std::fs::write(&rules, "").unwrap();
    platform.until_ok("/readyz");
    assert_eq!(asked(&platform).status, 200);
}
