//! Whose a statement is, the catalogue's or the engine's, and PostgreSQL's spellings in the engine's.

use super::eval::{self, name, parts};
use super::relations::{Relations, VERSION};
use crate::error::{PgError, code};
use crate::session::Who;
use affluent_lake::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, Query, Statement,
    Value, Visit, Visitor, visit_expressions, visit_expressions_mut, visit_relations, visit_relations_mut,
};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// Patterns of `to_char` and what the engine writes for them, longer ones first.
const TIME_PATTERNS: &[(&str, &str)] = &[
    ("YYYY", "%Y"),
    ("IYYY", "%G"),
    ("YY", "%y"),
    ("HH24", "%H"),
    ("HH12", "%I"),
    ("HH", "%I"),
    ("MI", "%M"),
    ("MM", "%m"),
    ("MS", "%3f"),
    ("US", "%6f"),
    ("SS", "%S"),
    ("DDD", "%j"),
    ("DD", "%d"),
    ("IW", "%V"),
    ("ID", "%u"),
    ("Mon", "%b"),
    ("FMMonth", "%B"),
    ("FMDay", "%A"),
    ("Dy", "%a"),
    ("AM", "%p"),
    ("PM", "%p"),
];

/// Whether a query is over the catalogue alone.
///
/// # Errors
/// 0A000: over the catalogue and other tables.
pub(super) fn is_catalogue(query: &Query, relations: &Relations) -> Result<bool, PgError> {
    let ctes = ctes(query);
    let (mut own, mut other) = (false, None);
    let _: ControlFlow<()> = visit_relations(query, |relation| {
        let path = parts(relation);
        let table = path.last().cloned().unwrap_or_default();
        let schema = path.len().checked_sub(2).and_then(|place| path.get(place)).map(String::as_str);
        let is_local = schema.is_none() && (ctes.contains(&table) || eval::is_table_function(&table));
        let is_own = matches!(schema, Some("pg_catalog" | "information_schema"))
            || (schema.is_none() && relations.find(None, &table).is_some());
        if is_own {
            own = true;
        } else if !is_local {
            other = Some(relation.to_string());
        }
        ControlFlow::Continue(())
    });
    match other {
        Some(table) if own => {
            let message = format!("tables of the catalogue cannot be joined with {table}");
            Err(PgError::new(code::NOT_SUPPORTED, message))
        }
        Some(_) => Ok(false),
        None => Ok(own || asks_of_the_session(query)),
    }
}

/// Whether an expression is one that only the catalogue knows.
fn asks_of_the_session(query: &Query) -> bool {
    let found = visit_expressions(query, |expr| {
        let is_own = match expr {
            Expr::Function(function) => eval::is_function(&parts(&function.name).pop().unwrap_or_default()),
            Expr::Identifier(ident) => ident.quote_style.is_none() && eval::is_bare(&name(ident)),
            Expr::Cast { data_type, .. } => {
                let named = data_type.to_string().to_lowercase();
                named.trim_start_matches("pg_catalog.").starts_with("reg")
            }
            _ => false,
        };
        if is_own { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    found.is_break()
}

/// Names of the common table expressions of a statement.
pub(super) fn ctes<V: Visit>(statement: &V) -> BTreeSet<String> {
    struct Names(BTreeSet<String>);
    impl Visitor for Names {
        type Break = ();

        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            let tables = query.with.iter().flat_map(|with| &with.cte_tables);
            self.0.extend(tables.map(|cte| name(&cte.alias.name)));
            ControlFlow::Continue(())
        }
    }
    let mut names = Names(BTreeSet::new());
    let _: ControlFlow<()> = statement.visit(&mut names);
    names.0
}

/// Turns a statement into one of the engine: names without a schema get the one they are found in, what tells of the
/// session becomes its value, patterns of times become the engine's.
///
/// # Errors
/// 0A000: a pattern that the engine has nothing for.
pub(super) fn to_engine(statement: &mut Statement, relations: &Relations, who: &Who) -> Result<(), PgError> {
    let (ctes, path) = (ctes(statement), super::search_path(who));
    let _: ControlFlow<()> = visit_relations_mut(statement, |relation| {
        if let [table] = parts(relation).as_slice()
            && !ctes.contains(table)
            && let Some(schema) = relations.schema_of(table, &path).filter(|schema| schema != "public")
        {
            let quoted = |name: &str| Ident::with_quote('"', name);
            *relation = ObjectName::from(vec![quoted(&schema), quoted(table)]);
        }
        ControlFlow::Continue(())
    });
    let turned = visit_expressions_mut(statement, |expr| {
        let bare = match expr {
            Expr::Identifier(ident) if ident.quote_style.is_none() && eval::is_bare(&name(ident)) => {
                Some(name(ident))
            }
            Expr::Function(function) => match turn(function) {
                Ok(()) => parts(&function.name).pop(),
                Err(error) => return ControlFlow::Break(error),
            },
            _ => None,
        };
        if let Some(value) = bare.and_then(|name| of_the_session(&name, who)) {
            *expr = Expr::Value(value.with_empty_span());
        }
        ControlFlow::Continue(())
    });
    match turned {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

fn of_the_session(function: &str, who: &Who) -> Option<Value> {
    let text = |text: &str| Some(Value::SingleQuotedString(text.to_owned()));
    match function {
        "version" => text(VERSION),
        "current_database" | "current_catalog" => text(&who.database),
        "current_user" | "session_user" | "user" | "current_role" => text(&who.user),
        "current_schema" => text(super::search_path(who).first().map_or("public", String::as_str)),
        "pg_backend_pid" => Some(Value::Number(who.pid.to_string(), false)),
        _ => None,
    }
}

/// A function's name without `pg_catalog`, and the engine's pattern in `to_char`.
fn turn(function: &mut Function) -> Result<(), PgError> {
    let path = parts(&function.name);
    if let [schema, called] = path.as_slice()
        && schema == "pg_catalog"
    {
        function.name = ObjectName::from(vec![Ident::new(called.as_str())]);
    }
    if path.last().map(String::as_str) != Some("to_char") {
        return Ok(());
    }
    let FunctionArguments::List(list) = &mut function.args else { return Ok(()) };
    let unclear = || PgError::new(code::NOT_SUPPORTED, "to_char needs its pattern as a literal");
    let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(pattern)))) = list.args.get_mut(1) else {
        return Err(unclear());
    };
    let Value::SingleQuotedString(text) = &pattern.value else { return Err(unclear()) };
    pattern.value = Value::SingleQuotedString(time_pattern(text)?);
    Ok(())
}

/// `YYYY-MM` as `%Y-%m`.
fn time_pattern(pattern: &str) -> Result<String, PgError> {
    let (mut rest, mut made) = (pattern, String::new());
    while let Some(letter) = rest.chars().next() {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (inside, behind) = quoted.split_once('"').unwrap_or((quoted, ""));
            made += &inside.replace('%', "%%");
            rest = behind;
        } else if let Some((known, ours)) = TIME_PATTERNS.iter().find(|(known, _)| rest.starts_with(known)) {
            made += ours;
            rest = &rest[known.len()..];
        } else if letter.is_alphanumeric() || letter == '%' {
            let message = format!("to_char cannot write the pattern {pattern:?} here");
            return Err(PgError::new(code::NOT_SUPPORTED, message)
                .with_hint("YYYY, MM, DD, HH24, MI, SS, MS, US, Mon, Dy, IW and their like are understood"));
        } else {
            made.push(letter);
            rest = &rest[letter.len_utf8()..];
        }
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_times_are_turned_or_refused() {
        for (pattern, expected) in [
            ("YYYY-MM", Some("%Y-%m")),
            ("YYYY-MM-DD HH24:MI:SS", Some("%Y-%m-%d %H:%M:%S")),
            ("IYYY-\"W\"IW", Some("%G-W%V")),
            ("FM999,990.00", None),
            ("Q", None),
        ] {
            assert_eq!(time_pattern(pattern).ok().as_deref(), expected, "{pattern}");
        }
    }
}
