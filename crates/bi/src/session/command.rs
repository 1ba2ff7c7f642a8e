//! What a statement asks of the session: what begins and ends transactions, settings, cursors, copies. Queries are told
//! by their first word and left to the catalogue; what would write is refused here.

use super::copy::CopyForm;
use super::text::{Kind, Token, tokens};
use crate::error::{PgError, code};

/// A statement, as far as the session has to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Rows are made; `tag` is what their number is told with, if it is.
    Query {
        tag: Option<&'static str>,
    },
    Begin,
    Commit,
    Rollback,
    Savepoint,
    Release,
    RollbackTo,
    /// `None`: as it was at the beginning.
    Set {
        name: String,
        value: Option<String>,
        is_local: bool,
    },
    /// Taken note of; nothing here depends on it.
    Accepted(&'static str),
    Show(String),
    ShowAll,
    /// `None`: all of them.
    Reset(Option<String>),
    DiscardAll,
    Declare {
        name: String,
        query: String,
        outlives: bool,
    },
    Fetch {
        cursor: String,
        count: Count,
        is_move: bool,
    },
    /// `None`: all of them.
    Close(Option<String>),
    Deallocate(Option<String>),
    Copy {
        query: String,
        form: CopyForm,
    },
}

/// How many rows are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    Rows(u64),
    All,
}

/// Statements that write, or change what there is.
const WRITES: &[&str] = &[
    "alter",
    "analyze",
    "call",
    "checkpoint",
    "cluster",
    "comment",
    "create",
    "delete",
    "do",
    "drop",
    "grant",
    "import",
    "insert",
    "lock",
    "merge",
    "reassign",
    "refresh",
    "reindex",
    "revoke",
    "security",
    "truncate",
    "update",
    "vacuum",
];

impl Command {
    /// Reads one statement.
    ///
    /// # Errors
    /// 25006 for what would write, 0A000 for what is not done here, 42601 for what is no statement.
    pub(crate) fn read(text: &str) -> Result<Self, PgError> {
        let mut words = Words { text, tokens: tokens(text), place: 0 };
        let first = words.peek().map(Token::value).unwrap_or_default();
        if WRITES.contains(&first.as_str()) {
            let message = format!("cannot execute {} in a read-only transaction", first.to_uppercase());
            return Err(PgError::new(code::READ_ONLY, message)
                .with_hint("what is served here is published by the batch pipelines"));
        }
        match first.as_str() {
            "begin" | "start" => Ok(Command::Begin),
            "commit" | "end" => words.ending(Command::Commit),
            "rollback" | "abort" => {
                words.next();
                words.skip_any(&["work", "transaction"]);
                if words.skip("to") { Ok(Command::RollbackTo) } else { words.ending(Command::Rollback) }
            }
            "savepoint" => Ok(Command::Savepoint),
            "release" => Ok(Command::Release),
            "set" => words.set(),
            "show" => words.show(text),
            "reset" => words.reset(),
            "discard" => words.discard(),
            "declare" => words.declare(),
            "fetch" => words.fetch(false),
            "move" => words.fetch(true),
            "close" => words.all_or_named().map(Command::Close),
            "deallocate" => {
                words.skip_second("prepare");
                words.all_or_named().map(Command::Deallocate)
            }
            "copy" => words.copy(),
            "listen" => Ok(Command::Accepted("LISTEN")),
            "unlisten" => Ok(Command::Accepted("UNLISTEN")),
            "prepare" | "execute" | "notify" | "load" => Err(not_done(&first.to_uppercase())),
            "explain" => Ok(Command::Query { tag: None }),
            _ => Ok(Command::Query { tag: Some("SELECT") }),
        }
    }

    /// What the statement asks the engine, if it does.
    pub(crate) fn query<'a>(&'a self, text: &'a str) -> Option<&'a str> {
        match self {
            Command::Query { .. } => Some(text),
            Command::Declare { query, .. } | Command::Copy { query, .. } => Some(query),
            Command::Begin
            | Command::Commit
            | Command::Rollback
            | Command::Savepoint
            | Command::Release
            | Command::RollbackTo
            | Command::Set { .. }
            | Command::Accepted(_)
            | Command::Show(_)
            | Command::ShowAll
            | Command::Reset(_)
            | Command::DiscardAll
            | Command::Fetch { .. }
            | Command::Close(_)
            | Command::Deallocate(_) => None,
        }
    }

    /// Whether it may be run in a transaction that failed.
    pub(crate) fn ends_failure(&self) -> bool {
        matches!(self, Command::Commit | Command::Rollback | Command::RollbackTo)
    }
}

fn not_done(what: &str) -> PgError {
    PgError::new(code::NOT_SUPPORTED, format!("{what} is not supported here"))
}

fn syntax(token: Option<&Token<'_>>) -> PgError {
    let message = match token {
        Some(token) => format!("syntax error at or near \"{}\"", token.text),
        None => "syntax error at end of input".to_owned(),
    };
    PgError::new(code::SYNTAX, message)
}

/// The pieces of a statement, read from front to back.
struct Words<'a> {
    text: &'a str,
    tokens: Vec<Token<'a>>,
    place: usize,
}

impl<'a> Words<'a> {
    fn peek(&self) -> Option<&Token<'a>> {
        self.tokens.get(self.place)
    }

    fn next(&mut self) -> Option<Token<'a>> {
        let token = self.tokens.get(self.place).copied();
        self.place += 1;
        token
    }

    fn skip(&mut self, word: &str) -> bool {
        let found = self.peek().is_some_and(|token| token.is(word));
        self.place += usize::from(found);
        found
    }

    fn skip_any(&mut self, words: &[&str]) -> bool {
        words.iter().any(|word| self.skip(word))
    }

    fn skip_sign(&mut self, sign: char) -> bool {
        let found = self.peek().is_some_and(|token| token.is_sign(sign));
        self.place += usize::from(found);
        found
    }

    /// Leaves the second word out, where it is this one.
    fn skip_second(&mut self, word: &str) {
        if self.tokens.get(1).is_some_and(|token| token.is(word)) {
            self.place = 1;
        }
    }

    fn name(&mut self) -> Result<String, PgError> {
        match self.next() {
            Some(token) if matches!(token.kind, Kind::Word | Kind::Name) => Ok(token.value()),
            other => Err(syntax(other.as_ref())),
        }
    }

    /// Nothing more comes.
    fn end<T>(&self, found: T) -> Result<T, PgError> {
        match self.peek() {
            None => Ok(found),
            more => Err(syntax(more)),
        }
    }

    /// The text from here on.
    fn rest(&self) -> Result<String, PgError> {
        let start = self.peek().ok_or_else(|| syntax(None))?.start;
        Ok(self.text[start..].to_owned())
    }

    /// `COMMIT`, without another transaction behind it.
    fn ending(&self, command: Command) -> Result<Command, PgError> {
        let chains = self.tokens.iter().any(|token| token.is("chain"));
        let does_not = self.tokens.iter().any(|token| token.is("no"));
        if chains && !does_not { Err(not_done("AND CHAIN")) } else { Ok(command) }
    }

    fn set(&mut self) -> Result<Command, PgError> {
        self.next();
        let is_local = self.skip("local");
        if !is_local {
            self.skip("session");
        }
        if self.skip_any(&["transaction", "characteristics", "constraints"]) {
            return Ok(Command::Accepted("SET"));
        }
        if self.skip_any(&["role", "authorization"]) {
            let own = self.skip_any(&["none", "default"]);
            return if own { Ok(Command::Accepted("SET")) } else { Err(not_done("SET ROLE")) };
        }
        let name = if self.skip("names") {
            "client_encoding".to_owned()
        } else if self.skip("time") {
            self.skip("zone");
            "timezone".to_owned()
        } else {
            let name = self.dotted()?;
            if !self.skip("to") && !self.skip_sign('=') {
                return Err(syntax(self.peek()));
            }
            name
        };
        let value = self.value()?;
        Ok(Command::Set { name, value, is_local })
    }

    /// A name that may have parts.
    fn dotted(&mut self) -> Result<String, PgError> {
        let mut name = self.name()?;
        while self.skip_sign('.') {
            name = format!("{name}.{}", self.name()?);
        }
        Ok(name.to_lowercase())
    }

    /// The value of a setting, of several parts with commas between them; `None`: the default.
    fn value(&mut self) -> Result<Option<String>, PgError> {
        let mut parts = Vec::new();
        let mut part = String::new();
        let mut words = 0;
        while let Some(token) = self.next() {
            if token.is_sign(',') {
                parts.push(std::mem::take(&mut part));
            } else if token.is("default") && parts.is_empty() && self.peek().is_none() {
                return Ok(None);
            } else if token.is("local") && words == 0 && self.peek().is_none() {
                // `SET TIME ZONE LOCAL`.
                return Ok(None);
            } else {
                let value = if token.kind == Kind::Word { token.text.to_owned() } else { token.value() };
                if !part.is_empty() && token.kind == Kind::Word {
                    part.push(' ');
                }
                part.push_str(&value);
            }
            words += 1;
        }
        if words == 0 {
            return Err(syntax(None));
        }
        parts.push(part);
        Ok(Some(parts.join(", ")))
    }

    fn show(&mut self, text: &str) -> Result<Command, PgError> {
        self.next();
        let ends = |words: &[&str]| {
            let tokens = tokens(text);
            let named = tokens.iter().skip(1).map(Token::value);
            named.eq(words.iter().map(|&word| word.to_owned()))
        };
        if ends(&["all"]) {
            return Ok(Command::ShowAll);
        }
        for (words, name) in [
            (&["time", "zone"][..], "timezone"),
            (&["transaction", "isolation", "level"], "transaction_isolation"),
            (&["session", "authorization"], "session_authorization"),
        ] {
            if ends(words) {
                return Ok(Command::Show(name.to_owned()));
            }
        }
        let name = self.dotted()?;
        self.end(Command::Show(name))
    }

    fn reset(&mut self) -> Result<Command, PgError> {
        self.next();
        if self.skip("all") {
            return self.end(Command::Reset(None));
        }
        if self.skip("role") {
            return self.end(Command::Accepted("RESET"));
        }
        if self.skip("session") {
            self.skip("authorization");
            return self.end(Command::Accepted("RESET"));
        }
        if self.skip("time") {
            self.skip("zone");
            return self.end(Command::Reset(Some("timezone".to_owned())));
        }
        let name = self.dotted()?;
        self.end(Command::Reset(Some(name)))
    }

    fn discard(&mut self) -> Result<Command, PgError> {
        self.next();
        match self.next() {
            Some(token) if token.is("all") => self.end(Command::DiscardAll),
            Some(token) if token.is("plans") => self.end(Command::Accepted("DISCARD PLANS")),
            Some(token) if token.is("sequences") => self.end(Command::Accepted("DISCARD SEQUENCES")),
            Some(token) if token.is("temp") || token.is("temporary") => {
                self.end(Command::Accepted("DISCARD TEMP"))
            }
            other => Err(syntax(other.as_ref())),
        }
    }

    fn declare(&mut self) -> Result<Command, PgError> {
        self.next();
        let name = self.name()?;
        let mut outlives = false;
        while !self.skip("cursor") {
            match self.next() {
                Some(token) if token.is("binary") => return Err(not_done("a binary cursor")),
                Some(token) if token.is("scroll") => {
                    let no = self.tokens.get(self.place.wrapping_sub(2)).is_some_and(|token| token.is("no"));
                    if !no {
                        return Err(not_done("a cursor that goes back (SCROLL)"));
                    }
                }
                Some(token) if ["no", "insensitive", "asensitive"].iter().any(|word| token.is(word)) => {}
                other => return Err(syntax(other.as_ref())),
            }
        }
        if self.skip("with") {
            outlives = true;
            self.skip("hold");
        } else if self.skip("without") {
            self.skip("hold");
        }
        if !self.skip("for") {
            return Err(syntax(self.peek()));
        }
        Ok(Command::Declare { name, query: self.rest()?, outlives })
    }

    /// `FETCH [direction] [FROM | IN] cursor`.
    fn fetch(&mut self, is_move: bool) -> Result<Command, PgError> {
        self.next();
        let mut count = Count::Rows(1);
        if self.skip("all") {
            count = Count::All;
        } else if !self.skip("next") {
            let forward = self.skip("forward");
            for word in ["prior", "first", "last", "absolute", "relative", "backward"] {
                if self.peek().is_some_and(|token| token.is(word)) && self.tokens.len() > self.place + 1 {
                    return Err(PgError::new(code::WRONG_STATE, "cursor can only scan forward"));
                }
            }
            if forward && self.skip("all") {
                count = Count::All;
            } else if let Some(token) = self.peek().filter(|token| token.kind == Kind::Number) {
                let rows = token.text.parse().map_err(|_| syntax(Some(token)))?;
                count = Count::Rows(rows);
                self.next();
            } else if self.peek().is_some_and(|token| token.is_sign('-')) {
                return Err(PgError::new(code::WRONG_STATE, "cursor can only scan forward"));
            }
        }
        self.skip_any(&["from", "in"]);
        let cursor = self.name()?;
        self.end(Command::Fetch { cursor, count, is_move })
    }

    /// `CLOSE ALL`, `CLOSE name`.
    fn all_or_named(&mut self) -> Result<Option<String>, PgError> {
        self.next();
        if self.skip("all") {
            return self.end(None);
        }
        let name = self.name()?;
        self.end(Some(name))
    }

    /// `COPY (query) TO STDOUT …`, `COPY table [(columns)] TO STDOUT …`.
    fn copy(&mut self) -> Result<Command, PgError> {
        self.next();
        let query = if self.skip_sign('(') {
            let inside = self.inside()?;
            inside.to_owned()
        } else {
            let start = self.peek().ok_or_else(|| syntax(None))?.start;
            let mut end = start;
            while let Some(token) = self.peek().filter(|token| !token.is_sign('(') && !token.is("to")) {
                if token.is("from") {
                    let message = "cannot execute COPY FROM in a read-only transaction";
                    return Err(PgError::new(code::READ_ONLY, message));
                }
                end = token.end();
                self.place += 1;
            }
            let table = &self.text[start..end];
            let columns = if self.skip_sign('(') { self.inside()? } else { "*" };
            format!("SELECT {columns} FROM {table}")
        };
        if self.skip("from") {
            let message = "cannot execute COPY FROM in a read-only transaction";
            return Err(PgError::new(code::READ_ONLY, message));
        }
        if !self.skip("to") {
            return Err(syntax(self.peek()));
        }
        if !self.skip("stdout") {
            return Err(not_done("COPY to anything but STDOUT"));
        }
        let form = CopyForm::read(&self.tokens[self.place..])?;
        Ok(Command::Copy { query, form })
    }

    /// The text up to the bracket that closes the one before.
    fn inside(&mut self) -> Result<&'a str, PgError> {
        let start = self.peek().ok_or_else(|| syntax(None))?.start;
        let mut depth = 1_usize;
        while let Some(token) = self.next() {
            if token.is_sign('(') {
                depth += 1;
            } else if token.is_sign(')') {
                depth -= 1;
            }
            if depth == 0 {
                return Ok(self.text[start..token.start].trim());
            }
        }
        Err(syntax(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: Option<&str>, is_local: bool) -> Command {
        Command::Set { name: name.to_owned(), value: value.map(str::to_owned), is_local }
    }

    fn fetch(cursor: &str, count: Count, is_move: bool) -> Command {
        Command::Fetch { cursor: cursor.to_owned(), count, is_move }
    }

    #[test]
    fn what_clients_send_is_understood() {
        let show = |name: &str| Command::Show(name.to_owned());
        for (text, expected) in [
            ("select 1", Command::Query { tag: Some("SELECT") }),
            ("with a as (select 1) select * from a", Command::Query { tag: Some("SELECT") }),
            ("(select 1) union (select 2)", Command::Query { tag: Some("SELECT") }),
            ("EXPLAIN select 1", Command::Query { tag: None }),
            ("BEGIN", Command::Begin),
            ("start transaction read only", Command::Begin),
            ("COMMIT", Command::Commit),
            ("commit and no chain", Command::Commit),
            ("rollback", Command::Rollback),
            ("ROLLBACK TO SAVEPOINT a", Command::RollbackTo),
            ("rollback work to a", Command::RollbackTo),
            ("SET extra_float_digits = 3", set("extra_float_digits", Some("3"), false)),
            ("SET SESSION datestyle TO 'ISO, MDY'", set("datestyle", Some("ISO, MDY"), false)),
            ("set DateStyle to iso, mdy", set("datestyle", Some("iso, mdy"), false)),
            ("set local statement_timeout = '5s'", set("statement_timeout", Some("5s"), true)),
            ("set search_path to dwh, \"Odd one\"", set("search_path", Some("dwh, Odd one"), false)),
            ("set a.b = -1", set("a.b", Some("-1"), false)),
            ("SET TIME ZONE 'UTC'", set("timezone", Some("UTC"), false)),
            ("set timezone to default", set("timezone", None, false)),
            ("SET NAMES 'utf8'", set("client_encoding", Some("utf8"), false)),
            ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", Command::Accepted("SET")),
            ("set transaction isolation level serializable", Command::Accepted("SET")),
            ("SHOW transaction_isolation", show("transaction_isolation")),
            ("SHOW TRANSACTION ISOLATION LEVEL", show("transaction_isolation")),
            ("show Time Zone", show("timezone")),
            ("SHOW search_path", show("search_path")),
            ("show all", Command::ShowAll),
            ("RESET ALL", Command::Reset(None)),
            ("reset statement_timeout", Command::Reset(Some("statement_timeout".to_owned()))),
            ("DISCARD ALL", Command::DiscardAll),
            ("discard plans", Command::Accepted("DISCARD PLANS")),
            ("CLOSE ALL", Command::Close(None)),
            ("close \"C\"", Command::Close(Some("C".to_owned()))),
            ("DEALLOCATE ALL", Command::Deallocate(None)),
            ("deallocate prepare s1", Command::Deallocate(Some("s1".to_owned()))),
            ("FETCH 10 FROM c", fetch("c", Count::Rows(10), false)),
            ("FETCH FORWARD 10 FROM \"C\"", fetch("C", Count::Rows(10), false)),
            ("fetch forward all in c", fetch("c", Count::All, false)),
            ("fetch all c", fetch("c", Count::All, false)),
            ("fetch next from c", fetch("c", Count::Rows(1), false)),
            ("fetch c", fetch("c", Count::Rows(1), false)),
            ("MOVE FORWARD 3 FROM c", fetch("c", Count::Rows(3), true)),
            ("UNLISTEN *", Command::Accepted("UNLISTEN")),
        ] {
            assert_eq!(Command::read(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn cursors_and_copies_carry_their_query() {
        for (text, query, outlives) in [
            ("DECLARE c CURSOR FOR select 1", "select 1", false),
            ("declare \"c\" no scroll cursor without hold for select ';'", "select ';'", false),
            ("DECLARE c INSENSITIVE CURSOR WITH HOLD FOR SELECT 1 FROM t", "SELECT 1 FROM t", true),
        ] {
            let (name, query) = ("c".to_owned(), query.to_owned());
            assert_eq!(Command::read(text).unwrap(), Command::Declare { name, query, outlives }, "{text}");
        }
        for (text, query) in [
            ("COPY (select (1) from t) TO STDOUT", "select (1) from t"),
            ("copy dwh.t to stdout with (format csv)", "SELECT * FROM dwh.t"),
            ("copy dwh.t (a, b) to stdout", "SELECT a, b FROM dwh.t"),
        ] {
            let command = Command::read(text).unwrap();
            assert_eq!(command.query(text), Some(query), "{text}");
        }
    }

    #[test]
    fn what_would_write_or_is_not_done_is_refused() {
        for (text, expected) in [
            ("insert into t values (1)", code::READ_ONLY),
            ("Create TABLE t (a int)", code::READ_ONLY),
            ("/* hidden */ drop table t", code::READ_ONLY),
            ("copy t from stdin", code::READ_ONLY),
            ("copy t (a) from stdin", code::READ_ONLY),
            ("vacuum", code::READ_ONLY),
            ("prepare s as select 1", code::NOT_SUPPORTED),
            ("declare c scroll cursor for select 1", code::NOT_SUPPORTED),
            ("commit and chain", code::NOT_SUPPORTED),
            ("set role postgres", code::NOT_SUPPORTED),
            ("copy t to '/etc/passwd'", code::NOT_SUPPORTED),
            ("copy t to program 'rm'", code::NOT_SUPPORTED),
            ("fetch backward 1 from c", code::WRONG_STATE),
            ("fetch absolute 1 from c", code::WRONG_STATE),
            ("fetch -1 from c", code::WRONG_STATE),
            ("set a", code::SYNTAX),
            ("show", code::SYNTAX),
            ("declare c for select 1", code::SYNTAX),
            ("close", code::SYNTAX),
        ] {
            assert_eq!(Command::read(text).unwrap_err().code, expected, "{text}");
        }
    }
}
