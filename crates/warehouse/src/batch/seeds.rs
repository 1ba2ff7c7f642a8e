//! Seeds: small tables that come as CSV, shipped or given. Every column is text, an empty cell is null;
//! models cast what they need.

use super::model::{Model, SEED};
use super::options::BatchOptions;
use super::{BatchError, builtin};
use affluent_lake::sql::Session;
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Rates of exchange, by day and currency.
const FX_RATES: &str = "fx_rates";

/// The seeds by name.
#[derive(Debug, Clone, Default)]
pub struct Seeds(BTreeMap<String, RecordBatch>);

impl Seeds {
    /// The shipped seeds, over them those of the user's directory, and the rates of the ECB where given.
    ///
    /// # Errors
    /// [`BatchError::Seed`], [`BatchError::Io`].
    pub fn load(options: &BatchOptions) -> Result<Self, BatchError> {
        let mut files: BTreeMap<String, (String, String)> = builtin::SEEDS
            .iter()
            .map(|&(path, text)| (path.to_owned(), (path.to_owned(), text.to_owned())))
            .collect();
        if let Some(directory) = options.seeds() {
            for (path, text) in super::model::files_of(directory, "csv")? {
                let file = directory.join(&path).display().to_string();
                files.insert(path, (file, text));
            }
        }
        let mut seeds = BTreeMap::new();
        for (path, (file, text)) in &files {
            let name = path.trim_end_matches(".csv").to_owned();
            seeds.insert(name, batch(file, &parse(file, text)?)?);
        }
        if let Some(path) = options.fx_rates() {
            seeds.insert(FX_RATES.to_owned(), rates(path, seeds.get(FX_RATES))?);
        }
        Ok(Seeds(seeds))
    }

    /// The seed of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&RecordBatch> {
        self.0.get(name)
    }

    /// The seeds that a model reads, in its body, its units and its rules.
    pub(crate) fn of<'a>(&'a self, model: &'a Model) -> impl Iterator<Item = &'a RecordBatch> {
        let prefix = format!("{SEED}.");
        let is_read = move |name: &str| {
            let table = format!("{prefix}{name}");
            let in_rules = model.header.rules.iter().any(|rule| rule.when.contains(&table));
            in_rules || model.reads.contains(&table)
        };
        self.0.iter().filter(move |(name, _)| is_read(name)).map(|(_, batch)| batch)
    }

    /// Gives a session those that are named `seed.x` among `reads`.
    ///
    /// # Errors
    /// [`BatchError::Seed`] for one that is not there.
    pub(crate) fn register<'a>(
        &self,
        session: &Session,
        reads: impl IntoIterator<Item = &'a String>,
    ) -> Result<(), BatchError> {
        for table in reads {
            let Some(name) = table.strip_prefix(SEED).and_then(|rest| rest.strip_prefix('.')) else {
                continue;
            };
            let Some(batch) = self.0.get(name) else {
                let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
                let message = format!("there is none of this name; there are {}", known.join(", "));
                return Err(BatchError::Seed { file: table.clone(), message });
            };
            session
                .register_batches(table, batch.schema(), vec![batch.clone()])
                .map_err(BatchError::sql(table.clone()))?;
        }
        Ok(())
    }
}

/// The long form (day, currency, rate) of the ECB's table: a line a day, a column a currency, `N/A` where
/// there is none. Columns are named as in the shipped seed.
fn rates(path: &Path, shipped: Option<&RecordBatch>) -> Result<RecordBatch, BatchError> {
    let file = path.display().to_string();
    let text =
        std::fs::read_to_string(path).map_err(|source| BatchError::Io { path: file.clone(), source })?;
    let names: Vec<String> = match shipped {
        Some(shipped) => shipped.schema_ref().fields().iter().map(|field| field.name().clone()).collect(),
        None => ["date", "currency", "rate"].map(str::to_owned).to_vec(),
    };
    let mut lines = parse(&file, &text)?.into_iter();
    let header = lines.next().unwrap_or_default();
    let own: Vec<String> = header.iter().map(|name| name.clone().unwrap_or_default()).collect();
    if own.iter().take(names.len()).eq(names.iter()) {
        return batch(&file, &parse(&file, &text)?);
    }
    if own.first().is_none_or(|first| !first.eq_ignore_ascii_case("date")) || names.len() < 3 {
        let message = format!("its first column is not Date, nor are its columns {}", names.join(", "));
        return Err(BatchError::Seed { file, message });
    }
    let mut long = vec![names.iter().map(|name| Some(name.clone())).collect::<Vec<_>>()];
    for line in lines {
        let Some(day) = line.first().cloned().flatten() else { continue };
        for (currency, rate) in own.iter().zip(&line).skip(1) {
            let Some(rate) = rate.as_ref().filter(|rate| !rate.eq_ignore_ascii_case("n/a")) else { continue };
            if currency.trim().is_empty() {
                continue;
            }
            let mut row =
                vec![Some(day.clone()), Some(currency.trim().to_owned()), Some(rate.trim().to_owned())];
            row.resize(names.len(), None);
            long.push(row);
        }
    }
    batch(&file, &long)
}

/// Lines of cells by RFC 4180; empty cells without quotes are `None`. Lines that begin with `#` are notes.
fn parse(file: &str, text: &str) -> Result<Vec<Vec<Option<String>>>, BatchError> {
    let mut lines = Vec::new();
    let mut line = Vec::new();
    let (mut cell, mut quoted, mut was_quoted) = (String::new(), false, false);
    let mut letters = text.trim_start_matches('\u{feff}').chars().peekable();
    let end = |cell: &mut String, was_quoted: &mut bool, line: &mut Vec<Option<String>>| {
        let text = std::mem::take(cell);
        line.push(if text.is_empty() && !*was_quoted { None } else { Some(text) });
        *was_quoted = false;
    };
    while let Some(letter) = letters.next() {
        match letter {
            '#' if line.is_empty() && cell.is_empty() && !quoted => {
                for skipped in letters.by_ref() {
                    if skipped == '\n' {
                        break;
                    }
                }
            }
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                cell.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if cell.is_empty() => (quoted, was_quoted) = (true, true),
            ',' if !quoted => end(&mut cell, &mut was_quoted, &mut line),
            '\r' if !quoted => {}
            '\n' if !quoted => {
                if !line.is_empty() || !cell.is_empty() || was_quoted {
                    end(&mut cell, &mut was_quoted, &mut line);
                    lines.push(std::mem::take(&mut line));
                }
            }
            other => cell.push(other),
        }
    }
    if quoted {
        let message = "a quote is not closed".to_owned();
        return Err(BatchError::Seed { file: file.to_owned(), message });
    }
    if !line.is_empty() || !cell.is_empty() || was_quoted {
        end(&mut cell, &mut was_quoted, &mut line);
        lines.push(line);
    }
    Ok(lines)
}

/// Lines of cells, the first of them names, as columns.
fn batch(file: &str, lines: &[Vec<Option<String>>]) -> Result<RecordBatch, BatchError> {
    let refuse = |message: String| BatchError::Seed { file: file.to_owned(), message };
    let Some((names, rows)) = lines.split_first() else { return Err(refuse("it is empty".to_owned())) };
    if let Some(place) = rows.iter().position(|row| row.len() != names.len()) {
        let (cells, names) = (rows[place].len(), names.len());
        return Err(refuse(format!("row {} has {cells} cells for {names} columns", place + 1)));
    }
    let fields: Vec<Field> = names
        .iter()
        .map(|name| Field::new(name.clone().unwrap_or_default().trim(), DataType::Utf8, true))
        .collect();
    let column = |place: usize| {
        let cells = rows.iter().map(|row| row[place].as_deref());
        Arc::new(cells.collect::<StringArray>()) as ArrayRef
    };
    let columns = (0..names.len()).map(column).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|error| refuse(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_is_read_with_quotes_nulls_and_notes() {
        let text = "# a note\ncode,name,note\r\nEUR,Euro,\nNA,Namibia,null\n\"U\"\"S\",\"a, b\nc\",\"\"\n";
        let lines = parse("f", text).unwrap();
        let cell = |line: usize, place: usize| lines[line][place].as_deref();
        assert_eq!((lines.len(), cell(1, 1), cell(1, 2)), (4, Some("Euro"), None));
        // What other readers of CSV take for a null is text.
        assert_eq!((cell(2, 0), cell(2, 2)), (Some("NA"), Some("null")));
        assert_eq!((cell(3, 0), cell(3, 1), cell(3, 2)), (Some("U\"S"), Some("a, b\nc"), Some("")));
        assert_eq!(batch("f", &lines).unwrap().num_rows(), 3);
        assert!(parse("f", "a\n\"b").unwrap_err().to_string().contains("quote"));
        assert!(batch("f", &parse("f", "a,b\n1\n").unwrap()).unwrap_err().to_string().contains("row 1"));
    }

    #[test]
    fn the_table_of_the_ecb_becomes_long() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rates.csv");
        std::fs::write(&path, "Date,USD,JPY,\n2026-11-20,1.05,N/A,\n2026-11-19,1.04,160.1,\n").unwrap();
        let rows = rates(&path, None).unwrap();
        assert_eq!((rows.num_rows(), rows.schema().field(0).name().as_str()), (3, "date"));
        std::fs::write(&path, "Time,USD\n").unwrap();
        assert!(rates(&path, None).unwrap_err().to_string().contains("not Date"));
    }
}
