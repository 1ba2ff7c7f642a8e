//! Which column of a file becomes which column of a table: from files and flags, checked. Pure.

use super::ImportError;
use crate::batch::IMPORTS;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Behind a column of the file: whole numbers that count minor units of the row's currency.
const MINOR: &str = ":minor";

/// What becomes of the columns of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    #[serde(default)]
    pub description: String,
    pub table: String,
    /// Column of the table to column of the file. Columns that are not named here come from those of their own name.
    #[serde(default)]
    pub map: BTreeMap<String, String>,
    /// Column of the table to what it is in every row.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    pub label: Option<Label>,
}

/// Where the file says which payments were fraud.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// The column of the file; true or 1 where the payment was fraud.
    pub column: String,
    /// So many days after the payment it was known.
    pub delay_days: u32,
}

/// Where the value of a column comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    File { column: String, minor: bool },
    Constant(String),
    Nothing,
}

impl Mapping {
    /// A mapping of the text of a file.
    ///
    /// # Errors
    /// [`ImportError::Mapping`] with the place in the text.
    pub fn parse(file: &str, text: &str) -> Result<Self, ImportError> {
        toml::from_str(text).map_err(|error| ImportError::Mapping(format!("mapping {file}: {error}")))
    }

    /// The shipped mappings with their names.
    ///
    /// # Errors
    /// [`ImportError::Mapping`]; a test holds that there is none.
    pub fn shipped() -> Result<Vec<(&'static str, Self)>, ImportError> {
        let parsed = |&(path, text): &(&'static str, &'static str)| {
            Ok((path.trim_end_matches(".toml"), Self::parse(path, text)?))
        };
        IMPORTS.iter().map(parsed).collect()
    }

    /// The shipped mapping to `table` that names no column which the file lacks, if there is one.
    ///
    /// # Errors
    /// As [`Mapping::shipped`].
    pub fn shipped_for(table: &str, columns: &[String]) -> Result<Option<(&'static str, Self)>, ImportError> {
        let fits = |(_, mapping): &(&str, Mapping)| {
            mapping.table == table && mapping.reads().iter().all(|column| columns.contains(column))
        };
        Ok(Self::shipped()?.into_iter().find(fits))
    }

    /// Takes in `column=file_column` of a flag.
    ///
    /// # Errors
    /// [`ImportError::Mapping`] for text of another form.
    pub fn map(&mut self, text: &str) -> Result<(), ImportError> {
        let (column, from) = pair("map", text)?;
        self.set.remove(&column);
        self.map.insert(column, from);
        Ok(())
    }

    /// Takes in `column=value` of a flag.
    ///
    /// # Errors
    /// As [`Mapping::map`].
    pub fn set(&mut self, text: &str) -> Result<(), ImportError> {
        let (column, value) = pair("set", text)?;
        self.map.remove(&column);
        self.set.insert(column, value);
        Ok(())
    }

    /// Where the column `name` of the table comes from, of a file with these columns.
    pub(super) fn origin(&self, name: &str, file: &[String]) -> Result<Origin, String> {
        if let Some(value) = self.set.get(name) {
            return Ok(Origin::Constant(value.clone()));
        }
        match self.map.get(name) {
            Some(from) if from.is_empty() => Ok(Origin::Nothing),
            Some(from) => {
                let (column, minor) = split(from);
                match file.contains(&column) {
                    true => Ok(Origin::File { column, minor }),
                    false => Err(format!(
                        "{name} is mapped to {column}, but the file has only {}",
                        file.join(", ")
                    )),
                }
            }
            None if file.iter().any(|column| column == name) => {
                Ok(Origin::File { column: name.to_owned(), minor: false })
            }
            None => Ok(Origin::Nothing),
        }
    }

    /// The columns of the file that it names.
    fn reads(&self) -> Vec<String> {
        let mapped = self.map.values().filter(|from| !from.is_empty()).map(|from| split(from).0);
        mapped.chain(self.label.iter().map(|label| label.column.clone())).collect()
    }

    /// What it does, without what it says of itself.
    pub(super) fn meaning(&self) -> impl std::fmt::Debug + '_ {
        (&self.table, &self.map, &self.set, &self.label)
    }
}

fn split(from: &str) -> (String, bool) {
    match from.strip_suffix(MINOR) {
        Some(column) => (column.to_owned(), true),
        None => (from.to_owned(), false),
    }
}

fn pair(flag: &str, text: &str) -> Result<(String, String), ImportError> {
    match text.split_once('=') {
        Some((column, from)) if !column.is_empty() => Ok((column.to_owned(), from.to_owned())),
        Some(_) | None => Err(ImportError::Mapping(format!(
            "--{flag} {text:?} is not of the form column=…, as id=transaction_id"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_mappings_are_read_and_found_by_the_columns_of_a_file() {
        let columns =
            ["transaction_id", "occurred_at", "customer_id", "terminal_id", "amount_minor", "fraud"];
        let columns: Vec<String> = columns.map(str::to_owned).to_vec();
        let (name, mapping) = Mapping::shipped_for("transactions", &columns).unwrap().unwrap();
        assert_eq!((name, mapping.label.unwrap().delay_days), ("card_transactions", 7));
        assert_eq!(Mapping::shipped_for("transactions", &columns[1..]).unwrap(), None);
        assert_eq!(Mapping::shipped_for("refunds", &columns).unwrap(), None);
    }

    #[test]
    fn columns_come_from_flags_then_from_their_own_name() {
        let mut mapping = Mapping::parse("m", "table = 't'\nmap = { a = 'x' }\nset = { b = '1' }").unwrap();
        let file = ["x", "y", "c"].map(str::to_owned);
        let origin = |mapping: &Mapping, name| mapping.origin(name, &file);
        let of = |column: &str, minor| Ok(Origin::File { column: column.to_owned(), minor });
        assert_eq!(origin(&mapping, "a"), of("x", false));
        assert_eq!(origin(&mapping, "b"), Ok(Origin::Constant("1".to_owned())));
        assert_eq!(origin(&mapping, "c"), of("c", false));
        assert_eq!(origin(&mapping, "d"), Ok(Origin::Nothing));
        mapping.map("b=y:minor").unwrap();
        mapping.map("c=").unwrap();
        assert_eq!(origin(&mapping, "b"), of("y", true));
        assert_eq!(origin(&mapping, "c"), Ok(Origin::Nothing));
        mapping.map("a=z").unwrap();
        assert!(origin(&mapping, "a").unwrap_err().contains("the file has only x, y, c"));
        assert!(mapping.set("no").unwrap_err().to_string().contains("column="));
        assert!(Mapping::parse("m", "tabel = 't'").unwrap_err().to_string().contains("tabel"));
    }
}
