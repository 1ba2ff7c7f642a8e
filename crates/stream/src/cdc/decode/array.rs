//! PostgreSQL's array literals: `{a,"b \"c\"",NULL}`, nested, with or without bounds.

/// An element: a text, NULL, or an array of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Element {
    Null,
    Text(String),
    Array(Vec<Element>),
}

/// The elements of a literal; none where it is malformed. Lower bounds (`[0:1]={…}`) are left out:
/// no target has them, and every element stays.
pub(crate) fn elements(text: &str) -> Option<Vec<Element>> {
    let body = if text.starts_with('[') { text.split_once('=')?.1 } else { text };
    let mut scanner = Scanner { text: body, at: 0 };
    let found = scanner.array(0)?;
    (scanner.at == body.len()).then_some(found)
}

/// PostgreSQL's own limit (MAXDIM).
const MAX_DEPTH: usize = 6;

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn array(&mut self, depth: usize) -> Option<Vec<Element>> {
        if depth >= MAX_DEPTH || self.peek()? != b'{' {
            return None;
        }
        self.at += 1;
        let mut found = Vec::new();
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(found);
        }
        loop {
            found.push(match self.peek()? {
                b'{' => Element::Array(self.array(depth + 1)?),
                b'"' => Element::Text(self.quoted()?),
                _ => self.plain()?,
            });
            let next = self.peek()?;
            self.at += 1;
            match next {
                b',' => {}
                b'}' => return Some(found),
                _ => return None,
            }
        }
    }

    fn quoted(&mut self) -> Option<String> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = self.text.get(self.at..)?;
            let stop = rest.find(['"', '\\'])?;
            out.push_str(&rest[..stop]);
            self.at += stop + 1;
            if rest.as_bytes()[stop] == b'"' {
                return Some(out);
            }
            let escaped = self.text.get(self.at..)?.chars().next()?;
            out.push(escaped);
            self.at += escaped.len_utf8();
        }
    }

    fn plain(&mut self) -> Option<Element> {
        let rest = self.text.get(self.at..)?;
        let mut out = String::new();
        let mut escaped = false;
        let mut quoted = false;
        for (i, c) in rest.char_indices() {
            match c {
                _ if escaped => {
                    out.push(c);
                    escaped = false;
                }
                '\\' => (escaped, quoted) = (true, true),
                ',' | '}' => {
                    self.at += i;
                    let null = !quoted && out == "NULL";
                    return (!out.is_empty()).then_some(if null {
                        Element::Null
                    } else {
                        Element::Text(out)
                    });
                }
                '{' | '"' => return None,
                c => out.push(c),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(s: &str) -> Element {
        Element::Text(s.to_owned())
    }

    #[test]
    fn literals() {
        for (literal, expected) in [
            ("{}", vec![]),
            ("{1,2}", vec![text("1"), text("2")]),
            (
                r#"{a b,"c,\"d\\",NULL,"NULL",""}"#,
                vec![text("a b"), text("c,\"d\\"), Element::Null, text("NULL"), text("")],
            ),
            ("{{1},{2}}", vec![Element::Array(vec![text("1")]), Element::Array(vec![text("2")])]),
            ("[0:1]={7,8}", vec![text("7"), text("8")]),
        ] {
            assert_eq!(elements(literal), Some(expected), "{literal}");
        }
        for wrong in ["", "{", "{1", "{1,}", "{,}", "1,2", "{1}}", r#"{"a}"#, "{{{{{{{1}}}}}}}", r"{a\"] {
            assert_eq!(elements(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_element_survives_quoting(items in prop::collection::vec(".{0,12}", 1..6)) {
            let quote = |s: &String| format!("\"{}\"", s.replace('\\', "\\\\").replace('"', "\\\""));
            let literal = format!("{{{}}}", items.iter().map(quote).collect::<Vec<_>>().join(","));
            let expected: Vec<_> = items.iter().map(|s| text(s)).collect();
            prop_assert_eq!(elements(&literal), Some(expected));
        }

        #[test]
        fn any_text_is_read_or_refused(literal in r#"[{}",\\a-cNUL=\[\]:0-9 é]{0,24}"#) {
            let _ = elements(&literal);
        }
    }
}
