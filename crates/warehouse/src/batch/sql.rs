//! Pieces of SQL text: names, literals, joins. Pure.

/// A name in quotes: any name can be one.
pub(crate) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `namespace.name`, each in quotes.
pub(crate) fn table(name: &str) -> String {
    name.splitn(2, '.').map(ident).collect::<Vec<_>>().join(".")
}

/// A text literal.
pub(crate) fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// `l."a" = r."b" and …` of pairs of columns.
pub(crate) fn equal<'a>(
    left: &str,
    right: &str,
    pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> String {
    let one = |(a, b): (&str, &str)| format!("{left}.{} = {right}.{}", ident(a), ident(b));
    pairs.into_iter().map(one).collect::<Vec<_>>().join(" and ")
}

/// Columns in quotes, behind `of.` where it is not empty.
pub(crate) fn list<'a>(of: &str, columns: impl IntoIterator<Item = &'a str>) -> String {
    let one = |column: &str| if of.is_empty() { ident(column) } else { format!("{of}.{}", ident(column)) };
    columns.into_iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The first moment of a day (days since 1970-01-01, UTC).
pub(crate) fn midnight(day: i64) -> String {
    let micros = day.saturating_mul(86_400_000_000);
    format!("arrow_cast({micros}, 'Timestamp(Microsecond, Some(\"+00:00\"))')")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_are_quoted() {
        assert_eq!(table("dwh.a\"b"), r#""dwh"."a""b""#);
        assert_eq!(text("o'clock"), "'o''clock'");
        assert_eq!(equal("t", "u", [("a", "b"), ("c", "c")]), r#"t."a" = u."b" and t."c" = u."c""#);
        assert_eq!(list("t", ["a", "b"]), r#"t."a", t."b""#);
    }
}
