//! The console without a browser: signing in and out, whose form does something, what the audit trail keeps, and a page that is live.

use crate::platform::Platform;
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Client, Method};
use std::time::Duration;

const ADMIN: &str = "admin-admin-admin-1";
const READER: &str = "reader-reader-reader-1";
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const PAGE: (&str, &str) = ("accept", "text/html");
const LETTERS: &str = "/console/dead-letters";
const REPLAY: &str = "/console/dead-letters/replay";

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

fn with_tokens() -> Platform {
    let token =
        |token: &str, role: &str| format!("{{ name = '{role}', token = '{token}', roles = ['{role}'] }}");
    let tokens = format!("[{}, {}]", token(ADMIN, "admin"), token(READER, "read"));
    let mut platform = Platform::start(&["up"], &[("AFFLUENT__HTTP__TOKENS", &tokens)]);
    platform.until_ok("/readyz");
    platform
}

fn client() -> Client {
    Client::builder().timeout(Duration::from_secs(20)).redirect(Policy::none()).build().unwrap()
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn ask(platform: &Platform, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    block_on(async {
        let mut request = client().request(method, format!("{}{path}", platform.http)).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, body: response.text().await.unwrap() }
    })
}

fn show(platform: &Platform, path: &str, cookie: &str) -> Answer {
    ask(platform, Method::GET, path, &[PAGE, ("cookie", cookie)], "")
}

fn post(platform: &Platform, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let headers: Vec<(&str, &str)> = headers.iter().copied().chain([FORM, PAGE]).collect();
    ask(platform, Method::POST, path, &headers, body)
}

/// Signs in; the cookie as a browser sends it back.
fn sign_in(platform: &Platform, token: &str) -> String {
    let answer = post(platform, "/console/sign-in", &[], &format!("token={token}&to=%2Fconsole%2Fbatch"));
    assert_eq!((answer.status, answer.header("location")), (303, "/console/batch"), "{}", answer.body);
    let cookie = answer.header("set-cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    cookie.split(';').next().unwrap().to_owned()
}

fn csrf(page: &str) -> String {
    page.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

#[test]
fn only_who_signed_in_sees_pages_and_only_admins_change_things() {
    let mut platform = with_tokens();
    let stranger = ask(&platform, Method::GET, LETTERS, &[PAGE, ("accept-language", "fr")], "");
    assert_eq!(stranger.status, 401);
    assert!(stranger.body.contains("Connexion") && stranger.body.contains("value=\"/console/dead-letters\""));
    let machine = ask(&platform, Method::GET, LETTERS, &[], "");
    assert_eq!((machine.status, machine.header("content-type")), (401, "application/problem+json"));
    assert_eq!(post(&platform, "/console/sign-in", &[], "token=nobody-nobody-nobody").status, 401);
    let foreign = [("sec-fetch-site", "cross-site")];
    assert_eq!(post(&platform, "/console/sign-in", &foreign, &format!("token={ADMIN}")).status, 403);

    let (reader, admin) = (sign_in(&platform, READER), sign_in(&platform, ADMIN));
    let page = show(&platform, LETTERS, &reader);
    assert!(page.status == 200 && page.header("content-security-policy").contains("script-src 'self'"));
    let as_reader = [("cookie", reader.as_str())];
    let form = |page: &Answer| format!("csrf={}&topic=&reason=", csrf(&page.body));
    assert_eq!(post(&platform, REPLAY, &as_reader, &form(&page)).status, 403, "a reader changes nothing");
    // The interface for machines does not know cookies.
    assert_eq!(show(&platform, "/v1/status", &admin).status, 401);

    let page = show(&platform, LETTERS, &admin);
    let as_admin = [("cookie", admin.as_str())];
    for (headers, body) in [
        (vec![as_admin[0]], "topic=&reason=".to_owned()),
        (vec![as_admin[0]], "csrf=guessed&topic=&reason=".to_owned()),
        (vec![as_admin[0], ("origin", "https://evil.example")], form(&page)),
    ] {
        let refused = post(&platform, REPLAY, &headers, &body);
        assert!(
            refused.status == 403 && refused.body.contains("<html"),
            "{headers:?} {body}: {}",
            refused.body
        );
    }
    let done = post(&platform, REPLAY, &as_admin, &form(&page));
    assert_eq!(done.status, 303, "{}", done.body);
    let back = done.header("location").to_owned();
    assert!(show(&platform, &back, &admin).body.contains("0 sent again"));
    assert!(!show(&platform, &back, &admin).body.contains("0 sent again"), "a notice is shown once");

    // Each column of a join has its own value, whatever its name.
    let joined = "select%20x.a%2C%20y.a%20from%20(select%2011%20as%20a)%20x%20cross%20join%20(select%2022%20as%20a)%20y";
    let answer = show(&platform, &format!("/console/query?sql={joined}"), &reader).body;
    assert!(answer.contains("<td class=\"n\">11</td><td class=\"n\">22</td>"), "{answer}");
    let taken = show(&platform, &format!("/console/query.csv?sql={joined}"), &reader);
    assert_eq!((taken.status, taken.body.as_str()), (200, "a,a\n11,22\n"));

    // Who did what is among the log lines, where they are kept.
    let url = format!("{}/v1/documents/logs?limit=100", platform.http);
    platform.until("the audit trail in the documents", |_| {
        let (status, body) = crate::platform::get_with(&url, Some(READER));
        (status == 200 && body.contains("dead_letters.replay") && body.contains("asked")).then_some(())
    });
    assert_eq!(post(&platform, "/console/sign-out", &as_admin, &form(&page)).status, 303);
    assert_eq!(show(&platform, LETTERS, &admin).status, 401, "signed out");
}

#[test]
fn a_page_is_live_and_keeps_nobody_from_stopping() {
    let mut platform = Platform::start(&["up"], &[]);
    platform.until_ok("/readyz");
    // A name of another site that leads here shows nothing, where there are no tokens.
    for (host, status) in [("evil.example:8080", 403), ("localhost:8080", 200)] {
        let answer = ask(&platform, Method::GET, LETTERS, &[PAGE, ("host", host)], "");
        assert_eq!(answer.status, status, "{host}: {}", answer.body);
    }
    let url = format!("{}/console/live?page=overview", platform.http);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let stream = runtime.block_on(async {
        let mut stream = Client::new().get(&url).send().await.unwrap();
        assert_eq!(stream.headers()["content-type"], "text/event-stream");
        let mut text = String::new();
        while !text.contains("event: part") || !text.contains("\"id\":\"way\"") {
            let piece = tokio::time::timeout(Duration::from_secs(30), stream.chunk()).await;
            text += &String::from_utf8_lossy(&piece.expect(&text).unwrap().expect("the stream goes on"));
        }
        stream
    });
    // With the page still open.
    platform.signal("TERM");
    assert_eq!(platform.wait(Duration::from_secs(10)).code(), Some(0), "{}", platform.log());
    drop(stream);
}
