//! What a header asks for: keys, nulls, accepted values, references, and queries of its own.

use super::{CHECKED, CheckResult};
use crate::batch::model::{Model, Severity};
use crate::batch::rows::{Collected, number};
use crate::batch::{Batch, BatchError, sql};
use affluent_lake::sql::{Session, referenced_tables};
use std::collections::BTreeSet;

/// The table of the model, in the queries of its header.
const THIS: &str = "this";

impl Batch {
    /// Keys, nulls, accepted values and references of the rows in scope.
    pub(super) async fn check_rows(
        &self,
        session: &Session,
        model: &Model,
    ) -> Result<Vec<CheckResult>, BatchError> {
        let header = &model.header;
        let mut conditions: Vec<(String, String)> = Vec::new();
        let not_null: BTreeSet<&String> = header.key.iter().chain(&header.not_null).collect();
        for column in not_null {
            conditions.push((format!("not_null {column}"), format!("{} is null", sql::ident(column))));
        }
        for (column, values) in &header.accepted {
            let values: Vec<String> = values.iter().map(|value| sql::text(value)).collect();
            let condition = if values.is_empty() {
                format!("{} is not null", sql::ident(column))
            } else {
                format!("{} not in ({})", sql::ident(column), values.join(", "))
            };
            conditions.push((format!("accepted {column}"), condition));
        }
        // One pass for all of them.
        let counts: Vec<String> =
            conditions.iter().map(|(_, condition)| format!("count(*) filter (where {condition})")).collect();
        let rows = self.ask(session, model, &format!("select {} from {CHECKED}", counts.join(", "))).await?;
        let count = |place| rows.batches.first().and_then(|batch| number(batch, place, 0)).unwrap_or(0);
        let mut results: Vec<CheckResult> = conditions
            .into_iter()
            .enumerate()
            .map(|(place, (name, _))| {
                CheckResult::new(model, name, Severity::Error, count(place).unsigned_abs())
            })
            .collect();
        // The rows of a staged table are unique by the way in which they are appended.
        if model.zone != "staged" {
            let key = model.key_sql();
            let text = format!(
                "select count(*) from (select {key} from {CHECKED} group by {key} having count(*) > 1) as twice"
            );
            results.push(self.counted(session, model, "unique key", Severity::Error, &text).await?);
        }
        for (column, target) in &model.header.references {
            let Some((table, there)) = target.rsplit_once('.').filter(|(table, _)| table.contains('.'))
            else {
                let message = format!("references.{column}: zone.table.column is meant, not {target}");
                return Err(BatchError::Model { file: model.file.clone(), message });
            };
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

    /// The header's own queries: over the rows in scope, where there are any, those for the whole table always.
    pub(super) async fn check_queries(
        &self,
        session: &Session,
        model: &Model,
        is_in_scope: bool,
    ) -> Result<Vec<CheckResult>, BatchError> {
        let mut results = Vec::new();
        for test in model.header.tests.iter().filter(|test| test.whole || is_in_scope) {
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

    async fn ask(&self, session: &Session, model: &Model, text: &str) -> Result<Collected, BatchError> {
        Collected::of(session, text).await.map_err(BatchError::sql(format!("{}, checks", model.file)))
    }
}
