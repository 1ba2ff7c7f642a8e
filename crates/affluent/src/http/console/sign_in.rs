//! Signing in with a token, and out.

use super::enter::lang;
use super::form::{parsed, same_site};
use super::{page, session};
use crate::http::{Problem, Route, Shared, body};
use affluent_console::frame::Viewer;
use affluent_console::sign_in as pages;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::post;
use serde::Deserialize;
use std::time::Instant;

/// A token, and a path whose question may be long.
const BYTES_MAX: usize = 64 << 10;

#[derive(Debug, Deserialize)]
struct SignIn {
    token: String,
    /// Where the reader wanted to go.
    #[serde(default)]
    to: String,
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route { path: pages::PATH, roles: &[], handler: post(sign_in) },
        Route { path: "/console/sign-out", roles: &[], handler: post(sign_out) },
    ]
}

/// Begins a session for a token that is known.
async fn sign_in(State(shared): State<Shared>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let options = &shared.platform.config().http;
    let bytes = body::read_within(BYTES_MAX.min(options.max_body_bytes), options, &headers, body).await?;
    let SignIn { token, to } = parsed(&headers, &bytes).await?;
    same_site(&headers, shared.tokens.is_open())?;
    let Some(bearer) = shared.tokens.bearer(&token) else {
        tracing::warn!(target: "audit", "sign-in with an unknown token");
        let viewer = Viewer { lang: lang(&headers), ..Viewer::default() };
        return Ok((StatusCode::UNAUTHORIZED, page(pages::page(&viewer, own(&to), true))).into_response());
    };
    tracing::info!(target: "audit", who = shared.tokens.name(bearer), "signed in");
    let name = shared.console.sessions.begin(bearer, Instant::now());
    let cookie = session::cookie(Some(&name), options.tls.is_on());
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to(own(&to))).into_response())
}

/// Ends the session.
async fn sign_out(State(shared): State<Shared>, headers: HeaderMap) -> Result<Response, Problem> {
    same_site(&headers, shared.tokens.is_open())?;
    shared.console.sessions.end(&headers);
    let cookie = session::cookie(None, shared.platform.config().http.tls.is_on());
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response())
}

/// The path, where it is one of this server's.
fn own(to: &str) -> &str {
    let is_path = to.starts_with('/') && !to.starts_with("//") && !to.contains(['\\', '\r', '\n', '\t']);
    if is_path { to } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_away() {
        for (to, led) in [
            ("/console/batch?day=2026-11-22", "/console/batch?day=2026-11-22"),
            ("", "/"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("/\t/evil.example", "/"),
            ("https://evil.example", "/"),
        ] {
            assert_eq!(own(to), led, "{to}");
        }
    }
}
