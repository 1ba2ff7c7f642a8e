//! Who comes in: by a session, by a bearer token as the rest of the interface, or as anyone where there are no tokens.

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
            next.run(request).await
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

/// Whose request it is, and the secret that its forms have to bring; none where it came by a header.
fn enter(
    tokens: &Tokens,
    sessions: &Sessions,
    headers: &HeaderMap,
    roles: &[Access],
) -> Result<(Bearer, Option<String>), Problem> {
    if tokens.is_open() {
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
        assert!(super::enter(&open, &sessions, &HeaderMap::new(), &[Access::Admin]).unwrap().1.is_some());
        assert!(open.may(Bearer(None), Access::Admin) && open.name(Bearer(None)).is_none());
    }
}
