//! From a request's body to the bytes of each item, so that a broken item spoils only itself.
//!
//! Nothing is parsed here: brackets and quotes are counted. Where a broken item hides its own end (an
//! open quote in an array), what follows counts to it.

use memchr::memchr;

/// How the items of a JSON body are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// One item a line, empty lines passed over.
    Lines,
    /// One value, an array of items, or lines: the content tells.
    ByContent,
}

/// The items of a body, in order.
pub(crate) struct Items<'a> {
    rest: &'a [u8],
    mode: Mode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    One,
    Lines,
    /// Inside an array; the flag says that a comma promised one more element.
    Array {
        promised: bool,
    },
    /// After the array.
    Tail,
}

impl<'a> Items<'a> {
    pub(crate) fn new(body: &'a [u8], framing: Framing) -> Self {
        let body = trim(body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body));
        match (framing, body.first()) {
            (Framing::Lines, _) => Items { rest: body, mode: Mode::Lines },
            (Framing::ByContent, Some(b'[')) => {
                Items { rest: &body[1..], mode: Mode::Array { promised: false } }
            }
            (Framing::ByContent, _) => {
                Items { rest: body, mode: if is_lines(body) { Mode::Lines } else { Mode::One } }
            }
        }
    }

    fn line(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let end = memchr(b'\n', self.rest);
            let line = trim(&self.rest[..end.unwrap_or(self.rest.len())]);
            self.rest = end.map_or(&[], |end| &self.rest[end + 1..]);
            if !line.is_empty() {
                return Some(line);
            }
        }
        None
    }

    fn element(&mut self, promised: bool) -> Option<&'a [u8]> {
        let end = end_of_element(self.rest);
        let item = trim(&self.rest[..end]);
        let closing = self.rest.get(end).copied();
        self.rest = self.rest.get(end + 1..).unwrap_or_default();
        self.mode = if closing == Some(b',') { Mode::Array { promised: true } } else { Mode::Tail };
        // `[]` has no element; `[1,]` promised one.
        if item.is_empty() && !promised && closing != Some(b',') { self.next() } else { Some(item) }
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        match self.mode {
            Mode::Lines => self.line(),
            Mode::Array { promised } => self.element(promised),
            Mode::One | Mode::Tail => {
                let rest = trim(std::mem::take(&mut self.rest));
                (!rest.is_empty()).then_some(rest)
            }
        }
    }
}

fn trim(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii()
}

/// More than one line, and the first value does not reach to the end: each line is an item.
fn is_lines(body: &[u8]) -> bool {
    let Some(newline) = memchr(b'\n', body) else { return false };
    match end_of_value(body) {
        Some(end) => !trim(&body[end..]).is_empty(),
        // Broken: one object over several lines, or a broken first line before others?
        None => body[newline..].split(|&byte| byte == b'\n').any(|line| line.starts_with(b"{")),
    }
}

/// Where the first value ends, by its brackets; `None` where they do not close.
fn end_of_value(body: &[u8]) -> Option<usize> {
    let mut depth = Depth::default();
    for (at, &byte) in body.iter().enumerate() {
        depth.pass(byte);
        if depth.open == 0 && !depth.in_string {
            return Some(at + 1);
        }
    }
    None
}

/// Where the element of an array ends: at the comma or the bracket behind it, or at the end.
fn end_of_element(rest: &[u8]) -> usize {
    let mut depth = Depth::default();
    for (at, &byte) in rest.iter().enumerate() {
        if depth.open == 0 && !depth.in_string && matches!(byte, b',' | b']') {
            return at;
        }
        depth.pass(byte);
    }
    rest.len()
}

#[derive(Default)]
struct Depth {
    open: usize,
    in_string: bool,
    escaped: bool,
}

impl Depth {
    fn pass(&mut self, byte: u8) {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.open += 1,
            b'}' | b']' => self.open = self.open.saturating_sub(1),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bodies_are_split_into_items() {
        use Framing::{ByContent, Lines};
        for (framing, body, expected) in [
            (ByContent, r#"{"a":1}"#, vec![r#"{"a":1}"#]),
            (ByContent, " {\n\"a\":[1,\n2]\n}\n", vec!["{\n\"a\":[1,\n2]\n}"]),
            (ByContent, "[]", vec![]),
            (ByContent, "", vec![]),
            (Lines, "\n\r\n", vec![]),
            (ByContent, r#"[{"a":","},{"b":"]\"}"} , 3]"#, vec![r#"{"a":","}"#, r#"{"b":"]\"}"}"#, "3"]),
            (ByContent, "{\"a\":1}\r\n\n{\"b\":2}\n", vec!["{\"a\":1}", "{\"b\":2}"]),
            (ByContent, "{\"a\":\n{\"b\":2}\n", vec!["{\"a\":", "{\"b\":2}"]),
            (Lines, "[1]\n{}", vec!["[1]", "{}"]),
            (ByContent, "[1,]", vec!["1", ""]),
            (ByContent, "[,1]", vec!["", "1"]),
            (ByContent, "[1] x", vec!["1", "x"]),
            (ByContent, "[{\"a\":1},{\"b", vec!["{\"a\":1}", "{\"b"]),
            (ByContent, "\u{feff}{}", vec!["{}"]),
            (ByContent, "5", vec!["5"]),
        ] {
            let items: Vec<&str> =
                Items::new(body.as_bytes(), framing).map(|item| std::str::from_utf8(item).unwrap()).collect();
            assert_eq!(items, expected, "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_split_and_the_end_is_reached(body in prop::collection::vec(any::<u8>(), 0..200)) {
            for framing in [Framing::Lines, Framing::ByContent] {
                prop_assert!(Items::new(&body, framing).count() <= body.len());
            }
        }
    }
}
