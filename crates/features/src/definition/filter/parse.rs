//! Text to filter: tokens, then recursive descent, each condition checked against the type of its column.

use super::{Comparison, Field, Filter};
use crate::definition::{ColumnType, Source, keys};

/// How deep parentheses and nots may go, and how long a filter may be.
const DEPTH_MAX: usize = 32;
const TOKENS_MAX: usize = 1_000;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Number(String),
    Text(String),
    Sign(&'static str),
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Token::Word(text) | Token::Number(text) => f.write_str(text),
            Token::Text(text) => write!(f, "'{text}'"),
            Token::Sign(sign) => f.write_str(sign),
        }
    }
}

pub(super) fn parse(text: &str, source: &Source) -> Result<Filter, String> {
    let mut tokens = tokens(text)?;
    if tokens.len() > TOKENS_MAX {
        return Err(format!("longer than {TOKENS_MAX} words"));
    }
    tokens.reverse();
    let mut parser = Parser { tokens, source };
    let filter = parser.or(0)?;
    match parser.tokens.pop() {
        None => Ok(filter),
        Some(token) => Err(format!("unexpected {token}")),
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = |of: fn(char) -> bool| rest.find(|c| !of(c)).unwrap_or(rest.len());
        let (token, used) = if first == '\'' {
            let end = rest[1..].find('\'').ok_or("a quote is not closed")?;
            (Token::Text(rest[1..=end].to_owned()), end + 2)
        } else if first.is_ascii_digit() || first == '-' {
            let used =
                1 + rest[1..].find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len() - 1);
            (Token::Number(rest[..used].to_owned()), used)
        } else if first.is_alphabetic() {
            let used = length(|c| c.is_alphanumeric() || c == '_');
            (Token::Word(rest[..used].to_owned()), used)
        } else {
            const SIGNS: [&str; 10] = ["!=", "<=", ">=", "<>", "=", "<", ">", "(", ")", ","];
            let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
            let sign = sign.ok_or_else(|| format!("unexpected {first}"))?;
            (Token::Sign(sign), sign.len())
        };
        tokens.push(token);
        rest = rest[used..].trim_start();
    }
    Ok(tokens)
}

struct Parser<'a> {
    /// The next one last.
    tokens: Vec<Token>,
    source: &'a Source,
}

impl Parser<'_> {
    fn next(&mut self) -> Result<Token, String> {
        self.tokens.pop().ok_or_else(|| "it ends too early".to_owned())
    }

    /// Takes the token if it comes next.
    fn take(&mut self, wanted: &str) -> bool {
        let found = match self.tokens.last() {
            Some(Token::Word(word)) => word == wanted,
            Some(Token::Sign(sign)) => *sign == wanted,
            Some(Token::Number(_) | Token::Text(_)) | None => false,
        };
        if found {
            self.tokens.pop();
        }
        found
    }

    fn expect(&mut self, wanted: &str) -> Result<(), String> {
        if self.take(wanted) {
            return Ok(());
        }
        let found = self.next()?;
        Err(format!("expected {wanted}, found {found}"))
    }

    fn or(&mut self, depth: usize) -> Result<Filter, String> {
        let mut parts = vec![self.and(depth)?];
        while self.take("or") {
            parts.push(self.and(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::Or(parts) })
    }

    fn and(&mut self, depth: usize) -> Result<Filter, String> {
        let mut parts = vec![self.not(depth)?];
        while self.take("and") {
            parts.push(self.not(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::And(parts) })
    }

    fn not(&mut self, depth: usize) -> Result<Filter, String> {
        if depth > DEPTH_MAX {
            return Err(format!("nested more than {DEPTH_MAX} deep"));
        }
        if self.take("not") {
            return Ok(Filter::Not(Box::new(self.not(depth + 1)?)));
        }
        if self.take("(") {
            let inner = self.or(depth + 1)?;
            self.expect(")")?;
            return Ok(inner);
        }
        self.condition()
    }

    fn condition(&mut self) -> Result<Filter, String> {
        let name = match self.next()? {
            Token::Word(name) => name,
            other => return Err(format!("expected a column, found {other}")),
        };
        let (field, kind) = self.field(&name)?;
        if self.take("is") {
            let negated = self.take("not");
            self.expect("null")?;
            return Ok(negate(negated, Filter::IsNull(field)));
        }
        let negated = self.take("not");
        if negated || matches!(self.tokens.last(), Some(Token::Word(word)) if word == "in") {
            self.expect("in")?;
            self.expect("(")?;
            let mut literals = vec![self.literal(kind)?];
            while self.take(",") {
                literals.push(self.literal(kind)?);
            }
            self.expect(")")?;
            return Ok(negate(negated, Filter::In(field, literals)));
        }
        let wanted = || format!("{name}: expected a comparison, in or is null");
        let comparison = match self.tokens.pop() {
            Some(Token::Sign("=")) => Comparison::Equal,
            Some(Token::Sign("!=" | "<>")) => Comparison::NotEqual,
            Some(Token::Sign("<")) => Comparison::Less,
            Some(Token::Sign("<=")) => Comparison::LessEqual,
            Some(Token::Sign(">")) => Comparison::Greater,
            Some(Token::Sign(">=")) => Comparison::GreaterEqual,
            Some(_) | None => return Err(wanted()),
        };
        if !kind.is_number() && !matches!(comparison, Comparison::Equal | Comparison::NotEqual) {
            return Err(format!("{name} is no number: only = and != compare it"));
        }
        Ok(Filter::Compare(field, comparison, self.literal(kind)?))
    }

    fn field(&self, name: &str) -> Result<(Field, ColumnType), String> {
        match (name, self.source.column(name)) {
            (_, Ok((index, kind))) => Ok((Field::Column(index), kind)),
            ("hour", Err(_)) => Ok((Field::Hour, ColumnType::Integer)),
            ("weekday", Err(_)) => Ok((Field::Weekday, ColumnType::Integer)),
            (_, Err(_)) => {
                let columns = self.source.columns.iter().map(|c| c.name.as_str());
                let near = keys::nearest(name, columns.chain(["hour", "weekday"]));
                Err(format!("source {} has no column {name}{near}", self.source.name))
            }
        }
    }

    fn literal(&mut self, kind: ColumnType) -> Result<i64, String> {
        let token = self.next()?;
        match (kind, token) {
            (ColumnType::Text, Token::Text(text)) => kind.cell(&text),
            (ColumnType::Text, other) => Err(format!("expected a text in quotes, found {other}")),
            (ColumnType::Bool, Token::Word(text)) => kind.cell(&text),
            (ColumnType::Bool, other) => Err(format!("expected true or false, found {other}")),
            (_, Token::Number(text)) => kind.cell(&text),
            (_, other) => Err(format!("expected a number, found {other}")),
        }
    }
}

fn negate(negated: bool, filter: Filter) -> Filter {
    if negated { Filter::Not(Box::new(filter)) } else { filter }
}
