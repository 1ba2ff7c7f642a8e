//! Rows and amounts of whole tables, held against one another after every run: `[[balances]]` of a header.
//!
//! A data file never changes, so what was summed up of it once is kept in `ops.file_sums`, and an increment reads the files
//! that are new. Invariant: a table's sums are those of the files that it has now, each once; of a file that is not kept,
//! or is kept with another number of rows than the table's manifests give it, the rows are read. The rebuild trusts nothing
//! that is kept and reads every file.

use super::CheckResult;
use super::balance::sums;
use super::positions::Sums;
use crate::batch::fence::{Fence, permit};
use crate::batch::model::{Balance, Model};
use crate::batch::rows::{Collected, number, text};
use crate::batch::{Batch, BatchError, sql};
use affluent_lake::sql::{Session, SqlError};
use affluent_lake::{LakeError, Overwrite, Partition, Remove};
use affluent_model::{Column, ColumnType};
use arrow_array::cast::AsArray;
use arrow_array::types::Decimal128Type;
use arrow_array::{Array, ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::ArrowError;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::JoinSet;

const TABLE: (&str, &str) = ("ops", "file_sums");
/// The session's own tables of the files that are read, one a worker.
const PART: &str = "summed";

/// Table, column of the groups, column of the amounts.
type Source = (String, String, String);

/// A row of `ops.file_sums`: source, path, value, rows and sum.
type Kept<'a> = (&'a Source, &'a String, &'a String, &'a (i64, i128));

/// What is known of data files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FileSums {
    /// By source, then by path.
    files: BTreeMap<Source, BTreeMap<String, Sums>>,
    /// Something is not as it was read.
    is_news: bool,
}

impl FileSums {
    /// Leaves of a source what is known of `live`, its files with their rows. Returns the files of which nothing is.
    fn keep(&mut self, source: &Source, live: &BTreeMap<String, i64>) -> Vec<String> {
        let known = self.files.entry(source.clone()).or_default();
        let before = known.len();
        known.retain(|path, sums| {
            let rows = sums.values().try_fold(0_i64, |all, (rows, _)| all.checked_add(*rows));
            rows.is_some() && live.get(path).copied() == rows
        });
        self.is_news |= known.len() < before;
        live.keys().filter(|path| !known.contains_key(*path)).cloned().collect()
    }

    fn put(&mut self, source: &Source, path: String, sums: Sums) {
        self.files.entry(source.clone()).or_default().insert(path, sums);
        self.is_news = true;
    }

    /// Of all files of a source together.
    ///
    /// # Errors
    /// A sum that overflows.
    fn total(&self, source: &Source) -> Result<Sums, String> {
        let mut total = Sums::new();
        for (value, own) in self.files.get(source).into_iter().flat_map(BTreeMap::values).flatten() {
            let sum = total.entry(value.clone()).or_default();
            let rows = sum.0.checked_add(own.0);
            let amount = sum.1.checked_add(own.1);
            let (Some(rows), Some(amount)) = (rows, amount) else {
                return Err(format!("the sum of {} of {} overflows", source.2, source.0));
            };
            *sum = (rows, amount);
        }
        Ok(total)
    }

    /// The rows of `ops.file_sums`.
    fn batch(&self) -> Result<RecordBatch, ArrowError> {
        let mut rows: Vec<Kept<'_>> = Vec::new();
        for (source, files) in &self.files {
            for (path, sums) in files {
                rows.extend(sums.iter().map(|(value, own)| (source, path, value, own)));
            }
        }
        let texts = |of: fn(&Kept<'_>) -> String| -> ArrayRef {
            Arc::new(rows.iter().map(|row| Some(of(row))).collect::<StringArray>())
        };
        let counts = Int64Array::from_iter_values(rows.iter().map(|row| row.3.0));
        let amounts = Decimal128Array::from_iter_values(rows.iter().map(|row| row.3.1));
        let amounts = amounts.with_precision_and_scale(38, 10)?;
        amounts.validate_decimal_precision(38)?;
        RecordBatch::try_from_iter([
            ("table", texts(|row| row.0.0.clone())),
            ("by", texts(|row| row.0.1.clone())),
            ("amount", texts(|row| row.0.2.clone())),
            ("path", texts(|row| row.1.clone())),
            ("value", texts(|row| row.2.clone())),
            ("rows", Arc::new(counts)),
            ("sum", Arc::new(amounts)),
        ])
    }

    /// Takes rows of `ops.file_sums` in; false where they are none.
    fn add(&mut self, batch: &RecordBatch) -> bool {
        if batch.num_columns() != columns().len() {
            return false;
        }
        let Some(sums) = batch.column(6).as_primitive_opt::<Decimal128Type>() else { return false };
        for row in 0..batch.num_rows() {
            let cell = |place: usize| text(batch, place, row);
            let (Some(table), Some(by), Some(amount)) = (cell(0), cell(1), cell(2)) else { return false };
            let (Some(path), Some(value), Some(rows)) = (cell(3), cell(4), number(batch, 5, row)) else {
                return false;
            };
            if sums.is_null(row) {
                return false;
            }
            let files = self.files.entry((table, by, amount)).or_default();
            let twice = files.entry(path).or_default().insert(value, (rows, sums.value(row)));
            if twice.is_some() {
                return false;
            }
        }
        true
    }
}

impl Batch {
    /// What is kept of data files. Nothing where it cannot be read as it was written: then every file is read.
    pub(super) async fn known_sums(&self) -> Result<FileSums, BatchError> {
        let name = format!("{}.{}", TABLE.0, TABLE.1);
        if self.find(&name).await?.is_none() {
            return Ok(FileSums::default());
        }
        let session = self.any_session().await?;
        let own = columns();
        let list = sql::list("", own.iter().map(|column| column.name.as_str()));
        let mut known = FileSums::default();
        match session.collect(&format!("select {list} from {name}")).await {
            Ok(batches) if batches.iter().all(|batch| known.add(batch)) => Ok(known),
            Ok(_) => {
                tracing::warn!(table = name, "what it says of data files is not whole, they are read again");
                Ok(FileSums::default())
            }
            Err(error) => {
                tracing::warn!(table = name, %error, "not readable, data files are read again");
                Ok(FileSums::default())
            }
        }
    }

    /// Keeps what is known now, where it is news.
    pub(super) async fn keep_sums(&self, known: &FileSums, fence: &dyn Fence) -> Result<(), BatchError> {
        if !known.is_news {
            return Ok(());
        }
        let what = || BatchError::lake("write ops.file_sums");
        let ensured = self.lake.ensure_table(TABLE.0, TABLE.1, &columns(), &Partition::None).await;
        let table = ensured.map_err(what())?;
        let batch = known.batch().map_err(|error| what()(LakeError::from(error)))?;
        let commit = permit(fence, Vec::new()).await?;
        let overwrite = Overwrite { remove: Remove::Table, rows: vec![batch] };
        table.overwrite(commit, overwrite).await.map_err(what())?;
        Ok(())
    }

    /// The balances of a header: rows and amounts of each value are the same in both tables as a whole.
    pub(super) async fn check_sums(
        &self,
        model: &Model,
        known: &mut FileSums,
    ) -> Result<Vec<CheckResult>, BatchError> {
        let mut results = Vec::new();
        if model.header.balances.is_empty() {
            return Ok(results);
        }
        let session = self.any_session().await?;
        for balance in &model.header.balances {
            let own = self.sums_of(&session, model, balance, &model.table(), known).await?;
            let other = self.sums_of(&session, model, balance, &balance.with, known).await?;
            let failures = different(&own, &other);
            results.push(CheckResult::new(model, &balance.name, balance.severity, failures));
        }
        Ok(results)
    }

    /// The sums of a table as the session sees it.
    async fn sums_of(
        &self,
        session: &Session,
        model: &Model,
        balance: &Balance,
        table: &str,
        known: &mut FileSums,
    ) -> Result<Sums, BatchError> {
        let what = format!("{}, check {}", model.file, balance.name);
        let source = (table.to_owned(), balance.by.clone(), balance.amount.clone());
        let mut live = BTreeMap::new();
        if session.tables().iter().any(|state| state.name == table) {
            let query = format!("select path, rows from {}", sql::table(&format!("{table}$files")));
            let files = Collected::of(session, &query).await.map_err(BatchError::sql(what.clone()))?;
            live = files_of(&files);
        }
        let unknown = known.keep(&source, &live);
        tracing::debug!(table, files = live.len(), read = unknown.len(), "summing up data files");
        for (path, sums) in read(session, &source, unknown).await.map_err(BatchError::sql(what))? {
            known.put(&source, path, sums);
        }
        known.total(&source).map_err(|message| BatchError::Model { file: model.file.clone(), message })
    }
}

/// Sums data files up, on as many threads as there are processors.
async fn read(
    session: &Session,
    source: &Source,
    paths: Vec<String>,
) -> Result<Vec<(String, Sums)>, SqlError> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(paths.len());
    let queue = Arc::new(Mutex::new(paths));
    let mut working: JoinSet<Result<Vec<(String, Sums)>, SqlError>> = JoinSet::new();
    for worker in 0..workers {
        let (session, source, queue) = (session.clone(), source.clone(), Arc::clone(&queue));
        working.spawn(async move {
            let part = format!("{PART}.part{worker}");
            let mut read = Vec::new();
            loop {
                let path = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let Some(path) = path else { return Ok(read) };
                let sums = of_file(&session, &part, &source, &path).await?;
                read.push((path, sums));
            }
        });
    }
    let mut all = Vec::new();
    while let Some(worked) = working.join_next().await {
        all.extend(worked.map_err(LakeError::from)??);
    }
    Ok(all)
}

/// The sums of one data file, which is named `part`.
async fn of_file(session: &Session, part: &str, source: &Source, path: &str) -> Result<Sums, SqlError> {
    let (table, by, amount) = source;
    let unreadable = || SqlError::Execution(format!("{path} of {table} cannot be summed up"));
    if !session.register_files(part, table, [path.to_owned()])? {
        return Err(unreadable());
    }
    let rows = format!(
        "select cast({} as text) as c, {} as a from {}",
        sql::ident(by),
        sql::ident(amount),
        sql::table(part)
    );
    let query = format!("select c, n, cast(s as decimal(38, 10)) as s from ({}) as f", sums(&rows));
    let mut found = Sums::new();
    for batch in session.collect(&query).await? {
        let amounts = batch.column(2).as_primitive_opt::<Decimal128Type>().ok_or_else(unreadable)?;
        for row in 0..batch.num_rows() {
            let (Some(value), Some(rows)) = (text(&batch, 0, row), number(&batch, 1, row)) else {
                return Err(unreadable());
            };
            found.insert(value, (rows, amounts.value(row)));
        }
    }
    Ok(found)
}

/// Paths and rows.
fn files_of(files: &Collected) -> BTreeMap<String, i64> {
    let mut live = BTreeMap::new();
    for batch in &files.batches {
        let file = |row| Some((text(batch, 0, row)?, number(batch, 1, row)?));
        live.extend((0..batch.num_rows()).filter_map(file));
    }
    live
}

/// Values of which rows or amounts are not the same.
fn different(own: &Sums, other: &Sums) -> u64 {
    let values: BTreeSet<&String> = own.keys().chain(other.keys()).collect();
    values.into_iter().filter(|value| own.get(*value) != other.get(*value)).count() as u64
}

fn columns() -> Arc<[Column]> {
    let column = |name: &str, column_type| Column { name: name.to_owned(), column_type, nullable: true };
    Arc::new([
        column("table", ColumnType::Text),
        column("by", ColumnType::Text),
        column("amount", ColumnType::Text),
        column("path", ColumnType::Text),
        column("value", ColumnType::Text),
        column("rows", ColumnType::Int64),
        column("sum", ColumnType::Decimal { precision: 38, scale: 10 }),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(table: &str) -> Source {
        (table.to_owned(), "currency".to_owned(), "amount".to_owned())
    }

    fn sums_of(sums: &[(&str, i64, i128)]) -> Sums {
        sums.iter().map(|&(value, rows, sum)| (value.to_owned(), (rows, sum))).collect()
    }

    fn live(files: &[(&str, i64)]) -> BTreeMap<String, i64> {
        files.iter().map(|&(path, rows)| (path.to_owned(), rows)).collect()
    }

    #[test]
    fn what_is_kept_comes_back_and_counts_for_live_files_with_their_rows_alone() {
        let mut known = FileSums::default();
        known.put(&source("a"), "1".to_owned(), sums_of(&[("EUR", 2, 50), ("", 1, -7)]));
        known.put(&source("a"), "2".to_owned(), sums_of(&[("EUR", 3, 1)]));
        known.put(&source("b"), "1".to_owned(), sums_of(&[("JPY", 1, 9)]));
        let mut read = FileSums::default();
        assert!(read.add(&known.batch().unwrap()));
        assert_eq!((&read.files, read.is_news), (&known.files, false));
        assert_eq!(read.total(&source("a")).unwrap(), sums_of(&[("EUR", 5, 51), ("", 1, -7)]));

        // The second is gone, the third has come.
        assert_eq!(read.keep(&source("a"), &live(&[("1", 3), ("3", 1)])), ["3"]);
        assert!(read.is_news);
        assert_eq!(read.total(&source("a")).unwrap(), sums_of(&[("EUR", 2, 50), ("", 1, -7)]));
        // Of another number of rows than the table says: it is not believed.
        assert_eq!(read.keep(&source("a"), &live(&[("1", 4)])), ["1"]);
        assert_eq!(read.total(&source("a")).unwrap(), Sums::new());
        assert_eq!(read.keep(&source("b"), &live(&[("1", 1)])), [""; 0], "another table's are its own");
    }

    #[test]
    fn rows_that_are_none_and_sums_that_overflow_are_refused() {
        let mut known = FileSums::default();
        known.put(&source("a"), "1".to_owned(), sums_of(&[("EUR", 1, 5)]));
        let batch = known.batch().unwrap();
        assert!(!known.clone().add(&batch), "twice");
        assert!(!FileSums::default().add(&batch.project(&[0, 1, 2, 3, 4, 5]).unwrap()));
        assert!(!FileSums::default().add(&batch.project(&[0, 1, 2, 3, 4, 6, 5]).unwrap()));
        known.put(&source("a"), "2".to_owned(), sums_of(&[("EUR", 1, i128::MAX)]));
        assert!(known.total(&source("a")).unwrap_err().contains("overflows"));
    }

    #[test]
    fn tables_differ_in_rows_amounts_and_values() {
        let own = sums_of(&[("EUR", 2, 50), ("JPY", 1, 1), ("PLN", 1, 1)]);
        for (other, expected) in [
            (own.clone(), 0),
            (sums_of(&[("EUR", 3, 50), ("JPY", 1, 1), ("PLN", 1, 1)]), 1),
            (sums_of(&[("EUR", 2, 51), ("JPY", 1, 2), ("PLN", 1, 1)]), 2),
            (sums_of(&[("EUR", 2, 50), ("JPY", 1, 1), ("USD", 1, 1)]), 2),
        ] {
            assert_eq!(different(&own, &other), expected);
        }
    }
}
