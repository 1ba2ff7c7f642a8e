//! Who comes in: by a session, by a bearer token as the rest of the interface, or as anyone where there are no tokens.

use super::form::is_local;
use super::page;
use super::session::Sessions;
use crate::http::access::{Bearer, Tokens};
use crate::http::options::Access;
use crate::http::{Problem, Shared};
use affluent_console::frame::Viewer;
use affluent_console::lang::Lang;
use affluent_console::sign_in;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::time::Instant;

/// Who reads a page.
#[derive(Debug, Clone)]
pub(super) struct Visitor {
    pub(super) viewer: Viewer,
    /// By a header that no other site can send: forms need no secret.
    pub(super) is_by_header: bool,
}

impl FromRequestParts<Shared> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _shared: &Shared) -> Result<Self, Problem> {
        parts.extensions.get::<Visitor>().cloned().ok_or_else(Problem::unauthorized)
    }
}

/// Lets readers pass whose token has one of these roles; others are shown how to sign in. What goes wrong is a page where a page was
/// asked for.
pub(in crate::http) async fn guard(
    State((shared, roles)): State<(Shared, &'static [Access])>,
    mut request: Request,
    next: Next,
) -> Response {
    let is_page = wants_page(request.headers());
    let console = &shared.console;
    let mut viewer = Viewer { lang: lang(request.headers()), ..Viewer::default() };
    let answer = match enter(&shared.tokens, &console.sessions, request.headers(), roles) {
        Ok((bearer, csrf)) => {
            let tokens = &shared.tokens;
            viewer.name = tokens.name(bearer).map(str::to_owned);
            viewer.may_label = tokens.may(bearer, Access::Label);
            viewer.may_change = tokens.may(bearer, Access::Admin);
            viewer.notice = console.notices.take(request.uri().query());
            let is_by_header = csrf.is_none();
            viewer.csrf = csrf.unwrap_or_default();
            request.extensions_mut().insert(Visitor { viewer: viewer.clone(), is_by_header });
            if request.method() == Method::POST {
                finished(next, request).await
            } else {
                next.run(request).await
            }
        }
        Err(problem) if is_page && problem.status() == StatusCode::UNAUTHORIZED => {
            let asked = request.uri().path_and_query().filter(|_| request.method() == Method::GET);
            let to = asked.map_or("/", |asked| asked.as_str());
            return (StatusCode::UNAUTHORIZED, page(sign_in::page(&viewer, to, false))).into_response();
        }
        Err(problem) => problem.into_response(),
    };
    match answer.extensions().get::<Problem>() {
        Some(problem) if is_page => {
            (problem.status(), page(sign_in::failed(&viewer, problem.detail()))).into_response()
        }
        Some(_) | None => answer,
    }
}

/// What a form began goes on to its end, also where its sender has gone: else nobody could tell how much of it was done.
async fn finished(next: Next, request: Request) -> Response {
    let ended = tokio::spawn(next.run(request)).await;
    ended.unwrap_or_else(|error| Problem::internal(format!("the form broke off: {error}")).into_response())
}

/// Whose request it is, and the secret that its forms have to bring; none where it came by a header.
fn enter(
    tokens: &Tokens,
    sessions: &Sessions,
    headers: &HeaderMap,
    roles: &[Access],
) -> Result<(Bearer, Option<String>), Problem> {
    if tokens.is_open() {
        // By a name of its own that leads here, another site's page could read what is shown (DNS rebinding).
        if !is_local(text(headers, "host").unwrap_or_default()) {
            return Err(Problem::refused(
                "without tokens the console is shown under the names of this machine alone: ask for localhost, or add [[http.tokens]]",
            ));
        }
        return Ok((tokens.admit(headers, roles)?, Some(sessions.open_csrf().to_owned())));
    }
    match sessions.find(headers, Instant::now()) {
        Some((bearer, csrf)) if !headers.contains_key(header::AUTHORIZATION) => {
            Ok((tokens.admit_known(bearer, roles)?, Some(csrf)))
        }
        Some(_) | None => Ok((tokens.admit(headers, roles)?, None)),
    }
}

/// The language of the reader.
pub(super) fn lang(headers: &HeaderMap) -> Lang {
    Lang::of(text(headers, "accept-language").unwrap_or_default())
}

fn wants_page(headers: &HeaderMap) -> bool {
    text(headers, "accept").is_some_and(|accepted| accepted.contains("text/html"))
}

/// The value of a header, where it is text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::options::{HttpOptions, Token};

    #[test]
    fn a_session_is_as_good_as_its_token() {
        let token = |name: &str, roles: &[Access]| Token {
            name: name.to_owned(),
            token: format!("{name}-{name}-{name}-{name}"),
            roles: roles.to_vec(),
            requests_per_s: None,
        };
        let options = HttpOptions {
            tokens: vec![token("reader", &[Access::Read]), token("admin", &[Access::Admin])],
            ..HttpOptions::default()
        };
        let (tokens, sessions) = (Tokens::new(&options), Sessions::default());
        let enter = |headers: &HeaderMap, role| enter(&tokens, &sessions, headers, &[role]);
        assert_eq!(enter(&HeaderMap::new(), Access::Read).unwrap_err().status(), StatusCode::UNAUTHORIZED);
        let of = |name: &str| {
            let bearer = tokens.bearer(&format!("{name}-{name}-{name}-{name}")).unwrap();
            let session = sessions.begin(bearer, Instant::now());
            let cookie = format!("affluent_session={session}");
            (bearer, HeaderMap::from_iter([(header::COOKIE, cookie.parse().unwrap())]))
        };
        let (reader, cookie) = of("reader");
        let (found, csrf) = enter(&cookie, Access::Read).unwrap();
        assert!(found == reader && csrf.is_some() && tokens.name(found) == Some("reader"));
        assert_eq!(enter(&cookie, Access::Admin).unwrap_err().status(), StatusCode::FORBIDDEN);
        let (admin, cookie) = of("admin");
        assert_eq!(enter(&cookie, Access::Admin).unwrap().0, admin);
        let header = HeaderMap::from_iter([(
            header::AUTHORIZATION,
            "Bearer admin-admin-admin-admin".parse().unwrap(),
        )]);
        assert_eq!(enter(&header, Access::Admin).unwrap(), (admin, None));
        let open = Tokens::new(&HttpOptions::default());
        let enter = |host: &str| {
            let headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
            super::enter(&open, &sessions, &headers, &[Access::Admin])
        };
        assert!(enter("localhost:8080").unwrap().1.is_some());
        assert_eq!(enter("evil.example:8080").unwrap_err().status(), StatusCode::FORBIDDEN);
        assert!(super::enter(&open, &sessions, &HeaderMap::new(), &[Access::Read]).is_err());
        assert!(open.may(Bearer(None), Access::Admin) && open.name(Bearer(None)).is_none());
    }
}
