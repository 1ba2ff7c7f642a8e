//! Files of anybody's, row by row in the order in which they stand: Parquet, CSV with a line of names, NDJSON. Reading blocks.
//!
//! Invariant: the nth record is the nth row of the file each time it is read, those that cannot be read included.

use super::ImportError;
use affluent_lake::ParquetFile;
use affluent_model::{Row, Value};
use serde_json::Value as Json;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// A row of text may have so many bytes.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// The form of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    Parquet,
    Csv,
    Ndjson,
}

impl FileKind {
    /// By the end of the file's name.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        Self::named(&path.extension()?.to_str()?.to_ascii_lowercase())
    }

    /// By its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "parquet" | "pq" => Some(FileKind::Parquet),
            "csv" => Some(FileKind::Csv),
            "ndjson" | "jsonl" | "json" => Some(FileKind::Ndjson),
            _ => None,
        }
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            FileKind::Parquet => "parquet",
            FileKind::Csv => "csv",
            FileKind::Ndjson => "ndjson",
        }
    }

    /// The columns of a file of this form, of NDJSON those of its first line.
    ///
    /// # Errors
    /// [`ImportError`]: the file is not there, or of another form.
    pub fn columns(self, path: &Path) -> Result<Vec<String>, ImportError> {
        columns(path, self).map(|(columns, _)| columns)
    }
}

/// A row of a file.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Record {
    /// One value a column that was asked for.
    Row(Row),
    /// It cannot be read: as it stands there, and why.
    Broken { text: String, error: String },
}

/// The columns of a file, and its rows where it says how many there are.
pub(super) fn columns(path: &Path, kind: FileKind) -> Result<(Vec<String>, Option<u64>), ImportError> {
    match kind {
        FileKind::Parquet => {
            let (names, rows) = ParquetFile::describe(path).map_err(|error| ImportError::File {
                file: path.display().to_string(),
                message: error.to_string(),
            })?;
            Ok((names, Some(rows)))
        }
        FileKind::Csv => Ok((header(&mut csv(path)?, path)?, None)),
        FileKind::Ndjson => {
            let mut lines = BufReader::new(File::open(path).map_err(ImportError::io(path))?);
            let line = line(&mut lines, path)?.unwrap_or_default();
            match serde_json::from_str::<Json>(&line) {
                Ok(Json::Object(object)) => Ok((object.into_iter().map(|(name, _)| name).collect(), None)),
                Ok(_) | Err(_) => Err(ImportError::File {
                    file: path.display().to_string(),
                    message: "its first line is no JSON object".to_owned(),
                }),
            }
        }
    }
}

/// Hands on the rows in chunks of at most `rows_max`, with the values of `columns`, until `take` has had enough.
pub(super) fn read(
    path: &Path,
    kind: FileKind,
    columns: &[String],
    rows_max: usize,
    mut take: impl FnMut(Vec<Record>) -> bool,
) -> Result<(), ImportError> {
    let mut chunk = Vec::new();
    let mut push = |record: Record| {
        chunk.push(record);
        chunk.len() < rows_max || take(std::mem::take(&mut chunk))
    };
    match kind {
        FileKind::Parquet => parquet(path, columns, &mut push)?,
        FileKind::Csv => comma_separated(path, columns, &mut push)?,
        FileKind::Ndjson => json_lines(path, columns, &mut push)?,
    }
    if !chunk.is_empty() {
        take(chunk);
    }
    Ok(())
}

fn parquet(path: &Path, columns: &[String], push: &mut dyn FnMut(Record) -> bool) -> Result<(), ImportError> {
    let refused = |error: affluent_lake::LakeError| ImportError::File {
        file: path.display().to_string(),
        message: error.to_string(),
    };
    let names: Vec<&str> = columns.iter().map(String::as_str).collect();
    for rows in ParquetFile::open(path, &names).map_err(refused)? {
        for row in rows.map_err(refused)? {
            if !push(Record::Row(row)) {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn comma_separated(
    path: &Path,
    columns: &[String],
    push: &mut dyn FnMut(Record) -> bool,
) -> Result<(), ImportError> {
    let mut reader = csv(path)?;
    let names = header(&mut reader, path)?;
    let places: Vec<Option<usize>> =
        columns.iter().map(|column| names.iter().position(|name| name == column)).collect();
    let mut cells = csv::StringRecord::new();
    loop {
        let record = match reader.read_record(&mut cells) {
            Ok(false) => return Ok(()),
            Ok(true) if cells.len() != names.len() => Record::Broken {
                text: cells.iter().collect::<Vec<_>>().join(","),
                error: format!("{} cells, but there are {} columns", cells.len(), names.len()),
            },
            Ok(true) => Record::Row(
                places.iter().map(|place| cell(place.and_then(|place| cells.get(place)))).collect(),
            ),
            Err(error) if matches!(error.kind(), csv::ErrorKind::Utf8 { .. }) => {
                Record::Broken { text: String::new(), error: "not UTF-8".to_owned() }
            }
            Err(error) => {
                return Err(ImportError::File {
                    file: path.display().to_string(),
                    message: error.to_string(),
                });
            }
        };
        if !push(record) {
            return Ok(());
        }
    }
}

/// An empty cell is null.
fn cell(text: Option<&str>) -> Value {
    match text {
        None | Some("") => Value::Null,
        Some(text) => Value::Text(text.to_owned()),
    }
}

fn csv(path: &Path) -> Result<csv::Reader<File>, ImportError> {
    let file = File::open(path).map_err(ImportError::io(path))?;
    Ok(csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(file))
}

fn header(reader: &mut csv::Reader<File>, path: &Path) -> Result<Vec<String>, ImportError> {
    let mut names = csv::StringRecord::new();
    match reader.read_record(&mut names) {
        Ok(true) => {
            Ok(names.iter().map(|name| name.trim_start_matches('\u{feff}').trim().to_owned()).collect())
        }
        Ok(false) => Err(ImportError::File {
            file: path.display().to_string(),
            message: "it has no line of names".to_owned(),
        }),
        Err(error) => Err(ImportError::File { file: path.display().to_string(), message: error.to_string() }),
    }
}

fn json_lines(
    path: &Path,
    columns: &[String],
    push: &mut dyn FnMut(Record) -> bool,
) -> Result<(), ImportError> {
    let mut lines = BufReader::new(File::open(path).map_err(ImportError::io(path))?);
    while let Some(line) = line(&mut lines, path)? {
        let record = match serde_json::from_str::<Json>(&line) {
            Ok(Json::Object(object)) => Record::Row(
                columns.iter().map(|column| object.get(column).map_or(Value::Null, json)).collect(),
            ),
            Ok(_) => Record::Broken { text: line, error: "no JSON object".to_owned() },
            Err(error) => {
                let error = format!("no JSON object: column {}", error.column());
                Record::Broken { text: line, error }
            }
        };
        if !push(record) {
            return Ok(());
        }
    }
    Ok(())
}

/// The next line that is not empty, without its end.
fn line(lines: &mut BufReader<File>, path: &Path) -> Result<Option<String>, ImportError> {
    loop {
        let mut bytes = Vec::new();
        let read = lines
            .by_ref()
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut bytes)
            .map_err(ImportError::io(path))?;
        if read == 0 {
            return Ok(None);
        }
        if read as u64 == LINE_BYTES_MAX && bytes.last() != Some(&b'\n') {
            let message = format!("a line has more than {LINE_BYTES_MAX} bytes");
            return Err(ImportError::File { file: path.display().to_string(), message });
        }
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim();
        if !text.is_empty() {
            return Ok(Some(text.to_owned()));
        }
    }
}

/// Numbers keep their digits.
fn json(value: &Json) -> Value {
    match value {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => Value::Int(whole),
            None => {
                number.to_string().parse().map_or_else(|_| Value::Text(number.to_string()), Value::Decimal)
            }
        },
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(_) | Json::Object(_) => Value::Json(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(name: &str, text: &str, wanted: &[&str]) -> (Vec<String>, Vec<Record>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let kind = FileKind::of(&path).unwrap();
        let wanted: Vec<String> = wanted.iter().map(|&name| name.to_owned()).collect();
        let mut all = Vec::new();
        read(&path, kind, &wanted, 2, |chunk| {
            assert!(chunk.len() <= 2);
            all.extend(chunk);
            true
        })
        .unwrap();
        (kind.columns(&path).unwrap(), all)
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn csv_by_its_names_and_broken_rows_in_their_place() {
        let file = "\u{feff}id,amount,note\n1,\"1,50\",\"a \"\"b\"\"\nc\"\n2,\n3,,x\n";
        let (columns, rows) = records("f.csv", file, &["note", "id", "missing"]);
        assert_eq!(columns, ["id", "amount", "note"]);
        assert_eq!(rows[0], Record::Row(vec![text("a \"b\"\nc"), text("1"), Value::Null]));
        assert!(
            matches!(&rows[1], Record::Broken { error, .. } if error == "2 cells, but there are 3 columns")
        );
        assert_eq!(rows[2], Record::Row(vec![text("x"), text("3"), Value::Null]));
    }

    #[test]
    fn json_lines_keep_their_digits() {
        let file = "{\"id\": 1, \"amount\": 0.10000000000000000001}\n\n{\"id\":\n[1]\n{\"amount\": null}\n";
        let (columns, rows) = records("f.ndjson", file, &["amount", "id"]);
        assert_eq!(columns, ["id", "amount"]);
        let amount = Value::Decimal("0.10000000000000000001".parse().unwrap());
        assert_eq!(rows[0], Record::Row(vec![amount, Value::Int(1)]));
        assert!(matches!(&rows[1], Record::Broken { text, .. } if text == "{\"id\":"));
        assert!(matches!(&rows[2], Record::Broken { error, .. } if error == "no JSON object"));
        assert_eq!(rows[3], Record::Row(vec![Value::Null, Value::Null]));
    }
}
