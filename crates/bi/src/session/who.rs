//! Who is connected, and the settings of the session.
//!
//! A setting has the value that `SET LOCAL` gave it, else the one of `SET`, else the one at the start of the connection,
//! else the built-in. Invariant: what the session cannot keep (times in another zone, texts in another encoding) is not
//! said to be kept.

use crate::catalog::SETTINGS;
use crate::error::{PgError, code};
use std::collections::BTreeMap;
use std::time::Duration;

/// Settings that the client is told of whenever they change.
const REPORTED: &[&str] = &[
    "server_version",
    "server_encoding",
    "client_encoding",
    "application_name",
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "integer_datetimes",
    "standard_conforming_strings",
    "is_superuser",
    "session_authorization",
    "default_transaction_read_only",
    "in_hot_standby",
    "search_path",
];
/// Settings that tell what is, and cannot be changed.
const FIXED: &[&str] = &[
    "server_version",
    "server_version_num",
    "server_encoding",
    "integer_datetimes",
    "is_superuser",
    "session_authorization",
    "lc_collate",
    "lc_ctype",
    "block_size",
    "max_identifier_length",
    "max_index_keys",
    "in_hot_standby",
    "segment_size",
    "wal_level",
    "max_connections",
];
/// Settings of which only one value is kept: name, values in other words, what they are.
const ONLY: &[(&str, &[&str], &str)] = &[
    ("client_encoding", &["utf8", "utf-8", "unicode", "auto"], "UTF8"),
    ("standard_conforming_strings", &["on", "true", "yes", "1"], "on"),
    ("intervalstyle", &["postgres"], "postgres"),
    ("bytea_output", &["hex"], "hex"),
    ("transaction_read_only", &["on", "true", "yes", "1"], "on"),
    ("default_transaction_read_only", &["on", "true", "yes", "1"], "on"),
];
/// Names of the one time zone.
const UTC: &[&str] = &[
    "utc",
    "etc/utc",
    "gmt",
    "etc/gmt",
    "z",
    "zulu",
    "universal",
    "uct",
    "0",
    "+00",
    "00:00",
    "+00:00",
    "utc0",
];
/// Bytes of a setting at most: a client could fill the memory otherwise.
const VALUE_BYTES_MAX: usize = 4_096;
/// Settings of a session at most.
const SETTINGS_MAX: usize = 200;

/// Who is connected to what, and with which settings.
#[derive(Debug, Clone)]
pub(crate) struct Who {
    pub(crate) user: String,
    pub(crate) database: String,
    pub(crate) pid: i32,
    /// By their names in small letters.
    started: BTreeMap<String, String>,
    set: BTreeMap<String, String>,
    local: BTreeMap<String, String>,
}

impl Who {
    pub(crate) fn new(user: String, database: String, pid: i32) -> Self {
        let (started, set, local) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Who { user, database, pid, started, set, local }
    }

    /// The value of a setting, by its name in any letters; `None`: there is none.
    pub(crate) fn setting(&self, name: &str) -> Option<String> {
        let name = name.to_lowercase();
        if name == "session_authorization" {
            return Some(self.user.clone());
        }
        let given = [&self.local, &self.set, &self.started].into_iter().find_map(|layer| layer.get(&name));
        given.cloned().or_else(|| known(&name).map(|(_, value)| value.to_owned()))
    }

    /// Every setting with its value, in the order of the built-in ones.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        let value = |name: &str| (name.to_owned(), self.setting(name).unwrap_or_default());
        SETTINGS.iter().map(|(name, _)| value(name)).collect()
    }

    /// What the client is told at the beginning.
    pub(crate) fn reported(&self) -> Vec<(&'static str, String)> {
        REPORTED.iter().filter_map(|name| Some((*name, self.setting(name)?))).collect()
    }

    /// As the client wants it from the start of its connection; what cannot be kept is left as it is.
    pub(crate) fn start_with(&mut self, name: &str, value: &str) {
        let name = name.to_lowercase();
        if let Ok((value, _)) = checked(&name, value) {
            self.started.insert(name, value);
        }
    }

    /// Gives a setting a value. What comes back is to be told: it goes on, but not as was asked.
    ///
    /// # Errors
    /// A setting that there is not, that cannot be changed, or a value that cannot be kept.
    pub(crate) fn set(
        &mut self,
        name: &str,
        value: &str,
        is_local: bool,
    ) -> Result<Option<PgError>, PgError> {
        let name = name.to_lowercase();
        let (value, warning) = checked(&name, value)?;
        let layer = if is_local { &mut self.local } else { &mut self.set };
        if layer.len() >= SETTINGS_MAX && !layer.contains_key(&name) {
            let message = format!("a session has at most {SETTINGS_MAX} settings");
            return Err(PgError::new(code::LIMIT_EXCEEDED, message));
        }
        layer.insert(name, value);
        Ok(warning)
    }

    /// Takes back what was set; `None`: everything.
    pub(crate) fn reset(&mut self, name: Option<&str>) {
        match name {
            Some(name) => {
                let name = name.to_lowercase();
                self.set.remove(&name);
                self.local.remove(&name);
            }
            None => {
                self.set.clear();
                self.local.clear();
            }
        }
    }

    /// What was set, to come back to when the transaction is rolled back.
    pub(crate) fn kept(&self) -> BTreeMap<String, String> {
        self.set.clone()
    }

    /// The transaction is over: what was local to it is, too. `kept`: it was rolled back to this.
    pub(crate) fn end_transaction(&mut self, kept: Option<BTreeMap<String, String>>) {
        self.local.clear();
        if let Some(kept) = kept {
            self.set = kept;
        }
    }

    /// The time that a statement may take by the session's own wish.
    pub(crate) fn statement_timeout(&self) -> Option<Duration> {
        let wish = self.setting("statement_timeout")?;
        let wish = duration(&wish)?;
        (!wish.is_zero()).then_some(wish)
    }
}

fn known(name: &str) -> Option<(&'static str, &'static str)> {
    SETTINGS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).copied()
}

/// The value as it is kept, and what is to be said about it.
fn checked(name: &str, value: &str) -> Result<(String, Option<PgError>), PgError> {
    if known(name).is_none() && !name.contains('.') {
        let message = format!("unrecognized configuration parameter \"{name}\"");
        return Err(PgError::new(code::UNDEFINED_OBJECT, message));
    }
    if FIXED.contains(&name) {
        let message = format!("parameter \"{name}\" cannot be changed");
        return Err(PgError::new(code::CANNOT_CHANGE, message));
    }
    if value.len() > VALUE_BYTES_MAX {
        let message = format!("a value of \"{name}\" has at most {VALUE_BYTES_MAX} bytes");
        return Err(PgError::new(code::LIMIT_EXCEEDED, message));
    }
    let refused = || {
        let message = format!("invalid value for parameter \"{name}\": \"{value}\"");
        Err(PgError::new(code::INVALID_VALUE, message))
    };
    let word = value.trim().to_lowercase();
    if let Some((_, words, kept)) = ONLY.iter().find(|(only, _, _)| *only == name) {
        return if words.contains(&word.as_str()) { Ok(((*kept).to_owned(), None)) } else { refused() };
    }
    match name {
        "timezone" if UTC.contains(&word.as_str()) => Ok(("UTC".to_owned(), None)),
        "timezone" => {
            let warning = PgError::new(code::INVALID_VALUE, format!("times stay in UTC, not in \"{value}\""))
                .with_hint("set the time zone of reports in the tool itself");
            Ok(("UTC".to_owned(), Some(warning)))
        }
        "datestyle" => {
            let other = ["german", "sql", "postgres"].iter().any(|style| word.contains(style));
            if other { refused() } else { Ok(("ISO, MDY".to_owned(), None)) }
        }
        "statement_timeout" => match duration(value) {
            Some(duration) if duration.is_zero() => Ok(("0".to_owned(), None)),
            Some(duration) => Ok((format!("{}ms", duration.as_millis()), None)),
            None => refused(),
        },
        _ => Ok((value.to_owned(), None)),
    }
}

/// `5s`, `300ms`, `1min`; without a unit milliseconds.
fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..end].parse().ok()?;
    let unit_ms: u64 = match text[end..].trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(unit_ms).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who() -> Who {
        Who::new("ana".to_owned(), "affluent".to_owned(), 7)
    }

    #[test]
    fn a_setting_has_the_innermost_value() {
        let mut who = who();
        who.start_with("Application_Name", "psql");
        assert_eq!(who.setting("application_name").as_deref(), Some("psql"));
        who.set("application_name", "report", false).unwrap();
        let kept = who.kept();
        who.set("application_name", "part", true).unwrap();
        assert_eq!(who.setting("APPLICATION_NAME").as_deref(), Some("part"));
        who.end_transaction(None);
        assert_eq!(who.setting("application_name").as_deref(), Some("report"));
        who.set("application_name", "undone", false).unwrap();
        who.end_transaction(Some(kept));
        assert_eq!(who.setting("application_name").as_deref(), Some("report"));
        who.reset(None);
        assert_eq!(who.setting("application_name").as_deref(), Some("psql"));
        assert_eq!(who.setting("session_authorization").as_deref(), Some("ana"));
        assert_eq!(who.setting("there_is_none"), None);
    }

    #[test]
    fn only_what_is_kept_is_said_to_be() {
        for (name, value, kept) in [
            ("TimeZone", "Etc/UTC", Ok("UTC")),
            ("TimeZone", "Europe/Berlin", Ok("UTC")),
            ("client_encoding", "utf-8", Ok("UTF8")),
            ("client_encoding", "latin1", Err(code::INVALID_VALUE)),
            ("DateStyle", "ISO", Ok("ISO, MDY")),
            ("datestyle", "German", Err(code::INVALID_VALUE)),
            ("default_transaction_read_only", "off", Err(code::INVALID_VALUE)),
            ("server_version", "9.6", Err(code::CANNOT_CHANGE)),
            ("nonsense", "1", Err(code::UNDEFINED_OBJECT)),
            ("my.own", "1", Ok("1")),
            ("statement_timeout", "2min", Ok("120000ms")),
            ("statement_timeout", "soon", Err(code::INVALID_VALUE)),
        ] {
            let mut who = who();
            let set = who.set(name, value, false);
            match kept {
                Ok(kept) => {
                    set.unwrap();
                    assert_eq!(who.setting(name).as_deref(), Some(kept), "{name} = {value}");
                }
                Err(code) => assert_eq!(set.unwrap_err().code, code, "{name} = {value}"),
            }
        }
        assert!(who().set("timezone", "Europe/Berlin", false).unwrap().is_some());
        assert!(who().set("timezone", "UTC", false).unwrap().is_none());
    }

    #[test]
    fn times_have_units() {
        for (text, expected) in
            [("300", Some(300)), ("5s", Some(5_000)), ("1 min", Some(60_000)), ("x", None)]
        {
            assert_eq!(duration(text), expected.map(Duration::from_millis), "{text}");
        }
        let mut who = who();
        assert_eq!(who.statement_timeout(), None);
        who.set("statement_timeout", "2s", false).unwrap();
        assert_eq!(who.statement_timeout(), Some(Duration::from_secs(2)));
    }
}
