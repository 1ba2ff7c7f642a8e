//! Rows as text: a table for people, JSON lines and CSV for machines.
//!
//! Invariant: no value is rounded: decimals keep their digits (as text in JSON, which readers round
//! otherwise), times are UTC with what they have of seconds. Rows are written as they come; a table
//! takes the widths of its first rows.

use super::SqlError;
use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, SchemaRef};
use serde_json::{Map, Number, Value};

/// Rows whose widths a table takes.
const MEASURED_ROWS: usize = 1_000;
/// Width of a column at most; longer values push the rest of their row aside.
const WIDTH_MAX: usize = 60;
/// How times are written.
const TIME: &str = "%Y-%m-%dT%H:%M:%S%.f";
const TIME_UTC: &str = "%Y-%m-%dT%H:%M:%S%.fZ";

/// What the rows become.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TextFormat {
    /// Columns under each other; nulls are empty.
    #[default]
    Table,
    /// One object a line.
    Json,
    /// With a line of names; nulls are empty, empty texts are `""`.
    Csv,
}

/// Turns the batches of one query into text.
#[derive(Debug)]
pub struct Renderer {
    format: TextFormat,
    schema: SchemaRef,
    /// Of a table, once its first rows were seen.
    widths: Option<Vec<usize>>,
}

impl Renderer {
    #[must_use]
    pub fn new(format: TextFormat, schema: SchemaRef) -> Self {
        Renderer { format, schema, widths: None }
    }

    /// The text of the next rows, the names of the columns before the first.
    ///
    /// # Errors
    /// Values without a text.
    pub fn batch(&mut self, batch: &RecordBatch) -> Result<String, SqlError> {
        match self.format {
            TextFormat::Table => self.table(batch),
            TextFormat::Json => json_lines(batch),
            TextFormat::Csv => self.csv(batch),
        }
    }

    /// What is left to write after the last rows: the names of the columns, where there were no rows.
    ///
    /// # Errors
    /// None in practice; as [`Renderer::batch`].
    pub fn finish(&mut self) -> Result<String, SqlError> {
        match (self.format, &self.widths) {
            (TextFormat::Json, _) | (_, Some(_)) => Ok(String::new()),
            (TextFormat::Table | TextFormat::Csv, None) => {
                self.batch(&RecordBatch::new_empty(std::sync::Arc::clone(&self.schema)))
            }
        }
    }

    fn names(&self) -> Vec<String> {
        self.schema.fields().iter().map(|field| one_line(field.name())).collect()
    }

    fn table(&mut self, batch: &RecordBatch) -> Result<String, SqlError> {
        let rows: Vec<Vec<String>> = cells(batch)?
            .into_iter()
            .map(|row| row.into_iter().map(|cell| one_line(&cell.unwrap_or_default())).collect())
            .collect();
        let numbers: Vec<bool> =
            self.schema.fields().iter().map(|field| field.data_type().is_numeric()).collect();
        let mut text = String::new();
        let widths = match &self.widths {
            Some(widths) => widths,
            None => {
                let names = self.names();
                let width = |place: usize| {
                    let measured = rows.iter().take(MEASURED_ROWS).map(|row| &row[place]);
                    let widest = measured.chain([&names[place]]).map(|cell| cell.chars().count()).max();
                    widest.unwrap_or(0).min(WIDTH_MAX)
                };
                let widths: Vec<usize> = (0..names.len()).map(width).collect();
                text += &line(&names, &widths, &numbers);
                text += &widths.iter().map(|&width| "-".repeat(width)).collect::<Vec<_>>().join("  ");
                text.push('\n');
                self.widths.insert(widths)
            }
        };
        text.extend(rows.iter().map(|row| line(row, widths, &numbers)));
        Ok(text)
    }

    fn csv(&mut self, batch: &RecordBatch) -> Result<String, SqlError> {
        let mut text = String::new();
        if self.widths.is_none() {
            self.widths = Some(Vec::new());
            let names: Vec<String> = self.schema.fields().iter().map(|field| quoted(field.name())).collect();
            text = names.join(",") + "\n";
        }
        for row in cells(batch)? {
            let cells: Vec<String> =
                row.iter().map(|cell| cell.as_deref().map_or_else(String::new, quoted)).collect();
            text += &(cells.join(",") + "\n");
        }
        Ok(text)
    }
}

/// Numbers to the right, the rest to the left.
fn line(cells: &[String], widths: &[usize], numbers: &[bool]) -> String {
    let padded = cells.iter().zip(widths).zip(numbers).map(|((cell, &width), &number)| {
        if number { format!("{cell:>width$}") } else { format!("{cell:width$}") }
    });
    padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
}

fn one_line(cell: &str) -> String {
    if !cell.contains(char::is_control) {
        return cell.to_owned();
    }
    cell.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

fn quoted(cell: &str) -> String {
    if cell.is_empty() || cell.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", cell.replace('"', "\"\""));
    }
    cell.to_owned()
}

fn options() -> FormatOptions<'static> {
    FormatOptions::new()
        .with_display_error(false)
        .with_timestamp_format(Some(TIME))
        .with_timestamp_tz_format(Some(TIME_UTC))
}

/// The text of each value, `None` for null.
fn cells(batch: &RecordBatch) -> Result<Vec<Vec<Option<String>>>, SqlError> {
    let options = options();
    let columns = batch.columns().iter().map(|array| ArrayFormatter::try_new(array.as_ref(), &options));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let cell = |place: usize, row: usize| {
        let array = batch.column(place);
        if array.is_null(row) {
            return Ok(None);
        }
        columns[place].value(row).try_to_string().map(Some)
    };
    let row = |row: usize| (0..columns.len()).map(|place| cell(place, row)).collect::<Result<Vec<_>, _>>();
    Ok((0..batch.num_rows()).map(row).collect::<Result<_, arrow_schema::ArrowError>>()?)
}

fn json_lines(batch: &RecordBatch) -> Result<String, SqlError> {
    let mut text = String::new();
    for row in 0..batch.num_rows() {
        let mut object = Map::with_capacity(batch.num_columns());
        for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            object.insert(field.name().clone(), json_value(array.as_ref(), row)?);
        }
        text += &Value::Object(object).to_string();
        text.push('\n');
    }
    Ok(text)
}

/// The value of a row as JSON: decimals and times are texts.
///
/// # Errors
/// Values without a text.
pub fn json_value(array: &dyn Array, row: usize) -> Result<Value, SqlError> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match array.data_type() {
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            Value::Array(
                (0..items.len()).map(|item| json_value(items.as_ref(), item)).collect::<Result<_, _>>()?,
            )
        }
        DataType::Struct(fields) => {
            let columns = fields.iter().zip(array.as_struct().columns());
            let pair = |(field, column): (&arrow_schema::FieldRef, &arrow_array::ArrayRef)| {
                Ok::<_, SqlError>((field.name().clone(), json_value(column.as_ref(), row)?))
            };
            Value::Object(columns.map(pair).collect::<Result<_, _>>()?)
        }
        other => {
            let text = ArrayFormatter::try_new(array, &options())?.value(row).try_to_string()?;
            let number = other.is_integer() || other.is_floating();
            // NaN and the infinities are no numbers in JSON.
            match text.parse::<Number>() {
                Ok(parsed) if number => Value::Number(parsed),
                _ => Value::String(text),
            }
        }
    })
}

impl From<arrow_schema::ArrowError> for SqlError {
    fn from(error: arrow_schema::ArrowError) -> Self {
        SqlError::from(datafusion::error::DataFusionError::from(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{
        ArrayRef, Decimal128Array, Float64Array, Int64Array, StringViewArray, TimestampMicrosecondArray,
    };
    use std::sync::Arc;

    fn batch() -> RecordBatch {
        let amounts = Decimal128Array::from(vec![Some(12_345_678_901_234_567_890), None, Some(-5)]);
        let amounts = amounts.with_data_type(DataType::Decimal128(38, 4));
        let times =
            TimestampMicrosecondArray::from(vec![Some(0), Some(1_500_000), None]).with_timezone("+00:00");
        RecordBatch::try_from_iter([
            ("id", Arc::new(Int64Array::from(vec![1, 20, i64::MAX])) as ArrayRef),
            ("note", Arc::new(StringViewArray::from(vec![Some("a \"b\", c"), Some(""), None]))),
            ("amount", Arc::new(amounts)),
            ("at", Arc::new(times)),
            ("share", Arc::new(Float64Array::from(vec![0.5, f64::NAN, 1.0]))),
        ])
        .unwrap()
    }

    fn text(format: TextFormat) -> String {
        let mut renderer = Renderer::new(format, batch().schema());
        let first = renderer.batch(&batch()).unwrap();
        first + &renderer.finish().unwrap()
    }

    #[test]
    fn rows_become_csv_and_json_without_loss() {
        assert_eq!(
            text(TextFormat::Csv),
            "id,note,amount,at,share\n\
             1,\"a \"\"b\"\", c\",1234567890123456.7890,1970-01-01T00:00:00Z,0.5\n\
             20,\"\",,1970-01-01T00:00:01.500Z,NaN\n\
             9223372036854775807,,-0.0005,,1.0\n"
        );
        let json = text(TextFormat::Json);
        let lines: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["amount"], "1234567890123456.7890");
        assert_eq!(lines[1]["share"], "NaN");
        assert_eq!(lines[1]["amount"], Value::Null);
        assert!(json.contains("\"id\":9223372036854775807"), "{json}");
    }

    #[test]
    fn a_table_lines_up_and_names_come_without_rows_too() {
        let table = text(TextFormat::Table);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 5);
        assert!(lines[0].starts_with("                 id  note"), "{table}");
        assert!(lines[2].starts_with("                  1  a \"b\", c"), "{table}");
        let mut empty = Renderer::new(TextFormat::Csv, batch().schema());
        assert_eq!(empty.finish().unwrap(), "id,note,amount,at,share\n");
        assert_eq!(one_line("a\nb"), "a\\nb");
    }
}
