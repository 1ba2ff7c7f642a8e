//! What makes two error records the same error: pure.
//!
//! The rule: the exception's type, where the record names one (attribute `exception.type`, else
//! `error.type`); else the message with everything replaced that differs from one occurrence to the
//! next. In the order in which they are looked for:
//!
//! | found | replaced by |
//! |---|---|
//! | text in quotes (`"…"`, `` `…` ``, `'…'` where no word goes before it), at most 256 bytes | `<text>` |
//! | UUID | `<uuid>` |
//! | date, time, date and time (ISO 8601, also with a space) | `<time>` |
//! | IPv4 address with or without port, IPv6 address | `<ip>` |
//! | `0x…`, or a word of 8 or more hexadecimal digits with a decimal one among them | `<hex>` |
//! | any other digits, with what is behind a decimal point or comma | `<n>` |
//!
//! Only the first 2 KiB of a message count. Equal patterns are one fingerprint, whatever the service.

use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::net::Ipv6Addr;

/// Bytes of a message that are looked at.
const MESSAGE_BYTES: usize = 2 * 1024;
/// Longest text between quotes.
const QUOTED_BYTES: usize = 256;
/// Shortest word that is taken for a hexadecimal id.
const HEX_DIGITS: usize = 8;
/// Bytes of an exception's type that count.
const TYPE_BYTES: usize = 512;

/// An error's identity within its service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// 16 hexadecimal digits.
    pub hash: String,
    /// The exception's type, where the record names one.
    pub exception: Option<String>,
    /// The message without what changes from one occurrence to the next.
    pub pattern: String,
}

/// The fingerprint of an error with this message and these attributes (a JSON object, as text).
#[must_use]
pub fn fingerprint(message: &str, attributes: &str) -> Fingerprint {
    let exception = exception_type(attributes);
    let pattern = pattern(message);
    let hash = match &exception {
        Some(name) => digest(&["exception\0", name].concat()),
        None => digest(&["message\0", &pattern].concat()),
    };
    Fingerprint { hash, exception, pattern }
}

/// 16 hexadecimal digits of the text's SHA-256.
pub(super) fn digest(text: &str) -> String {
    hex::encode(&Sha256::digest(text)[..8])
}

/// The text up to `bytes`, at a character's end.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[derive(Deserialize)]
struct Named {
    #[serde(rename = "exception.type")]
    exception_type: Option<serde_json::Value>,
    #[serde(rename = "error.type")]
    error_type: Option<serde_json::Value>,
}

fn exception_type(attributes: &str) -> Option<String> {
    if !attributes.contains(".type\"") {
        return None;
    }
    let named: Named = serde_json::from_str(attributes).ok()?;
    let text = |value: Option<serde_json::Value>| match value {
        Some(serde_json::Value::String(text)) if !text.trim().is_empty() => {
            Some(cut(text.trim(), TYPE_BYTES).to_owned())
        }
        Some(_) | None => None,
    };
    text(named.exception_type).or_else(|| text(named.error_type))
}

/// The message with the changing parts replaced.
#[must_use]
pub fn pattern(message: &str) -> String {
    let message = cut(message, MESSAGE_BYTES);
    let bytes = message.as_bytes();
    let mut out = String::with_capacity(message.len());
    let (mut at, mut copied) = (0, 0);
    while at < bytes.len() {
        let within_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
        match changing(&bytes[at..], within_word) {
            Some((length, name)) => {
                out.push_str(&message[copied..at]);
                out.push_str(name);
                at += length;
                copied = at;
            }
            None => at += 1,
        }
    }
    out.push_str(&message[copied..]);
    out
}

/// What begins here and changes: its length in bytes, and what stands for it. All of it is ASCII but
/// for text in quotes, which ends at a quote: both ends are ends of characters.
fn changing(rest: &[u8], within_word: bool) -> Option<(usize, &'static str)> {
    let first = *rest.first()?;
    if matches!(first, b'"' | b'`') || first == b'\'' && !within_word {
        return quoted(rest, first).map(|length| (length, "<text>"));
    }
    if !within_word {
        let found = uuid(rest)
            .map(|length| (length, "<uuid>"))
            .or_else(|| time(rest).map(|length| (length, "<time>")))
            .or_else(|| ip(rest).map(|length| (length, "<ip>")))
            .or_else(|| hexadecimal(rest).map(|length| (length, "<hex>")));
        if found.is_some() {
            return found;
        }
    }
    number(rest).map(|length| (length, "<n>"))
}

fn quoted(rest: &[u8], quote: u8) -> Option<usize> {
    let inside = rest.iter().skip(1).take(QUOTED_BYTES + 1).take_while(|&&byte| byte != b'\n');
    inside.clone().position(|&byte| byte == quote).map(|length| length + 2)
}

fn uuid(rest: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(rest.get(..36)?).ok()?;
    let dashed = [8, 13, 18, 23].iter().all(|&place| rest[place] == b'-');
    (dashed && ends(rest, 36) && uuid::Uuid::try_parse(text).is_ok()).then_some(36)
}

/// `2026-11-22`, `2026-11-22T10:00:00.123+01:00`, `10:00:00`.
fn time(rest: &[u8]) -> Option<usize> {
    let Some(date) = shape(rest, b"dddd-dd-dd") else {
        return shape(rest, b"dd:dd:dd").map(|length| fraction(rest, length));
    };
    if !matches!(rest.get(date), Some(b'T' | b't' | b' ')) {
        return ends(rest, date).then_some(date);
    }
    let clock = &rest[date + 1..];
    let Some(minutes) = shape(clock, b"dd:dd") else { return Some(date) };
    let mut length = shape(clock, b"dd:dd:dd").map_or(minutes, |seconds| fraction(clock, seconds));
    let zone = &clock[length..];
    length += match zone.first() {
        Some(b'Z' | b'z') => 1,
        Some(b'+' | b'-') => {
            shape(&zone[1..], b"dd:dd").or_else(|| shape(&zone[1..], b"dddd")).map_or(0, |zone| zone + 1)
        }
        _ => 0,
    };
    Some(date + 1 + length)
}

/// The length with the fraction of a second behind it.
fn fraction(rest: &[u8], length: usize) -> usize {
    let digits = rest.get(length + 1..).map_or(0, |rest| run(rest, u8::is_ascii_digit));
    match rest.get(length) {
        Some(b'.' | b',') if digits > 0 => length + 1 + digits,
        _ => length,
    }
}

fn ip(rest: &[u8]) -> Option<usize> {
    let dotted = run(rest, |byte| byte.is_ascii_digit() || *byte == b'.');
    let dotted = dotted - usize::from(dotted > 0 && rest[dotted - 1] == b'.');
    if (7..=15).contains(&dotted) && parsed::<std::net::Ipv4Addr>(&rest[..dotted]) && ends(rest, dotted) {
        let port = rest.get(dotted + 1..).map_or(0, |rest| run(rest, u8::is_ascii_digit));
        let with_port = rest.get(dotted) == Some(&b':') && (1..=5).contains(&port);
        return Some(if with_port { dotted + 1 + port } else { dotted });
    }
    let long = run(rest, |byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')).min(45);
    // A full stop or colon of the sentence may be behind it.
    let colons = rest[..long].iter().filter(|&&byte| byte == b':').count();
    let candidates = [long, long.saturating_sub(1)];
    let v6 = |length: &usize| *length >= 3 && parsed::<Ipv6Addr>(&rest[..*length]) && ends(rest, *length);
    if colons < 2 { None } else { candidates.into_iter().find(v6) }
}

fn parsed<T: std::str::FromStr>(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| text.parse::<T>().is_ok())
}

fn hexadecimal(rest: &[u8]) -> Option<usize> {
    if rest.starts_with(b"0x") || rest.starts_with(b"0X") {
        let digits = run(&rest[2..], u8::is_ascii_hexdigit);
        return (digits > 0 && ends(rest, digits + 2)).then_some(digits + 2);
    }
    let length = run(rest, u8::is_ascii_hexdigit);
    let decimal = rest[..length].iter().any(u8::is_ascii_digit);
    let letters = rest[..length].iter().any(u8::is_ascii_alphabetic);
    (length >= HEX_DIGITS && decimal && letters && ends(rest, length)).then_some(length)
}

fn number(rest: &[u8]) -> Option<usize> {
    let mut length = run(rest, u8::is_ascii_digit);
    if length == 0 {
        return None;
    }
    while matches!(rest.get(length), Some(b'.' | b',')) {
        match run(&rest[length + 1..], u8::is_ascii_digit) {
            0 => break,
            digits => length += 1 + digits,
        }
    }
    Some(length)
}

/// The length of `shape` (`d` is a digit, anything else itself), where the text begins so.
fn shape(rest: &[u8], shape: &[u8]) -> Option<usize> {
    let fits =
        |(byte, wanted): (&u8, &u8)| if *wanted == b'd' { byte.is_ascii_digit() } else { byte == wanted };
    (rest.len() >= shape.len() && rest.iter().zip(shape).all(fits)).then_some(shape.len())
}

/// No word goes on here.
fn ends(rest: &[u8], length: usize) -> bool {
    rest.get(length).is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_')
}

fn run(bytes: &[u8], wanted: impl Fn(&u8) -> bool) -> usize {
    bytes.iter().take_while(|byte| wanted(byte)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_changes_is_replaced() {
        for (message, expected) in [
            ("timeout after 3012 ms", "timeout after <n> ms"),
            ("took 1.25s, limit 1,000.5s", "took <n>s, limit <n>s"),
            ("user42 is not user_7", "user<n> is not user_<n>"),
            ("cannot open \"/tmp/a b\": denied", "cannot open <text>: denied"),
            ("can't read 'orders': don't", "can't read <text>: don't"),
            ("no end \" of quotes", "no end \" of quotes"),
            ("order 0190f3a1-4d1b-7abc-8def-0123456789ab lost", "order <uuid> lost"),
            ("at 2026-11-22T10:11:12.345+01:00 failed", "at <time> failed"),
            ("at 2026-11-22 10:11 failed", "at <time> failed"),
            ("on 2026-11-22, and 10:11:12,5", "on <time>, and <time>"),
            ("connect 10.0.0.7:5432: refused", "connect <ip>: refused"),
            ("connect 10.0.0.7.", "connect <ip>."),
            ("peer fe80::1%2 and 2001:db8::42: gone", "peer <ip>%<n> and <ip>: gone"),
            ("version 1.2.3", "version <n>"),
            ("at 0x7ffeeb12, trace 4bf92f3577b34da6", "at <hex>, trace <hex>"),
            ("deadbeef feedface", "deadbeef feedface"),
            ("zu spät: 5 Überläufe", "zu spät: <n> Überläufe"),
            ("std::vector::at", "std::vector::at"),
            ("", ""),
        ] {
            assert_eq!(pattern(message), expected, "{message:?}");
        }
    }

    #[test]
    fn the_exceptions_type_goes_before_the_message() {
        let of = |message, attributes| fingerprint(message, attributes).hash;
        let io = r#"{"exception.type": "IOException", "n": 1}"#;
        assert_eq!(of("a", io), of("b", io));
        assert_eq!(of("a", r#"{"error.type": "IOException"}"#), of("b", io));
        assert_ne!(of("a", io), of("a", r#"{"exception.type": "TimeoutException"}"#));
        assert_ne!(of("a", io), of("IOException", "{}"));
        assert_eq!(of("a 1", r#"{"exception.type": ""}"#), of("a 2", r#"{"exception.type": 5}"#));
        assert_eq!(of("a 1", "not json .type\""), of("a 2", ""));
    }

    proptest! {
        #[test]
        fn occurrences_of_one_error_are_one(
            ids in prop::array::uniform2(any::<u128>()),
            numbers in prop::array::uniform2(any::<u32>()),
            addresses in prop::array::uniform2(any::<u32>()),
            names in prop::array::uniform2("[a-z ]{0,20}"),
        ) {
            let message = |i: usize| format!(
                "job {} of '{}' on {}: {} rows after {}.5s",
                uuid::Uuid::from_u128(ids[i]), names[i], std::net::Ipv4Addr::from(addresses[i]), numbers[i], numbers[1 - i]
            );
            prop_assert_eq!(pattern(&message(0)), "job <uuid> of <text> on <ip>: <n> rows after <n>s");
            prop_assert_eq!(fingerprint(&message(0), "{}"), fingerprint(&message(1), "{}"));
        }

        #[test]
        fn any_message_has_a_pattern(message in ".{0,300}", attributes in ".{0,40}") {
            let found = fingerprint(&message, &attributes);
            prop_assert_eq!(found.hash.len(), 16);
            prop_assert!(!found.pattern.bytes().any(|byte| byte.is_ascii_digit()));
        }
    }
}
