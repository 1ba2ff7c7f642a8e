//! Who is signed in: sessions in memory, named by a secret in a cookie. They end with the process, with their time, or when their
//! reader signs out.

use crate::http::access::Bearer;
use axum::http::{HeaderMap, header};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use uuid::Uuid;

const COOKIE: &str = "affluent_session";
/// A working day.
const LENGTH: Duration = Duration::from_secs(12 * 3600);
/// More than this, and the one that would end first ends.
const SESSIONS_MAX: usize = 1_000;

/// Everybody who is signed in, and the secret of those who need not be.
pub(super) struct Sessions {
    known: Mutex<HashMap<String, Session>>,
    /// Against forms of other sites, where there are no tokens.
    open_csrf: String,
}

#[derive(Debug, Clone)]
struct Session {
    bearer: Bearer,
    csrf: String,
    ends: Instant,
}

impl Default for Sessions {
    fn default() -> Self {
        Sessions { known: Mutex::default(), open_csrf: secret() }
    }
}

impl Sessions {
    /// Begins a session; its name.
    pub(super) fn begin(&self, bearer: Bearer, now: Instant) -> String {
        let mut known = self.known.lock();
        known.retain(|_, session| session.ends > now);
        if known.len() >= SESSIONS_MAX {
            let first = known.iter().min_by_key(|(_, session)| session.ends).map(|(name, _)| name.clone());
            if let Some(first) = first {
                known.remove(&first);
            }
        }
        let name = secret();
        known.insert(name.clone(), Session { bearer, csrf: secret(), ends: now + LENGTH });
        name
    }

    /// Whose session it is, and its secret against forms of other sites.
    pub(super) fn find(&self, headers: &HeaderMap, now: Instant) -> Option<(Bearer, String)> {
        let known = self.known.lock();
        let session = known.get(name(headers)?).filter(|session| session.ends > now)?;
        Some((session.bearer, session.csrf.clone()))
    }

    pub(super) fn end(&self, headers: &HeaderMap) {
        if let Some(name) = name(headers) {
            self.known.lock().remove(name);
        }
    }

    pub(super) fn open_csrf(&self) -> &str {
        &self.open_csrf
    }
}

/// The value of `Set-Cookie`; without a name it takes the cookie away. Scripts cannot read it, other sites do not send it.
pub(super) fn cookie(name: Option<&str>, is_secure: bool) -> String {
    let (name, seconds) = name.map_or(("", 0), |name| (name, LENGTH.as_secs()));
    let secure = if is_secure { "; Secure" } else { "" };
    format!("{COOKIE}={name}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}")
}

fn name(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    cookies
        .flat_map(|text| text.split(';'))
        .find_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// 122 bits of the system's randomness.
pub(super) fn secret() -> String {
    Uuid::new_v4().simple().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(cookie: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::COOKIE, cookie.parse().unwrap())])
    }

    #[test]
    fn a_session_is_its_readers_until_its_end() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let name = sessions.begin(Bearer(Some(3)), now);
        let sent = headers(&format!("other=1; {COOKIE}={name}"));
        let (bearer, csrf) = sessions.find(&sent, now).unwrap();
        assert_eq!((bearer, csrf.len()), (Bearer(Some(3)), 32));
        assert!(csrf != name && csrf != sessions.open_csrf());
        assert!(sessions.find(&sent, now + LENGTH).is_none(), "its time is over");
        for wrong in [format!("{COOKIE}=x"), format!("{COOKIE}x={name}"), String::new()] {
            assert!(sessions.find(&headers(&wrong), now).is_none(), "{wrong}");
        }
        sessions.end(&sent);
        assert!(sessions.find(&sent, now).is_none());
    }

    #[test]
    fn sessions_are_bounded() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        for _ in 0..SESSIONS_MAX + 5 {
            sessions.begin(Bearer(Some(0)), now);
        }
        assert_eq!(sessions.known.lock().len(), SESSIONS_MAX);
        sessions.begin(Bearer(Some(0)), now + LENGTH);
        assert_eq!(sessions.known.lock().len(), 1, "those that are over make room");
    }

    #[test]
    fn scripts_and_other_sites_have_no_part_in_the_cookie() {
        let given = cookie(Some("n"), true);
        for part in ["affluent_session=n;", "HttpOnly", "SameSite=Strict", "Secure", "Max-Age=43200"] {
            assert!(given.contains(part), "{given}");
        }
        assert!(!cookie(Some("n"), false).contains("Secure") && cookie(None, true).contains("Max-Age=0"));
    }
}
