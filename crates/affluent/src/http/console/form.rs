//! What a form has to bring to change something, and what its reader is told afterwards.
//!
//! Invariant: a form of another site does nothing. It lacks the secret of the session, its request says where it comes from, and where
//! there are no tokens this machine has to be asked by a name of its own (a foreign name that leads here is an attack: DNS rebinding).

use super::audit::Entry;
use super::enter::{Visitor, text};
use crate::http::{Problem, Shared, body};
use affluent_console::frame::{CSRF_FIELD, Notice, State};
use axum::body::Body;
use axum::extract::{Form, FromRequest, FromRequestParts, Request};
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::de::DeserializeOwned;
use std::net::IpAddr;

/// Characters of a form that the audit trail keeps.
const KEPT_CHARS: usize = 1_000;

/// A form that may do what it asks for, and whose it is. What it asks is in the audit trail.
pub(super) struct Posted<T>(pub(super) T, pub(super) Visitor);

impl<T: DeserializeOwned + Send> FromRequest<Shared> for Posted<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, shared: &Shared) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let visitor = Visitor::from_request_parts(&mut parts, shared).await?;
        let bytes = body::read(&shared.platform.config().http, &parts.headers, body).await?;
        let fields: Vec<(String, String)> = parsed(&parts.headers, &bytes).await?;
        if !visitor.is_by_header {
            check(&parts.headers, &fields, &visitor.viewer.csrf, shared.tokens.is_open())?;
        }
        let form = parsed(&parts.headers, &bytes).await?;
        let (who, subject) = (visitor.viewer.name.as_deref(), asked(&fields));
        let entry = Entry { who, action: parts.uri.path(), subject: &subject, outcome: "asked", detail: "" };
        shared.console.audit.write(&entry).await?;
        Ok(Posted(form, visitor))
    }
}

/// What a form did.
pub(super) struct Done<'a> {
    pub(super) action: &'static str,
    pub(super) subject: &'a str,
    /// What came of it, or why nothing did.
    pub(super) outcome: Result<String, String>,
    /// The page that its reader sees then.
    pub(super) back: &'a str,
}

impl Done<'_> {
    /// Puts it into the audit trail, and leads the reader back to where it is told.
    pub(super) async fn tell(self, shared: &Shared, visitor: &Visitor) -> Response {
        let Done { action, subject, outcome, back } = self;
        let (outcome, state, detail) = match outcome {
            Ok(detail) => ("done", State::Good, detail),
            Err(why) => ("failed", State::Bad, why),
        };
        let who = visitor.viewer.name.as_deref();
        let entry = Entry { who, action, subject, outcome, detail: &detail };
        if let Err(problem) = shared.console.audit.write(&entry).await {
            // That it was asked for is there.
            tracing::warn!(error = problem.detail(), action, outcome, "outcome not in the audit trail");
        }
        let notice = Notice { state, text: format!("{subject}: {detail}") };
        Redirect::to(&shared.console.notices.back(back, notice)).into_response()
    }
}

/// What a form says.
///
/// # Errors
/// 422 for another form, or none.
pub(super) async fn parsed<T: DeserializeOwned>(headers: &HeaderMap, bytes: &[u8]) -> Result<T, Problem> {
    let mut request = Request::new(Body::from(bytes.to_vec()));
    *request.method_mut() = Method::POST;
    if let Some(media) = headers.get(header::CONTENT_TYPE) {
        request.headers_mut().insert(header::CONTENT_TYPE, media.clone());
    }
    let form = Form::<T>::from_request(request, &()).await;
    form.map(|Form(form)| form).map_err(|error| Problem::unprocessable(error.body_text()))
}

/// # Errors
/// 403 for a form that is not ours.
fn check(headers: &HeaderMap, fields: &[(String, String)], csrf: &str, is_open: bool) -> Result<(), Problem> {
    let given = fields.iter().find(|(name, _)| name == CSRF_FIELD).map(|(_, value)| value.as_str());
    if csrf.is_empty() || given != Some(csrf) {
        return Err(Problem::refused("this form is too old or not of this console: read its page again"));
    }
    same_site(headers, is_open)
}

/// # Errors
/// 403 for a request that another site's page made.
pub(super) fn same_site(headers: &HeaderMap, is_open: bool) -> Result<(), Problem> {
    let host = text(headers, "host").unwrap_or_default();
    let is_foreign_fetch =
        text(headers, "sec-fetch-site").is_some_and(|site| !["same-origin", "none"].contains(&site));
    let is_foreign_origin = text(headers, "origin")
        .is_some_and(|origin| origin.split_once("://").is_none_or(|(_, authority)| authority != host));
    if is_foreign_fetch || is_foreign_origin || (is_open && !is_local(host)) {
        return Err(Problem::refused(
            "this form comes from another site, or over a name that is not this machine's",
        ));
    }
    Ok(())
}

/// The value of `Host` is one of the names of this machine for itself.
pub(super) fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// What was asked, for the audit trail: every field but the secret.
fn asked(fields: &[(String, String)]) -> String {
    let shown =
        fields.iter().filter(|(name, _)| name != CSRF_FIELD).map(|(name, value)| format!("{name}={value}"));
    shown.collect::<Vec<_>>().join(" ").chars().take(KEPT_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderName;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_form_of_another_site_is_refused() {
        let fields = |csrf: &str| vec![("csrf".to_owned(), csrf.to_owned())];
        let good = headers(&[("host", "localhost:8080")]);
        check(&good, &fields("s3cret"), "s3cret", true).unwrap();
        for (csrf, sent) in [("s3cret", "other"), ("s3cret", ""), ("", "")] {
            assert_eq!(check(&good, &fields(sent), csrf, false).unwrap_err().status().as_u16(), 403);
        }
        assert!(check(&good, &[], "s3cret", false).is_err());
        for (pairs, is_open, is_fine) in [
            (vec![("host", "shop.example"), ("origin", "https://shop.example")], false, true),
            (vec![("host", "shop.example"), ("origin", "https://evil.example")], false, false),
            (vec![("host", "shop.example"), ("origin", "null")], false, false),
            (vec![("host", "shop.example"), ("sec-fetch-site", "cross-site")], false, false),
            (vec![("host", "shop.example"), ("sec-fetch-site", "same-origin")], false, true),
            (vec![("host", "shop.example")], true, false),
            (vec![("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:8080")], true, true),
            (vec![("host", "[::1]:8080")], true, true),
            (vec![("host", "[::1]")], true, true),
            (vec![], true, false),
        ] {
            assert_eq!(same_site(&headers(&pairs), is_open).is_ok(), is_fine, "{pairs:?} {is_open}");
        }
    }

    #[tokio::test]
    async fn a_form_is_read_and_its_secret_kept_out_of_the_trail() {
        let media = headers(&[("content-type", "application/x-www-form-urlencoded")]);
        let fields: Vec<(String, String)> =
            parsed(&media, b"csrf=s3cret&id=a%2F0%2F1&reason=").await.unwrap();
        assert_eq!(asked(&fields), "id=a/0/1 reason=");
        let other = parsed::<Vec<(String, String)>>(&HeaderMap::new(), b"a=b").await;
        assert_eq!(other.unwrap_err().status().as_u16(), 422);
    }
}
