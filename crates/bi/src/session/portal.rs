//! Prepared statements, and the portals and cursors that run them.

use super::command::Command;
use super::run::Run;
use crate::catalog::Prepared;
use crate::error::{PgError, code};
use crate::snapshots::Snapshot;
use crate::types::{Column, columns};
use crate::wire::{Format, Parameter, Wire};
use affluent_lake::sql::Rows;
use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use postgres_types::Type;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};

/// A statement that was read, and planned where it asks the engine.
pub(crate) struct Statement {
    pub(crate) text: String,
    pub(crate) command: Command,
    /// What the client said of its parameters.
    pub(crate) declared: Vec<Option<Type>>,
    pub(crate) planned: Option<Planned>,
}

/// A plan, and the state of the lake that it is for: a statement that is kept does not keep the state.
#[derive(Clone)]
pub(crate) struct Planned {
    pub(crate) snapshot: Weak<Snapshot>,
    pub(crate) prepared: Prepared,
}

impl Portal {
    pub(crate) fn new(
        statement: Option<Arc<Statement>>,
        parameters: Vec<Parameter>,
        formats: Vec<Format>,
    ) -> Self {
        Portal { statement, parameters, formats, source: None, is_done: false, outlives: false }
    }
}

impl Statement {
    /// Types of the parameters.
    pub(crate) fn parameters(&self) -> &[Type] {
        match &self.planned {
            Some(planned) => planned.prepared.parameters(),
            None => &[],
        }
    }

    /// Bytes of its text; what was read from it grows with them.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len()
    }
}

/// A statement with its values, and its rows once it runs.
pub(crate) struct Portal {
    /// `None`: the statement was empty.
    pub(crate) statement: Option<Arc<Statement>>,
    pub(crate) parameters: Vec<Parameter>,
    /// As given; none is text.
    pub(crate) formats: Vec<Format>,
    pub(crate) source: Option<Source>,
    /// Everything was handed out.
    pub(crate) is_done: bool,
    /// A cursor that outlives its transaction.
    pub(crate) outlives: bool,
}

impl Portal {
    /// Bytes of its values and of its statement.
    pub(crate) fn bytes(&self) -> usize {
        let values = self.parameters.iter().filter_map(|parameter| parameter.value.as_ref());
        let text = self.statement.as_ref().map_or(0, |statement| statement.bytes());
        values.map(|value| value.len()).sum::<usize>() + text
    }
}

/// Rows that wait to be handed out.
pub(crate) struct Source {
    rows: Waiting,
    schema: SchemaRef,
    /// The batch that is being handed out, and its first row that was not.
    current: Option<(RecordBatch, usize)>,
    /// What the rows are read from; kept for as long as they are.
    snapshot: Option<Arc<Snapshot>>,
    /// Rows that the user may have at most.
    rows_max: Option<u64>,
}

enum Waiting {
    Engine(Box<Rows>),
    Held(VecDeque<RecordBatch>),
}

impl Source {
    /// Rows that the engine makes.
    pub(crate) fn engine(
        rows: Rows,
        schema: SchemaRef,
        snapshot: Arc<Snapshot>,
        rows_max: Option<u64>,
    ) -> Self {
        let rows = Waiting::Engine(Box::new(rows));
        Source { rows, schema, current: None, snapshot: Some(snapshot), rows_max }
    }

    /// Rows that are there.
    pub(crate) fn held(batch: RecordBatch) -> Self {
        let schema = batch.schema();
        let rows = Waiting::Held(VecDeque::from([batch]));
        Source { rows, schema, current: None, snapshot: None, rows_max: None }
    }

    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    pub(crate) fn columns(&self) -> Vec<Column> {
        columns(&self.schema)
    }

    /// The version of the warehouse that is read.
    pub(crate) fn version(&self) -> Option<i64> {
        self.snapshot.as_ref().and_then(|snapshot| snapshot.version)
    }

    /// At most `most` rows that follow, as a batch, its first row and their number; `None` after the last.
    ///
    /// # Errors
    /// What goes wrong while rows are made, and more rows than the user may have.
    pub(crate) async fn next(
        &mut self,
        most: u64,
        run: &Run,
        wire: &mut Wire,
    ) -> Result<Option<(RecordBatch, usize, usize)>, PgError> {
        if self.current.is_none() {
            self.current = self.fill(run, wire).await?.map(|batch| (batch, 0));
        }
        let Some((batch, first)) = self.current.take() else { return Ok(None) };
        let left = batch.num_rows() - first;
        let count = usize::try_from(most).map_or(left, |most| most.min(left));
        if count < left {
            self.current = Some((batch.clone(), first + count));
        }
        Ok(Some((batch, first, count)))
    }

    /// The next batch that has rows.
    async fn fill(&mut self, run: &Run, wire: &mut Wire) -> Result<Option<RecordBatch>, PgError> {
        let rows = match &mut self.rows {
            Waiting::Held(batches) => return Ok(batches.pop_front().filter(|batch| batch.num_rows() > 0)),
            Waiting::Engine(rows) => rows,
        };
        let next = async { rows.next_batch().await.transpose().map_err(PgError::from) };
        if let Some(batch) = run.work(wire, next).await? {
            return Ok(Some(batch));
        }
        match self.rows_max {
            Some(most) if rows.truncated() => {
                Err(PgError::new(code::LIMIT_EXCEEDED, format!("the statement has more than {most} rows"))
                    .with_hint("ask for fewer, or have max_rows raised for a role of the user"))
            }
            _ => {
                // What the engine held for them is free again.
                self.rows = Waiting::Held(VecDeque::new());
                Ok(None)
            }
        }
    }
}
