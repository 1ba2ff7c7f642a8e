//! What models depend on: order, the staged tables behind a table, lineage. Pure.

use super::{Model, Task};
use crate::batch::BatchError;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// All models, in an order in which each comes after those that it reads.
#[derive(Debug, Clone, Default)]
pub struct Models(Vec<Model>);

impl Models {
    /// Puts models into their order.
    ///
    /// # Errors
    /// [`BatchError::Model`] for tables that nobody makes, for a cycle, for a model whose task runs before
    /// that of one it reads, and for `from` without a way back to a staged table where `changes` is missing.
    pub fn new(models: Vec<Model>) -> Result<Self, BatchError> {
        let mut left: BTreeMap<String, Model> =
            models.into_iter().map(|model| (model.table(), model)).collect();
        let known: BTreeMap<String, Task> =
            left.iter().map(|(table, model)| (table.clone(), model.header.task)).collect();
        for model in left.values() {
            check_reads(model, &known)?;
        }
        let mut ordered: Vec<Model> = Vec::with_capacity(left.len());
        while !left.is_empty() {
            // Of those that can come, the one of the earliest task, then by name: the order is always the same.
            let ready = left
                .values()
                .filter(|model| !model.reads.iter().any(|table| left.contains_key(table)))
                .min_by_key(|model| (model.header.task, model.table()))
                .map(Model::table);
            let Some(model) = ready.and_then(|table| left.remove(&table)) else {
                let cycle: Vec<&str> = left.keys().map(String::as_str).collect();
                let file = left.values().next().map_or_else(String::new, |model| model.file.clone());
                let message = format!("these tables read one another in a circle: {}", cycle.join(", "));
                return Err(BatchError::Model { file, message });
            };
            ordered.push(model);
        }
        let models = Models(ordered);
        for model in models.iter().filter(|model| model.is_by_unit()) {
            models.changes(model)?;
            if let Some(staged) =
                model.reads_versions.iter().find(|staged| models.row_column(staged).is_none())
            {
                let message =
                    format!("versions: {staged} drives no model, or its models have different units");
                return Err(BatchError::Model { file: model.file.clone(), message });
            }
        }
        Ok(models)
    }

    /// In their order.
    pub fn iter(&self) -> impl Iterator<Item = &Model> {
        self.0.iter()
    }

    /// Those of a task, in their order.
    pub fn of(&self, task: Task) -> impl Iterator<Item = &Model> {
        self.iter().filter(move |model| model.header.task == task)
    }

    /// The model of `zone.name`.
    #[must_use]
    pub fn get(&self, table: &str) -> Option<&Model> {
        self.iter().find(|model| model.table() == table)
    }

    /// The staged tables that a table is computed from, itself included where it is one.
    #[must_use]
    pub fn staged_behind(&self, table: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open = vec![table.to_owned()];
        while let Some(table) = open.pop() {
            if table.starts_with("staged.") {
                found.insert(table);
            } else if let Some(model) = self.get(&table) {
                open.extend(model.reads.iter().cloned());
            }
        }
        found
    }

    /// Every staged table that any model reads, made by a model or not.
    #[must_use]
    pub fn staged(&self) -> BTreeSet<String> {
        let read = self.iter().flat_map(|model| model.reads.iter());
        let made = self.of(Task::Clean).map(Model::table);
        read.filter(|table| table.starts_with("staged.")).cloned().chain(made).collect()
    }

    /// The column that tells the rows of a staged table apart: the one unit of all models that it drives.
    pub(crate) fn row_column(&self, staged: &str) -> Option<&str> {
        let driven = self.iter().filter(|model| model.header.from.as_deref() == Some(staged));
        let columns: BTreeSet<&str> =
            driven.flat_map(|model| model.unit.keys()).map(String::as_str).collect();
        columns.first().copied().filter(|_| columns.len() == 1)
    }

    /// The query for the units of `model` to compute anew: its own, else the units in the delta of the
    /// staged table behind `from`.
    ///
    /// # Errors
    /// [`BatchError::Model`] where there is neither.
    pub fn changes(&self, model: &Model) -> Result<String, BatchError> {
        if let Some(changes) = &model.header.changes {
            return Ok(changes.clone());
        }
        // Column of `from` as the units call it, to what it is called in the table at hand.
        let mut columns: BTreeMap<String, String> =
            model.unit.keys().map(|column| (column.clone(), column.clone())).collect();
        let mut table = model.header.from.clone().unwrap_or_default();
        loop {
            if let Some(name) = table.strip_prefix("staged.") {
                let list: Vec<String> = columns
                    .iter()
                    .map(|(unit, column)| format!("{} as {}", super::ident(column), super::ident(unit)))
                    .collect();
                return Ok(format!("select {} from delta.{}", list.join(", "), super::ident(name)));
            }
            let upstream = self.get(&table);
            let from = upstream.and_then(|upstream| upstream.header.from.clone());
            let (Some(upstream), Some(from)) = (upstream, from) else {
                let message = format!("`changes` is missing, and {table} does not lead to a staged table");
                return Err(BatchError::Model { file: model.file.clone(), message });
            };
            for column in columns.values_mut() {
                let before = upstream.unit.iter().find(|(_, result)| *result == column);
                let Some((before, _)) = before else {
                    let message = format!(
                        "`changes` is missing, and column {column} of {table} is no unit of it: say which units change"
                    );
                    return Err(BatchError::Model { file: model.file.clone(), message });
                };
                before.clone_into(column);
            }
            table = from;
        }
    }

    /// The tables that a task of the pipelines reads and those that it writes; a task that writes none has neither.
    #[must_use]
    pub fn lineage_of(&self, task: &str) -> (BTreeSet<String>, BTreeSet<String>) {
        let names = |models: &[&Model]| models.iter().map(|model| model.table()).collect::<BTreeSet<_>>();
        let published: Vec<&Model> = self.iter().filter(|model| model.zone == "dwh").collect();
        let own: Vec<&Model> = self.iter().filter(|model| model.header.task.as_str() == task).collect();
        match task {
            "check" => (names(&self.iter().collect::<Vec<_>>()), ["ops.checks".to_owned()].into()),
            "publish" => (names(&published), ["ops.warehouse_versions".to_owned()].into()),
            _ => {
                let mut writes = names(&own);
                if own.iter().any(|model| !model.header.rules.is_empty()) {
                    writes.insert("ops.rejected".to_owned());
                }
                let reads = own.iter().flat_map(|model| &model.reads);
                (reads.filter(|table| !writes.contains(*table)).cloned().collect(), writes)
            }
        }
    }

    /// Every table with what it reads, as text: one line a table, upstream tables behind it.
    #[must_use]
    pub fn lineage_text(&self) -> String {
        let mut text = String::new();
        for model in self.iter() {
            let reads: Vec<&str> = model.reads.iter().map(String::as_str).collect();
            let (task, strategy) = (model.header.task.as_str(), model.header.strategy.as_str());
            let reads = if reads.is_empty() { "nothing".to_owned() } else { reads.join(", ") };
            let _ = writeln!(text, "{} ({task}, {strategy}) <- {reads}", model.table());
        }
        text
    }

    /// The graph: nodes with what their header says, edges from the table read to the table made.
    #[must_use]
    pub fn lineage_json(&self) -> Json {
        let node = |model: &Model| {
            json!({"table": model.table(), "description": model.header.description, "file": model.file,
                   "task": model.header.task.as_str(), "strategy": model.header.strategy.as_str(),
                   "key": model.header.key})
        };
        let edges = self.iter().flat_map(|model| {
            model.reads.iter().map(move |table| json!({"from": table, "to": model.table()}))
        });
        json!({"nodes": self.iter().map(node).collect::<Vec<_>>(), "edges": edges.collect::<Vec<_>>()})
    }
}

/// Every table that a model reads is made by somebody, and early enough.
fn check_reads(model: &Model, known: &BTreeMap<String, Task>) -> Result<(), BatchError> {
    let refuse = |message: String| Err(BatchError::Model { file: model.file.clone(), message });
    for table in &model.reads {
        let zone = table.split('.').next().unwrap_or_default();
        match known.get(table) {
            Some(task) if *task > model.header.task => {
                return refuse(format!(
                    "it reads {table}, which task {} makes after its own, {}",
                    task.as_str(),
                    model.header.task.as_str()
                ));
            }
            Some(_) => {}
            // Raw tables are the sink's, staged ones may be the role `stage`'s, seeds are files.
            None if ["raw", "staged", super::SEED].contains(&zone) && table.contains('.') => {}
            None => return refuse(format!("it reads {table}, which no model makes")),
        }
    }
    match model.header.balances.iter().find(|balance| !known.contains_key(&balance.with)) {
        Some(balance) => refuse(format!("balance {}: no model makes {}", balance.name, balance.with)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGED: &str = "task = \"clean\"\nstrategy = \"incremental\"\nkey = [\"id\"]";

    fn models(files: &[(&str, &str, &str)]) -> Result<Models, BatchError> {
        let texts: Vec<(String, String)> = files
            .iter()
            .map(|(path, header, body)| {
                ((*path).to_owned(), format!("/*\ndescription = \"d\"\n{header}\n*/\n{body}"))
            })
            .collect();
        Models::from_files(texts.iter().map(|(path, text)| (path.as_str(), path.as_str(), text.as_str())))
    }

    fn upsert(task: &str, from: &str, unit: &str) -> String {
        format!(
            "task = \"{task}\"\nstrategy = \"upsert\"\nkey = [\"k\"]\nfrom = \"{from}\"\nunit = {{ {unit} }}"
        )
    }

    #[test]
    fn units_lead_back_to_the_staged_table() {
        let found = models(&[
            ("dwh/f.sql", &upsert("load", "curated.p", "pid = \"k\""), "select * from curated.p, curated.m"),
            ("curated/p.sql", &upsert("deduplicate", "staged.t", "id = \"pid\""), "select * from staged.t"),
            ("curated/m.sql", &upsert("deduplicate", "staged.m", "id = \"k\""), "select * from staged.m"),
            ("staged/t.sql", STAGED, "select * from raw.t"),
        ])
        .unwrap();
        let order: Vec<String> = found.iter().map(Model::table).collect();
        assert_eq!(order, ["staged.t", "curated.m", "curated.p", "dwh.f"]);
        assert_eq!(
            found.changes(found.get("dwh.f").unwrap()).unwrap(),
            r#"select "id" as "pid" from delta."t""#
        );
        let behind: Vec<String> = found.staged_behind("dwh.f").into_iter().collect();
        assert_eq!(behind, ["staged.m", "staged.t"]);
        assert!(found.lineage_text().contains("dwh.f (load, upsert) <- curated.m, curated.p"));
    }

    #[test]
    fn unknown_tables_circles_and_tasks_out_of_order_are_errors() {
        let a = upsert("load", "dwh.b", "k = \"k\"");
        let b = upsert("load", "dwh.a", "k = \"k\"");
        let error =
            models(&[("dwh/a.sql", &a, "select * from dwh.b"), ("dwh/b.sql", &b, "select * from dwh.a")]);
        assert!(error.unwrap_err().to_string().contains("circle"));
        let error = models(&[("dwh/a.sql", &a, "select * from dwh.b")]).unwrap_err().to_string();
        assert!(error.contains("dwh.b, which no model makes"), "{error}");
        let early = upsert("enrich", "dwh.a", "k = \"k\"");
        let late = upsert("load", "staged.t", "k = \"k\"");
        let files = [
            ("curated/c.sql", early.as_str(), "select * from dwh.a"),
            ("dwh/a.sql", late.as_str(), "select * from staged.t"),
        ];
        assert!(models(&files).unwrap_err().to_string().contains("after its own"));
    }

    #[test]
    fn versions_need_one_column_that_tells_rows_apart_and_balances_a_table() {
        let changes = "\nchanges = \"select id from versions.t\"";
        let fact = upsert("load", "curated.p", "pid = \"k\"") + changes;
        let with = |second: &str, fact: &str| {
            models(&[
                ("dwh/f.sql", fact, "select * from curated.p"),
                (
                    "curated/p.sql",
                    &upsert("deduplicate", "staged.t", "id = \"pid\""),
                    "select * from staged.t",
                ),
                ("curated/q.sql", &upsert("deduplicate", "staged.t", second), "select * from staged.t"),
                ("staged/t.sql", STAGED, "select * from raw.t"),
            ])
        };
        let found = with("id = \"k\"", &fact).unwrap();
        assert_eq!(found.row_column("staged.t"), Some("id"));
        assert_eq!(found.row_column("curated.p"), Some("pid"));
        assert_eq!(found.row_column("staged.u"), None);
        assert_eq!(found.get("dwh.f").unwrap().reads_versions, BTreeSet::from(["staged.t".to_owned()]));
        let error = with("other = \"k\"", &fact).unwrap_err().to_string();
        assert!(error.contains("dwh/f.sql") && error.contains("versions: staged.t"), "{error}");
        let balance = "\n[[balances]]\nname = \"b\"\nwith = \"curated.none\"\nby = \"c\"\namount = \"a\"";
        let error = with("id = \"k\"", &(fact + balance)).unwrap_err().to_string();
        assert!(error.contains("balance b: no model makes curated.none"), "{error}");
    }
}
