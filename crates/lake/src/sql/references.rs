//! What a statement is and what it refers to, from its text alone.

use super::SqlError;
use datafusion::common::TableReference;
use datafusion::error::DataFusionError;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::resolve::resolve_table_references;
use datafusion::sql::sqlparser::ast::{Expr, SelectItem, SetExpr, Statement as SqlStatement};
use std::collections::BTreeSet;

/// Nesting of expressions that is still read.
const DEPTH_MAX: usize = 100;
/// Functions that stand where tables do.
const TABLE_FUNCTIONS: &[&str] = &["generate_series", "range", "unnest"];
/// Likeness from which a name is worth proposing.
const LIKENESS_MIN: f64 = 0.8;
/// Names that are proposed at most.
const PROPOSED_MAX: usize = 3;

/// The tables that a statement reads, as `namespace.name`: its lineage. Names of common table expressions
/// and aliases are not among them.
///
/// # Errors
/// [`SqlError::Syntax`].
pub fn referenced_tables(text: &str) -> Result<BTreeSet<String>, SqlError> {
    Ok(references(&parse(text)?)?.iter().map(full_name).collect())
}

/// As [`referenced_tables`], of a statement that was read already.
///
/// # Errors
/// [`SqlError::Plan`]: names that none can have.
pub fn tables_of(statement: &SqlStatement) -> Result<BTreeSet<String>, SqlError> {
    let statement = Statement::Statement(Box::new(statement.clone()));
    Ok(references(&statement)?.iter().map(full_name).collect())
}

/// The condition of a query that does nothing but take rows of `table`: `select a, b from table where condition`. `None` of
/// any other query, also of one that names the table again or has a subquery.
#[must_use]
pub fn filter_of(text: &str, table: &str) -> Option<String> {
    let Statement::Statement(statement) = parse(text).ok()? else { return None };
    let SqlStatement::Query(query) = statement.as_ref() else { return None };
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let is_column = |item: &SelectItem| {
        matches!(item, SelectItem::Wildcard(_) | SelectItem::UnnamedExpr(Expr::Identifier(_)))
    };
    if !select.projection.iter().all(is_column) {
        return None;
    }
    let columns: Vec<String> = select.projection.iter().map(ToString::to_string).collect();
    let condition = select.selection.as_ref()?.to_string();
    // Whatever else a query can have would stand in its text.
    let whole = format!("SELECT {} FROM {table} WHERE {condition}", columns.join(", "));
    let inside = condition.to_lowercase();
    let is_alone = !inside.contains("select") && !inside.contains(&format!("{table}."));
    (is_alone && query.to_string() == whole).then_some(condition)
}

/// The one statement of the text.
pub(crate) fn parse(text: &str) -> Result<Statement, SqlError> {
    let parsed = DFParserBuilder::new(text)
        .with_recursion_limit(DEPTH_MAX)
        .build()
        .and_then(|mut parser| parser.parse_statements());
    let mut statements = parsed.map_err(|error| syntax(text, &error))?;
    match (statements.pop_front(), statements.len()) {
        (Some(statement), 0) => Ok(statement),
        (None, _) => Err(SqlError::Syntax("there is no statement".to_owned())),
        (Some(_), more) => {
            Err(SqlError::Syntax(format!("{} statements: one at a time can be run", more + 1)))
        }
    }
}

/// Tables, functions in the place of tables left out.
pub(crate) fn references(statement: &Statement) -> Result<Vec<TableReference>, SqlError> {
    let (mut tables, _) = resolve_table_references(statement, true)?;
    tables.retain(|table| {
        let bare = matches!(table, TableReference::Bare { .. });
        !(bare && TABLE_FUNCTIONS.contains(&table.table()))
    });
    Ok(tables)
}

/// `namespace.name`, or the name alone where no namespace is given.
pub(crate) fn full_name(table: &TableReference) -> String {
    match table.schema() {
        Some(schema) => format!("{schema}.{}", table.table()),
        None => table.table().to_owned(),
    }
}

/// The known names that `name` may have meant, the likeliest first.
pub(crate) fn nearest(name: &str, known: &[String]) -> Vec<String> {
    let bare = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
    let wanted = bare(name);
    // A namespace in common is no likeness.
    let likeness = |candidate: &String| strsim::jaro_winkler(&wanted, &bare(candidate));
    let mut likely: Vec<(f64, &String)> = known.iter().map(|known| (likeness(known), known)).collect();
    likely.retain(|(likeness, _)| *likeness >= LIKENESS_MIN);
    likely.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    likely.into_iter().take(PROPOSED_MAX).map(|(_, name)| name.clone()).collect()
}

/// The parser's message with the line it is about and a mark below the place.
fn syntax(text: &str, error: &DataFusionError) -> SqlError {
    let message = match error.find_root() {
        DataFusionError::SQL(error, _) => error.to_string(),
        other => other.strip_backtrace(),
    };
    let message = message.strip_prefix("sql parser error: ").unwrap_or(&message);
    let Some((what, line, column)) = placed(message) else {
        return SqlError::Syntax(format!("syntax error: {message}"));
    };
    let shown = text.lines().nth(line.saturating_sub(1)).unwrap_or("");
    let indent = " ".repeat(column.saturating_sub(1));
    SqlError::Syntax(format!("syntax error in line {line}, column {column}: {what}\n  {shown}\n  {indent}^"))
}

/// Message, line and column of a message that ends with its place.
fn placed(message: &str) -> Option<(&str, usize, usize)> {
    let (what, place) = message.rsplit_once(" at Line: ")?;
    let (line, column) = place.split_once(", Column: ")?;
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok();
    Some((what, digits(line)?, digits(column)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lineage_is_the_tables_and_nothing_else() {
        for (text, expected) in [
            ("select 1", &[][..]),
            (
                "select * from raw.payments p join staged.rates as r on p.c = r.c",
                &["raw.payments", "staged.rates"],
            ),
            (
                "with x as (select * from raw.a) select * from x, raw.b where id in (select id from raw.c)",
                &["raw.a", "raw.b", "raw.c"],
            ),
            ("select * from RAW.Payments", &["raw.payments"]),
            ("select * from raw.\"Odd Name\"", &["raw.Odd Name"]),
            ("explain select * from lake.raw.a union all select * from raw.b", &["raw.a", "raw.b"]),
            (
                "with recursive n as (select 1 as i union all select i + 1 from n where i < 9) select * from n",
                &[],
            ),
            ("select * from generate_series(1, 9), raw.a", &["raw.a"]),
        ] {
            let found: Vec<String> = referenced_tables(text).unwrap().into_iter().collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_filter_is_told_from_what_does_more() {
        for (text, expected) in [
            ("select id from this where amount <= 0", Some("amount <= 0")),
            ("select * from this where a is null or b in ('x', 'y');", Some("a IS NULL OR b IN ('x', 'y')")),
            (
                "select a, b\nfrom this where cast(paid as date) > due + interval '40 days'",
                Some("CAST(paid AS DATE) > due + INTERVAL '40 days'"),
            ),
            ("select id from this", None),
            ("select id from that where a", None),
            ("select id from this t where t.a", None),
            ("select id from this where this.a", None),
            ("select count(*) from this where a", None),
            ("select distinct id from this where a", None),
            ("select id from this where a group by id", None),
            ("select id from this where a having b", None),
            ("select id from this where a limit 1", None),
            ("select id from this where a order by id limit 1", None),
            ("select id from this, that where a", None),
            ("select id from this join that on a = b where c", None),
            ("select id from this where a in (select b from that)", None),
            ("select id from this where a union all select id from this where b", None),
            ("with t as (select 1) select id from this where a", None),
            ("explain select id from this where a", None),
            ("no query", None),
        ] {
            assert_eq!(filter_of(text, "this").as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_syntax_error_shows_the_place() {
        let error = referenced_tables("select a,\n  b form raw.t where").unwrap_err().to_string();
        assert!(error.contains("line 2, column"), "{error}");
        assert!(error.contains("\n    b form raw.t where\n"), "{error}");
        assert!(error.trim_end().ends_with('^'), "{error}");
        assert!(referenced_tables("").unwrap_err().to_string().contains("no statement"));
        assert!(referenced_tables("select 1; select 2").unwrap_err().to_string().contains("2 statements"));
    }

    #[test]
    fn misspelt_tables_are_proposed() {
        let known = ["raw.transactions", "raw.refunds", "staged.logs"].map(str::to_owned);
        assert_eq!(nearest("raw.transaction", &known), ["raw.transactions"]);
        assert_eq!(nearest("refunds", &known), ["raw.refunds"]);
        assert_eq!(nearest("nothing.like_it", &known), [] as [&str; 0]);
    }
}
