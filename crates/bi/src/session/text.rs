//! The text of statements: words, quotes and comments, as far as it takes to tell one statement from the next and to
//! leave values out of the log. What a statement means is the business of others.

/// What a piece of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Word,
    /// `"a name"`.
    Name,
    /// `'a text'`, `e'a text'`, `$$a text$$`.
    Text,
    /// `1.5`, and `$1`.
    Number,
    /// Any other letter.
    Sign,
}

/// A piece of text, neither space nor comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    pub(crate) text: &'a str,
    /// Byte of the whole text at which it begins.
    pub(crate) start: usize,
}

impl Token<'_> {
    pub(crate) fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// This very word, written large or small.
    pub(crate) fn is(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }

    pub(crate) fn is_sign(&self, sign: char) -> bool {
        self.kind == Kind::Sign && self.text.starts_with(sign)
    }

    /// The name or value it stands for: small letters unless quoted, quotes taken away.
    pub(crate) fn value(&self) -> String {
        let inside = |quote: &str| {
            let text = self.text.strip_prefix(quote).unwrap_or(self.text);
            let text = text.strip_suffix(quote).unwrap_or(text);
            text.replace(&quote.repeat(2), quote)
        };
        match self.kind {
            Kind::Word => self.text.to_ascii_lowercase(),
            Kind::Name => inside("\""),
            Kind::Text => inside("'"),
            Kind::Number | Kind::Sign => self.text.to_owned(),
        }
    }
}

/// The pieces of a text. What a quote does not end goes to the end of the text.
pub(crate) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut start = 0;
    while let Some(rest) = text.get(start..).filter(|rest| !rest.is_empty()) {
        let (kind, length) = first(rest);
        if let Some(kind) = kind {
            tokens.push(Token { kind, text: &rest[..length], start });
        }
        start += length;
    }
    tokens
}

/// The statements of a text, without the signs between them. Where there is nothing to run, there is none.
pub(crate) fn statements(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut open: Option<(usize, usize)> = None;
    for token in tokens(text) {
        if token.is_sign(';') {
            found.extend(open.take());
        } else {
            let start = open.map_or(token.start, |(start, _)| start);
            open = Some((start, token.end()));
        }
    }
    found.extend(open);
    found.into_iter().map(|(start, end)| &text[start..end]).collect()
}

/// The text without its values, comments and line ends, cut at so many bytes.
pub(crate) fn without_values(text: &str, bytes_max: usize) -> String {
    let mut shown = String::new();
    let mut end = 0;
    for token in tokens(text) {
        if shown.len() >= bytes_max {
            shown.push('…');
            break;
        }
        if token.start > end && !shown.is_empty() {
            shown.push(' ');
        }
        match token.kind {
            Kind::Text => shown.push('?'),
            Kind::Number if !token.text.starts_with('$') => shown.push('?'),
            Kind::Number | Kind::Word | Kind::Name | Kind::Sign => shown.push_str(token.text),
        }
        end = token.end();
    }
    shown
}

/// What a text begins with, and how many bytes it takes; `None`: spaces or a comment.
fn first(text: &str) -> (Option<Kind>, usize) {
    let mut letters = text.chars();
    let (letter, next) = (letters.next().unwrap_or(' '), letters.next());
    match letter {
        _ if letter.is_whitespace() => (None, run(text, char::is_whitespace)),
        '-' if next == Some('-') => (None, text.find('\n').unwrap_or(text.len())),
        '/' if next == Some('*') => (None, comment(text)),
        '\'' => (Some(Kind::Text), quoted(text, 0, '\'', false)),
        '"' => (Some(Kind::Name), quoted(text, 0, '"', false)),
        'e' | 'E' if next == Some('\'') => (Some(Kind::Text), quoted(text, 1, '\'', true)),
        '$' => match dollar_quoted(text) {
            Some(length) => (Some(Kind::Text), length),
            None if next.is_some_and(|next| next.is_ascii_digit()) => {
                (Some(Kind::Number), 1 + run(&text[1..], |letter| letter.is_ascii_digit()))
            }
            None => (Some(Kind::Sign), 1),
        },
        _ if letter.is_ascii_digit() => {
            (Some(Kind::Number), run(text, |letter| letter.is_ascii_alphanumeric() || letter == '.'))
        }
        _ if letter.is_alphabetic() || letter == '_' => {
            (Some(Kind::Word), run(text, |letter| letter.is_alphanumeric() || letter == '_' || letter == '$'))
        }
        _ => (Some(Kind::Sign), letter.len_utf8()),
    }
}

/// Bytes of the letters at the beginning that are `like` this.
fn run(text: &str, like: impl Fn(char) -> bool) -> usize {
    text.find(|letter| !like(letter)).unwrap_or(text.len())
}

/// Bytes of a comment, in which there may be others.
fn comment(text: &str) -> usize {
    let (mut depth, mut place) = (0_usize, 0);
    while let Some(found) = text[place..].find(['/', '*']) {
        let at = place + found;
        let pair = text.get(at..at + 2);
        place = at + 1;
        match pair {
            Some("/*") => (depth, place) = (depth + 1, at + 2),
            Some("*/") => (depth, place) = (depth - 1, at + 2),
            _ => {}
        }
        if depth == 0 {
            return place;
        }
    }
    text.len()
}

/// Bytes of what stands in quotes, which begin at `open`. A quote twice is one inside; so is, where it escapes, one
/// behind a backslash.
fn quoted(text: &str, open: usize, quote: char, escapes: bool) -> usize {
    let mut letters = text[open + 1..].char_indices().peekable();
    while let Some((place, letter)) = letters.next() {
        if escapes && letter == '\\' {
            letters.next();
        } else if letter == quote && letters.next_if(|(_, next)| *next == quote).is_none() {
            return open + 1 + place + 1;
        }
    }
    text.len()
}

/// Bytes of `$tag$ … $tag$`; `None`: it is none.
fn dollar_quoted(text: &str) -> Option<usize> {
    let end = 1 + text[1..].find('$')?;
    let tag = &text[1..end];
    let is_tag = tag.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
        && !tag.starts_with(|letter: char| letter.is_ascii_digit());
    let mark = &text[..=end];
    is_tag.then(|| text[end + 1..].find(mark).map_or(text.len(), |close| end + 1 + close + mark.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_told_from_each_other() {
        for (text, expected) in [
            ("", &[][..]),
            (" ; -- nothing\n;/* at all */", &[]),
            ("select 1", &["select 1"]),
            ("select 1; select 2;", &["select 1", "select 2"]),
            ("select ';' ; select \";\"", &["select ';'", "select \";\""]),
            ("select 'it''s;' ; x", &["select 'it''s;'", "x"]),
            ("select e'\\';' ; x", &["select e'\\';'", "x"]),
            ("select '\\' ; x", &["select '\\'", "x"]),
            ("select $$;$$ ; select $a$ $$;$$ $a$; x", &["select $$;$$", "select $a$ $$;$$ $a$", "x"]),
            ("select $1 ; select $2", &["select $1", "select $2"]),
            ("/* ; /* ; */ ; */ select 1 -- ;\n + 2 ; x", &["select 1 -- ;\n + 2", "x"]),
            ("select 'open ; x", &["select 'open ; x"]),
            ("select /* open ; x", &["select"]),
            ("select 1 * 2 / 3 ; é", &["select 1 * 2 / 3", "é"]),
        ] {
            assert_eq!(statements(text), expected, "{text}");
        }
    }

    #[test]
    fn values_are_not_in_the_log() {
        for (text, expected) in [
            (
                "select *\n from t where name = 'Ana O''Hara'  and n > 1.5e3",
                "select * from t where name = ? and n > ?",
            ),
            ("select $1::text, 'x' -- of Ana", "select $1::text, ?"),
            ("select $$secret$$, \"A b\".c2", "select ?, \"A b\".c2"),
        ] {
            assert_eq!(without_values(text, 1_000), expected);
        }
        assert_eq!(without_values("select abc, def", 8), "select abc…");
    }

    #[test]
    fn names_are_small_unless_quoted() {
        let values: Vec<String> = tokens("Abc \"Ab\"\"c\" 'It''s' 7").iter().map(Token::value).collect();
        assert_eq!(values, ["abc", "Ab\"c", "It's", "7"]);
    }
}
