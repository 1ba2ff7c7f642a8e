//! JSON without building trees: values are checked once and kept as slices of the request's bytes.
//!
//! An item is scanned from front to back; what is known by name is decoded from its slice, everything
//! else passes as it was written. What is accepted here is what RFC 8259 allows, and what serde_json
//! reads (a property test holds both together).
//!
//! Invariant: no input panics, and nesting is bounded, so the stack is too.

use std::borrow::Cow;

/// Why bytes are not the JSON that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Not JSON, from this byte on.
    Syntax(usize),
    TooDeep,
}

/// A checked JSON value as it was written, without surrounding white space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Raw<'a>(&'a str);

/// What a value is, by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

impl<'a> Raw<'a> {
    /// The one value that `text` holds; nested at most `depth_max` deep.
    pub(crate) fn parse(text: &'a str, depth_max: usize) -> Result<Self, Fault> {
        let mut scan = Scan::new(text, depth_max);
        scan.space();
        let value = scan.value()?;
        scan.space();
        if scan.at == text.len() { Ok(value) } else { Err(Fault::Syntax(scan.at)) }
    }

    pub(crate) fn text(self) -> &'a str {
        self.0
    }

    pub(crate) fn kind(self) -> Kind {
        match self.0.as_bytes().first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') => Kind::Null,
            _ => Kind::Number,
        }
    }

    /// The characters of a string; `None` of another kind.
    pub(crate) fn string(self) -> Option<Cow<'a, str>> {
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        Some(if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
            Cow::Borrowed(inner)
        } else {
            Cow::Owned(unescape(inner))
        })
    }

    /// An integer, as a JSON number without fraction and exponent.
    pub(crate) fn integer(self) -> Option<i64> {
        if self.kind() == Kind::Number { self.0.parse().ok() } else { None }
    }

    pub(crate) fn float(self) -> Option<f64> {
        if self.kind() == Kind::Number { self.0.parse().ok() } else { None }
    }

    /// Names and values of an object; nothing of another kind.
    pub(crate) fn entries(self) -> Members<'a> {
        Members(Scan::inside(self, Kind::Object))
    }

    /// Values of an array; nothing of another kind.
    pub(crate) fn elements(self) -> Elements<'a> {
        Elements(Scan::inside(self, Kind::Array))
    }

    /// What stands between the braces of an object, without surrounding white space.
    pub(crate) fn inner(self) -> &'a str {
        self.0.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or_default().trim()
    }
}

/// Names (as written, between the quotes) and values of a checked object.
pub(crate) struct Members<'a>(Scan<'a>);

impl<'a> Iterator for Members<'a> {
    /// The name with its escapes resolved, and the value.
    type Item = (Cow<'a, str>, Raw<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.separator();
        let name = self.0.value().ok()?.string()?;
        self.0.separator();
        Some((name, self.0.value().ok()?))
    }
}

/// Values of a checked array.
pub(crate) struct Elements<'a>(Scan<'a>);

impl<'a> Iterator for Elements<'a> {
    type Item = Raw<'a>;

    fn next(&mut self) -> Option<Raw<'a>> {
        self.0.separator();
        self.0.value().ok()
    }
}

/// Reads an object whose syntax is not checked yet, member by member: one pass over the bytes.
pub(crate) fn read_object<'a>(
    text: &'a str,
    depth_max: usize,
    mut member: impl FnMut(Cow<'a, str>, Raw<'a>),
) -> Result<(), Fault> {
    let mut scan = Scan::new(text, depth_max);
    scan.space();
    scan.deeper()?;
    scan.expect(b'{')?;
    scan.space();
    if scan.peek() == Some(b'}') {
        scan.at += 1;
    } else {
        loop {
            scan.space();
            let name = scan.string()?;
            scan.space();
            scan.expect(b':')?;
            scan.space();
            let value = scan.value()?;
            member(name.string().unwrap_or_default(), value);
            scan.space();
            match scan.next() {
                Some(b',') => {}
                Some(b'}') => break,
                _ => return Err(Fault::Syntax(scan.at)),
            }
        }
    }
    scan.space();
    if scan.at == text.len() { Ok(()) } else { Err(Fault::Syntax(scan.at)) }
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
    /// Levels that may still be opened.
    levels: usize,
}

/// Bytes that may stand in a string as they are.
const PLAIN: [bool; 256] = {
    let mut plain = [true; 256];
    let mut byte = 0;
    while byte < 0x20 {
        plain[byte] = false;
        byte += 1;
    }
    plain[b'"' as usize] = false;
    plain[b'\\' as usize] = false;
    plain
};

impl<'a> Scan<'a> {
    fn new(text: &'a str, depth_max: usize) -> Self {
        Scan { text, at: 0, levels: depth_max }
    }

    /// At the first member or element of a checked value.
    fn inside(value: Raw<'a>, kind: Kind) -> Self {
        let text = if value.kind() == kind { &value.0[1..value.0.len() - 1] } else { "" };
        Scan::new(text, usize::MAX)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Passes commas, colons and white space: only in what is checked already.
    fn separator(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r' | b',' | b':')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        if self.next() == Some(byte) { Ok(()) } else { Err(Fault::Syntax(self.at.saturating_sub(1))) }
    }

    fn deeper(&mut self) -> Result<(), Fault> {
        self.levels = self.levels.checked_sub(1).ok_or(Fault::TooDeep)?;
        Ok(())
    }

    /// The value that begins here. Open brackets are kept in a bit field and a count, not on the stack.
    fn value(&mut self) -> Result<Raw<'a>, Fault> {
        let start = self.at;
        match self.peek() {
            Some(b'"') => return self.string(),
            Some(b'{' | b'[') => {}
            _ => {
                self.scalar()?;
                return Ok(Raw(&self.text[start..self.at]));
            }
        }
        // Whether each open level is an object.
        let mut open: Vec<bool> = Vec::new();
        loop {
            self.space();
            match self.peek() {
                Some(opening @ (b'{' | b'[')) => {
                    self.at += 1;
                    if open.len() >= self.levels {
                        return Err(Fault::TooDeep);
                    }
                    let object = opening == b'{';
                    open.push(object);
                    self.space();
                    let closing = if object { b'}' } else { b']' };
                    if self.peek() != Some(closing) {
                        if object {
                            self.name()?;
                        }
                        continue;
                    }
                }
                Some(b'"') => _ = self.string()?,
                _ => self.scalar()?,
            }
            // A value has ended: close what closes here.
            loop {
                let Some(&object) = open.last() else { return Ok(Raw(&self.text[start..self.at])) };
                self.space();
                match (self.next(), object) {
                    (Some(b','), true) => {
                        self.space();
                        self.name()?;
                        break;
                    }
                    (Some(b','), false) => break,
                    (Some(b'}'), true) | (Some(b']'), false) => _ = open.pop(),
                    _ => return Err(Fault::Syntax(self.at.saturating_sub(1))),
                }
            }
        }
    }

    fn name(&mut self) -> Result<(), Fault> {
        self.string()?;
        self.space();
        self.expect(b':')
    }

    fn string(&mut self) -> Result<Raw<'a>, Fault> {
        let (start, bytes) = (self.at, self.text.as_bytes());
        self.expect(b'"')?;
        loop {
            while bytes.get(self.at).is_some_and(|&byte| PLAIN[usize::from(byte)]) {
                self.at += 1;
            }
            match self.next() {
                Some(b'"') => return Ok(Raw(&self.text[start..self.at])),
                Some(b'\\') => self.escape()?,
                _ => return Err(Fault::Syntax(self.at.saturating_sub(1))),
            }
        }
    }

    /// What follows a backslash. Half a surrogate pair is no character, so no text either.
    fn escape(&mut self) -> Result<(), Fault> {
        match self.next() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(()),
            Some(b'u') => match self.hex4()? {
                0xD800..=0xDBFF => {
                    self.expect(b'\\')?;
                    self.expect(b'u')?;
                    match self.hex4()? {
                        0xDC00..=0xDFFF => Ok(()),
                        _ => Err(Fault::Syntax(self.at)),
                    }
                }
                0xDC00..=0xDFFF => Err(Fault::Syntax(self.at)),
                _ => Ok(()),
            },
            _ => Err(Fault::Syntax(self.at.saturating_sub(1))),
        }
    }

    fn hex4(&mut self) -> Result<u32, Fault> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.next().and_then(|byte| char::from(byte).to_digit(16));
            code = code * 16 + digit.ok_or(Fault::Syntax(self.at.saturating_sub(1)))?;
        }
        Ok(code)
    }

    fn scalar(&mut self) -> Result<(), Fault> {
        let rest = &self.text.as_bytes()[self.at..];
        for word in [&b"true"[..], b"false", b"null"] {
            if rest.starts_with(word) {
                self.at += word.len();
                return Ok(());
            }
        }
        self.number()
    }

    fn number(&mut self) -> Result<(), Fault> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(Fault::Syntax(self.at)) }
    }
}

/// Resolves the escapes of a checked string.
fn unescape(inner: &str) -> String {
    let mut out = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        let code = |from: usize| {
            let digits = rest.get(at + from..at + from + 4)?;
            u32::from_str_radix(digits, 16).ok()
        };
        let (c, length) = match rest.as_bytes().get(at + 1) {
            Some(b'b') => ('\u{8}', 2),
            Some(b'f') => ('\u{c}', 2),
            Some(b'n') => ('\n', 2),
            Some(b'r') => ('\r', 2),
            Some(b't') => ('\t', 2),
            Some(b'u') => match (code(2), code(8)) {
                (Some(high @ 0xD800..=0xDBFF), Some(low)) => {
                    let joined = 0x10000 + ((high - 0xD800) << 10) + (low.wrapping_sub(0xDC00) & 0x3FF);
                    (char::from_u32(joined).unwrap_or(char::REPLACEMENT_CHARACTER), 12)
                }
                (single, _) => (single.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER), 6),
            },
            Some(&byte) => (char::from(byte), 2),
            None => break,
        };
        out.push(c);
        rest = rest.get(at + length..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// Appends `text` as a JSON string, quotes included.
pub(crate) fn write_string(out: &mut String, text: &str) {
    out.push('"');
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        if PLAIN[usize::from(byte)] {
            continue;
        }
        out.push_str(&text[from..at]);
        from = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            control => {
                out.push_str("\\u00");
                for digit in [control >> 4, control & 15] {
                    out.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
                }
            }
        }
    }
    out.push_str(&text[from..]);
    out.push('"');
}

/// Appends one member to an object that is being written without its braces.
pub(crate) fn write_member(out: &mut String, name: &str, value: &str) {
    if !out.is_empty() {
        out.push(',');
    }
    write_string(out, name);
    out.push(':');
    out.push_str(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str) {
        // serde_json's own limit is 128 levels.
        let ours = Raw::parse(text, 127);
        let theirs = serde_json::from_str::<serde_json::Value>(text);
        match (ours, &theirs) {
            (Ok(raw), Ok(value)) => {
                assert_eq!(&serde_json::from_str::<serde_json::Value>(raw.text()).unwrap(), value);
                if let Some(string) = value.as_str() {
                    assert_eq!(raw.string().unwrap(), string);
                    let mut written = String::new();
                    write_string(&mut written, string);
                    assert_eq!(serde_json::from_str::<String>(&written).unwrap(), string);
                }
                if let Some(array) = value.as_array() {
                    assert_eq!(raw.elements().count(), array.len());
                }
                let mut members = Vec::new();
                let read = read_object(text, 127, |name, value| members.push((name, value)));
                assert_eq!(read.is_ok(), value.is_object(), "{text}");
                if value.is_object() {
                    assert_eq!(raw.entries().collect::<Vec<_>>(), members);
                }
            }
            (Err(_), Err(_)) => assert!(read_object(text, 127, |_, _| {}).is_err()),
            (ours, theirs) => panic!("{text:?}: {ours:?}, serde_json {theirs:?}"),
        }
    }

    #[test]
    fn what_is_json_is_what_serde_json_reads() {
        for text in [
            "{}",
            "[]",
            "[[]]",
            " {\"a\" : [1 , 2.5e+3,-0,{\"b\":null}] } ",
            "\"\\u00e9\\ud83d\\ude00 \\\\ \\/\"",
            "01",
            "1.",
            "-",
            "1e",
            ".5",
            "+1",
            "tru",
            "true",
            "nul",
            "\"a",
            "\"\t\"",
            "\"\\x\"",
            "\"\\ud800\"",
            "\"\\udc00\"",
            "\"\\ud800\\u0041\"",
            "{\"a\"}",
            "{\"a\":}",
            "{,}",
            "[1,]",
            "[,1]",
            "{\"a\":1,}",
            "[1 2]",
            "{\"a\":1}}",
            "",
            " ",
            "{\"\\u0061\":1,\"a\":2}",
            "[1}",
            "{\"a\":[}",
            "\u{feff}{}",
            "{a:1}",
            "'a'",
        ] {
            check(text);
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(Raw::parse(&deep(32), 32).is_ok());
        assert_eq!(Raw::parse(&deep(33), 32), Err(Fault::TooDeep));
        assert_eq!(Raw::parse(&"[".repeat(1 << 20), 32), Err(Fault::TooDeep));
        let inside = format!("{{\"a\":{}}}", deep(32));
        assert_eq!(read_object(&inside, 32, |_, _| {}), Err(Fault::TooDeep));
    }

    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            any::<bool>().prop_map(|b| b.to_string()),
            any::<i64>().prop_map(|n| n.to_string()),
            any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(|f| format!("{f:e}")),
            any::<String>().prop_map(|s| serde_json::to_string(&s).unwrap()),
        ];
        leaf.prop_recursive(5, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(|v| format!("[{}]", v.join(" , "))),
                prop::collection::vec((any::<String>(), inner), 0..5).prop_map(|members| {
                    let members =
                        members.iter().map(|(k, v)| format!("{} :{v}", serde_json::to_string(k).unwrap()));
                    format!("{{{}}}", members.collect::<Vec<_>>().join(",\n"))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_json_is_read(text in json()) {
            check(&text);
        }

        #[test]
        fn any_damage_is_seen(text in json(), at in any::<prop::sample::Index>(), with in "[\\[\\]{}\",:0-9a\\\\ ]") {
            let at = at.index(text.len() + 1);
            if text.is_char_boundary(at) {
                check(&format!("{}{with}{}", &text[..at], &text[at..]));
                check(&text[..at]);
            }
        }
    }
}
