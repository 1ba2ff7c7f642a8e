//! The page at `/`: roles, lag and where to look, rendered on the server. What pages share is here, too.

use super::Shared;
use super::health::Status;
use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use std::fmt::Write;

const STYLE: &str = "<style>:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;\
margin:2rem auto;padding:0 1rem}table{border-collapse:collapse;margin:.5rem 0 1.5rem;width:100%}td,th{text-align:left;\
vertical-align:top;padding:.25rem .75rem .25rem 0;border-bottom:1px solid #8884}td.n,th.n{text-align:right}\
.ready{color:#2a8a2a}.degraded,.starting{color:#b07000}.failed{color:#c33}.stopped{color:#888}</style>";

/// A page loads nothing and runs nothing: no script, no form, no frame; its style is part of it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// The page.
pub(super) async fn show(State(shared): State<Shared>) -> Response {
    answer(render(&Status::of(&shared.platform).await))
}

/// How a page begins; it is read again every `refresh_s` seconds.
pub(super) fn head(title: &str, refresh_s: u32) -> String {
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>\
         <meta http-equiv=refresh content={refresh_s}><title>{}</title>{STYLE}",
        escape(title)
    )
}

/// A page as an answer.
pub(super) fn answer(html: String) -> Response {
    let headers = [(header::CONTENT_SECURITY_POLICY, POLICY), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (headers, Html(html)).into_response()
}

fn render(status: &Status) -> String {
    let mut html = head("Affluent", 5);
    let _ = write!(
        html,
        "<h1>Affluent</h1><p>version {} · up {} s · {:.0} MB resident</p><h2>Roles</h2><table>",
        escape(&status.version),
        status.uptime_s,
        status.resident_bytes as f64 / 1e6
    );
    for (name, role) in &status.roles {
        let (name, state) = (escape(name), escape(&role.state));
        let detail = escape(role.detail.as_deref().unwrap_or_default());
        let _ = write!(html, "<tr><td>{name}<td class={state}>{state}<td>{detail}");
    }
    html.push_str("</table><h2>Lag</h2><table><tr><th>group<th>topic<th class=n>records");
    for lag in &status.lag {
        let (group, topic) = (escape(&lag.group), escape(&lag.topic));
        let _ = write!(html, "<tr><td>{group}<td>{topic}<td class=n>{}", lag.records);
    }
    html.push_str("</table><h2>Source</h2><table><tr><th>slot<th class=n>write-ahead log kept, bytes");
    for slot in &status.slots {
        let _ = write!(html, "<tr><td>{}<td class=n>{}", escape(&slot.slot), slot.retained_bytes);
    }
    let letters = status.dead_letters.map_or("unknown".to_owned(), |count| count.to_string());
    let _ = write!(
        html,
        "</table><p>Dead letters: {letters}</p><p><a href=/features>/features</a> · <a href=/metrics>/metrics</a> · \
         <a href=/healthz>/healthz</a> · <a href=/readyz>/readyz</a> · <a href=/v1/status>/v1/status</a> · \
         /v1/documents/{{collection}}[/{{id}}] · /v1/features?entity=&amp;key= · <a href=/openapi.json>/openapi.json</a></p></html>"
    );
    html
}

/// Text that is no markup.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::health::{Lag, Role};
    use super::*;

    #[test]
    fn a_page_may_load_and_run_nothing() {
        let answer = answer(head("a < b", 5));
        let policy = answer.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("script-src"), "{policy}");
        assert!(head("a < b", 5).contains("<title>a &lt; b</title>"));
    }

    #[test]
    fn what_comes_from_outside_is_escaped() {
        let role = Role { state: "failed".to_owned(), detail: Some("<script>".to_owned()) };
        let status = Status {
            version: "1".to_owned(),
            ready: false,
            uptime_s: 1,
            resident_bytes: 1,
            roles: [("cdc".to_owned(), role)].into(),
            lag: vec![Lag { group: "g".to_owned(), topic: "t&t".to_owned(), records: 3 }],
            slots: Vec::new(),
            dead_letters: None,
        };
        let html = render(&status);
        assert!(html.contains("&lt;script&gt;") && !html.contains("<script>"));
        assert!(html.contains("t&amp;t") && html.contains("unknown"));
    }
}
