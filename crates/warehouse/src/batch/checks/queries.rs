//! What a header asks for: keys, nulls, accepted values, references, and queries of its own.

use super::pass::{self, Pass, Reference};
use super::{CHECKED, CheckResult};
use crate::batch::model::{Model, Severity, Test};
use crate::batch::row_set::RowSet;
use crate::batch::rows::{Collected, number};
use crate::batch::{Batch, BatchError, sql};
use affluent_lake::sql::{Session, filter_of, referenced_tables};
use std::collections::BTreeSet;

/// The table of the model, in the queries of its header.
const THIS: &str = "this";
const UNIQUE: &str = "unique key";
/// Rows of a table whose values are held to find references in; those of larger ones are joined.
const REFERENCED_MAX: u64 = 4_000_000;

impl Batch {
    /// Keys, nulls, accepted values, references and the header's own conditions of the rows in scope, in one pass over them.
    pub(super) async fn check_rows(
        &self,
        session: &Session,
        model: &Model,
    ) -> Result<Vec<CheckResult>, BatchError> {
        let header = &model.header;
        // What is checked, what a failure means, the condition that holds for what is wrong.
        let mut conditions: Vec<(String, Severity, String)> = Vec::new();
        let not_null: BTreeSet<&String> = header.key.iter().chain(&header.not_null).collect();
        for column in not_null {
            let is_null = format!("{} is null", sql::ident(column));
            conditions.push((format!("not_null {column}"), Severity::Error, is_null));
        }
        for (column, values) in &header.accepted {
            let values: Vec<String> = values.iter().map(|value| sql::text(value)).collect();
            let condition = if values.is_empty() {
                format!("{} is not null", sql::ident(column))
            } else {
                format!("{} not in ({})", sql::ident(column), values.join(", "))
            };
            conditions.push((format!("accepted {column}"), Severity::Error, condition));
        }
        for test in &header.tests {
            if let Some(condition) = condition_of(test) {
                conditions.push((test.name.clone(), test.severity, condition));
            }
        }
        // The rows of a staged table are unique by the way in which they are appended.
        let key: &[String] = if model.zone == "staged" { &[] } else { &header.key };
        let truths = conditions.iter().enumerate();
        let truths = truths.map(|(place, (_, _, condition))| format!("({condition}) as \"check {place}\""));
        let mut columns: Vec<String> = truths.chain(key.iter().map(|column| sql::ident(column))).collect();
        let mut references = Vec::new();
        let mut joined = Vec::new();
        for (column, target) in &header.references {
            match self.referenced(session, model, column, target).await? {
                Some(known) => {
                    let name = format!("references {column}");
                    columns.push(format!("{} as {}", sql::ident(column), sql::ident(&name)));
                    references.push(Reference { column: name, known, missing: 0 });
                }
                None => joined.push((column, target)),
            }
        }
        let mut pass = Pass::new(conditions.len(), key, references);
        let text = format!("select {} from {CHECKED}", columns.join(", "));
        self.each(session, &text, &format!("{}, checks", model.file), &mut |batch| {
            pass.add(batch).map_err(|message| BatchError::Model { file: model.file.clone(), message })
        })
        .await?;
        let result = |name: String, failures| CheckResult::new(model, name, Severity::Error, failures);
        let counted = conditions.into_iter().zip(&pass.holds);
        let counted =
            counted.map(|((name, severity, _), holds)| CheckResult { severity, ..result(name, *holds) });
        let mut results: Vec<CheckResult> = counted.collect();
        if pass.may_have_twins() {
            let key = model.key_sql();
            let text = format!(
                "select count(*) from (select {key} from {CHECKED} group by {key} having count(*) > 1) as twice"
            );
            results.push(self.counted(session, model, UNIQUE, Severity::Error, &text).await?);
        } else if !key.is_empty() {
            results.push(result(UNIQUE.to_owned(), 0));
        }
        results.extend(pass.references.into_iter().map(|found| result(found.column, found.missing)));
        for (column, target) in joined {
            let (table, there) = target_of(model, column, target)?;
            let text = format!(
                "select count(*) from (select {0} as k from {1} where {0} is not null) as t \
                 left anti join {2} as r on t.k = r.{3}",
                sql::ident(column),
                CHECKED,
                sql::table(table),
                sql::ident(there)
            );
            let name = format!("references {column}");
            results.push(self.counted(session, model, &name, Severity::Error, &text).await?);
        }
        Ok(results)
    }

    /// The values that `column` may refer to; `None` where they are too many to be held.
    async fn referenced(
        &self,
        session: &Session,
        model: &Model,
        column: &str,
        target: &str,
    ) -> Result<Option<RowSet>, BatchError> {
        let (table, there) = target_of(model, column, target)?;
        let rows = session.tables().iter().find(|state| state.name == table).map(|state| state.rows);
        if rows.is_none_or(|rows| rows > REFERENCED_MAX) {
            return Ok(None);
        }
        let mut known = RowSet::default();
        let text = format!("select {} from {}", sql::ident(there), sql::table(table));
        self.each(session, &text, &format!("{}, references.{column}", model.file), &mut |batch| {
            pass::know(&mut known, batch)
                .map_err(|message| BatchError::Model { file: model.file.clone(), message })
        })
        .await?;
        Ok(Some(known))
    }

    /// The header's own queries that are no conditions of rows: over the rows in scope, where there are any, those for the
    /// whole table always.
    pub(super) async fn check_queries(
        &self,
        session: &Session,
        model: &Model,
        is_in_scope: bool,
    ) -> Result<Vec<CheckResult>, BatchError> {
        let mut results = Vec::new();
        let is_due = |test: &&Test| test.whole || (is_in_scope && condition_of(test).is_none());
        for test in model.header.tests.iter().filter(is_due) {
            let this = if test.whole { model.quoted() } else { CHECKED.to_owned() };
            self.view(session, THIS, &format!("select * from {this}")).await?;
            let named = |error: affluent_lake::sql::SqlError| {
                let message = format!("test {}: {error}", test.name);
                BatchError::Model { file: model.file.clone(), message }
            };
            let reads = referenced_tables(&test.sql).map_err(named)?;
            self.seeds.register(session, &reads)?;
            let text =
                format!("select count(*) from ({}\n) as failures", test.sql.trim().trim_end_matches(';'));
            results.push(self.counted(session, model, &test.name, test.severity, &text).await?);
        }
        Ok(results)
    }

    /// A check whose query counts what is wrong.
    pub(super) async fn counted(
        &self,
        session: &Session,
        model: &Model,
        name: &str,
        severity: Severity,
        text: &str,
    ) -> Result<CheckResult, BatchError> {
        let rows = Collected::of(session, text)
            .await
            .map_err(BatchError::sql(format!("{}, check {name}", model.file)))?;
        let count = rows.batches.first().and_then(|batch| number(batch, 0, 0)).unwrap_or(0);
        Ok(CheckResult::new(model, name, severity, count.unsigned_abs()))
    }
}

/// The condition under which a row fails a test of the rows in scope; `None` of a test that looks at more than a row.
fn condition_of(test: &Test) -> Option<String> {
    let condition = filter_of(&test.sql, THIS).filter(|_| !test.whole)?;
    Some(format!("({condition}) is true"))
}

/// Table and column of a reference.
fn target_of<'a>(model: &Model, column: &str, target: &'a str) -> Result<(&'a str, &'a str), BatchError> {
    crate::batch::model::target_of(column, target).map_err(|message| BatchError::Model {
        file: model.file.clone(),
        message: format!("references.{message}"),
    })
}
