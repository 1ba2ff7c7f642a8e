//! Values that the stream leaves out because they did not change: taken from the old row, or read
//! from the table.

use super::CdcError;
use super::catalog::{Catalog, sql_name};
use super::connect::{quote_ident, quote_literal};
use super::decode::pgoutput::{Field, Tuple};
use super::relation::Shape;

/// The new row with what was not sent taken from a whole old row.
pub(super) fn merge<'a>(new: &Tuple<'a>, old: Option<&Tuple<'a>>, full: bool) -> Tuple<'a> {
    match old {
        Some(old) if full => new
            .iter()
            .enumerate()
            .map(
                |(i, field)| {
                    if *field == Field::Unchanged { old.get(i).copied().unwrap_or(*field) } else { *field }
                },
            )
            .collect(),
        _ => new.clone(),
    }
}

pub(super) fn merge_filled<'a>(tuple: &Tuple<'a>, filled: &'a [(usize, Option<String>)]) -> Tuple<'a> {
    let mut tuple = tuple.clone();
    for (i, value) in filled {
        tuple[*i] = value.as_ref().map_or(Field::Null, |text| Field::Text(text.as_bytes()));
    }
    tuple
}

/// Reads the values that the source did not send from the table, by the row's key. Nothing where
/// all were sent, or where the row is not there any more: then another change of it follows.
pub(super) async fn fill(
    catalog: &mut Catalog,
    shape: &Shape,
    tuple: &Tuple<'_>,
) -> Result<Vec<(usize, Option<String>)>, CdcError> {
    let left_out = |&i: &usize| tuple[i] == Field::Unchanged && shape.fields[i].target.is_some();
    let wanted: Vec<usize> = (0..tuple.len().min(shape.fields.len())).filter(left_out).collect();
    if wanted.is_empty() || shape.key.is_empty() {
        return Ok(Vec::new());
    }
    let mut conditions = Vec::new();
    for &i in &shape.key {
        let Field::Text(text) = tuple[i] else { return Ok(Vec::new()) };
        let text = String::from_utf8_lossy(text);
        conditions.push(format!("{} = {}", quote_ident(&shape.fields[i].name), quote_literal(&text)));
    }
    let columns: Vec<String> = wanted.iter().map(|&i| quote_ident(&shape.fields[i].name)).collect();
    let sql = format!(
        "SELECT {} FROM {} WHERE {}",
        columns.join(", "),
        sql_name(&shape.table),
        conditions.join(" AND ")
    );
    let rows = match catalog.client().await?.simple_query(&sql).await {
        Ok(rows) => rows,
        Err(error) => match CdcError::sql("read a value that the stream leaves out", &error) {
            // The table or column was dropped or renamed since: its rows come again or never.
            CdcError::Postgres { passing: false, error, .. } => {
                tracing::warn!(table = %shape.table, error, "left-out value cannot be read");
                return Ok(Vec::new());
            }
            passing => return Err(passing),
        },
    };
    let row = rows.into_iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    Ok(row.map_or_else(Vec::new, |row| {
        wanted.iter().enumerate().map(|(at, &i)| (i, row.get(at).map(str::to_owned))).collect()
    }))
}
