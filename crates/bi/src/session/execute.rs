//! Statements as they are run.

use super::Session;
use super::command::{Command, Count};
use super::portal::{Planned, Portal, Source, Statement};
use super::rows::{Shape, hand_out};
use super::run::Run;
use crate::error::{PgError, code};
use crate::snapshots::Snapshot;
use crate::types::{Column, columns};
use crate::wire::{Format, Parameter, TransactionStatus};
use affluent_lake::sql::Limits;
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::Schema;
use postgres_types::Type;
use std::sync::Arc;

/// Portals that a session has at most, and statements.
const NAMED_MAX: usize = 1_000;
/// Bytes of their texts and values at most.
const NAMED_BYTES_MAX: usize = 4 << 20;
/// Every value as text.
const TEXT: &[Format] = &[];

impl Session {
    /// A statement begins: its clock and its cancel key.
    pub(super) fn begin(&self) -> Run {
        let most = self.user.limits.timeout;
        let timeout = self.who.statement_timeout().map_or(most, |wish| wish.min(most));
        Run::new(&self.ticket, timeout)
    }

    /// Reads a statement, and plans it where it asks the engine.
    ///
    /// # Errors
    /// What the text lacks; tables that are not granted.
    pub(super) async fn prepare(
        &mut self,
        text: &str,
        declared: Vec<Option<Type>>,
        run: &mut Run,
    ) -> Result<Statement, PgError> {
        let command = Command::read(text)?;
        self.refuse_in_failure(&command)?;
        let planned = match command.query(text) {
            None => None,
            Some(query) => {
                run.admit(&self.shared, &mut self.wire).await?;
                let snapshot = self.snapshot(run).await?;
                Some(self.plan(query, &declared, &snapshot, run).await?)
            }
        };
        Ok(Statement { text: text.to_owned(), command, declared, planned })
    }

    async fn plan(
        &mut self,
        query: &str,
        types: &[Option<Type>],
        snapshot: &Arc<Snapshot>,
        run: &Run,
    ) -> Result<Planned, PgError> {
        let planning = snapshot.catalog.prepare(query, types, &self.who);
        let prepared = run.work(&mut self.wire, planning).await?;
        Ok(Planned { snapshot: Arc::downgrade(snapshot), prepared })
    }

    /// The state that a statement sees: in a transaction the one of its first.
    async fn snapshot(&mut self, run: &Run) -> Result<Arc<Snapshot>, PgError> {
        if let Some(snapshot) = &self.transaction.snapshot {
            return Ok(Arc::clone(snapshot));
        }
        let looking = self.shared.snapshots.newest(&self.user.grants);
        let snapshot = run.work(&mut self.wire, looking).await?;
        if self.transaction.status == TransactionStatus::Open {
            self.transaction.snapshot = Some(Arc::clone(&snapshot));
        }
        Ok(snapshot)
    }

    /// Until its end nothing is done in a transaction that failed.
    pub(super) fn refuse_in_failure(&self, command: &Command) -> Result<(), PgError> {
        if self.transaction.status != TransactionStatus::Failed || command.ends_failure() {
            return Ok(());
        }
        let message = "current transaction is aborted, commands ignored until end of transaction block";
        Err(PgError::new(code::FAILED_TRANSACTION, message))
    }

    /// Runs a portal, or hands out more of its rows: at most `most`, 0 is all.
    ///
    /// # Errors
    /// Whatever goes wrong; the transaction is to fail then.
    pub(super) async fn execute(
        &mut self,
        portal: &mut Portal,
        most: u64,
        are_described: bool,
        run: &mut Run,
    ) -> Result<(), PgError> {
        let Some(statement) = portal.statement.clone() else {
            self.wire.out.empty();
            return Ok(());
        };
        self.refuse_in_failure(&statement.command)?;
        match &statement.command {
            Command::Query { tag } => {
                run.reads = true;
                if portal.source.is_none() && !portal.is_done {
                    portal.source = Some(self.open(&portal.parameters, &statement, run).await?);
                }
                let tag = tag.map_or(("EXPLAIN", false), |tag| (tag, true));
                self.give(portal, most, are_described, tag, run).await
            }
            Command::Show(_) | Command::ShowAll => {
                if portal.source.is_none() && !portal.is_done {
                    portal.source = self.shown(&statement.command)?.map(Source::held);
                }
                self.give(portal, most, are_described, ("SHOW", false), run).await
            }
            Command::Copy { form, .. } => {
                let mut source = self.open(&portal.parameters, &statement, run).await?;
                let form = (TEXT, Shape::Copy(form));
                let (rows, _) = hand_out(&mut source, form, 0, run, &mut self.wire).await?;
                self.wire.out.copy_ends();
                self.wire.out.complete(&format!("COPY {rows}"));
                Ok(())
            }
            // The cursor itself.
            Command::Declare { .. } if portal.source.is_some() => {
                self.give(portal, most, are_described, ("SELECT", true), run).await
            }
            Command::Declare { name, outlives, .. } => {
                self.declare((name, *outlives), &portal.parameters, &statement, run).await
            }
            Command::Fetch { cursor, count, is_move } => {
                let shape = if *is_move { Shape::Skipped } else { Shape::Rows { are_described } };
                self.fetch(cursor, *count, (portal.formats.as_slice(), shape), run).await
            }
            Command::Begin
            | Command::Commit
            | Command::Rollback
            | Command::Savepoint
            | Command::Release
            | Command::RollbackTo
            | Command::Set { .. }
            | Command::Accepted(_)
            | Command::Reset(_)
            | Command::DiscardAll
            | Command::Close(_)
            | Command::Deallocate(_) => {
                let tag = self.apply(&statement.command)?;
                self.wire.out.complete(tag);
                Ok(())
            }
        }
    }

    /// Has the engine make the rows of a statement. It is planned anew where it was planned for an older state.
    async fn open(
        &mut self,
        parameters: &[Parameter],
        statement: &Statement,
        run: &mut Run,
    ) -> Result<Source, PgError> {
        let (Some(planned), Some(query)) = (&statement.planned, statement.command.query(&statement.text))
        else {
            return Err(PgError::new(code::INTERNAL, "the statement was not planned"));
        };
        run.admit(&self.shared, &mut self.wire).await?;
        let snapshot = self.snapshot(run).await?;
        let planned = if planned.snapshot.ptr_eq(&Arc::downgrade(&snapshot)) {
            planned.clone()
        } else {
            let anew = self.plan(query, &statement.declared, &snapshot, run).await?;
            if !are_alike(&planned.prepared.schema(), &anew.prepared.schema()) {
                return Err(PgError::new(code::NOT_SUPPORTED, "cached plan must not change result type"));
            }
            anew
        };
        (run.reads, run.version) = (true, snapshot.version);
        let rows_max = self.user.limits.rows;
        let limits = Limits { timeout: None, rows: rows_max };
        let starting = snapshot.catalog.run(&planned.prepared, parameters, limits);
        let rows = run.work(&mut self.wire, starting).await?;
        let schema = planned.prepared.schema();
        Ok(Source::engine(rows, schema, snapshot, rows_max))
    }

    /// Hands out rows of a portal, and says whether there are more. `tag`: a word, and whether the number of rows follows.
    async fn give(
        &mut self,
        portal: &mut Portal,
        most: u64,
        are_described: bool,
        (tag, counts): (&str, bool),
        run: &mut Run,
    ) -> Result<(), PgError> {
        let (rows, has_more) = match &mut portal.source {
            None => (0, false),
            Some(source) => {
                run.admit(&self.shared, &mut self.wire).await?;
                run.version = source.version();
                let shape = Shape::Rows { are_described };
                hand_out(source, (portal.formats.as_slice(), shape), most, run, &mut self.wire).await?
            }
        };
        if has_more {
            self.wire.out.suspended();
            return Ok(());
        }
        (portal.source, portal.is_done) = (None, true);
        let tag = if counts { format!("{tag} {rows}") } else { tag.to_owned() };
        self.wire.out.complete(&tag);
        Ok(())
    }

    async fn declare(
        &mut self,
        (name, outlives): (&str, bool),
        parameters: &[Parameter],
        statement: &Arc<Statement>,
        run: &mut Run,
    ) -> Result<(), PgError> {
        if self.transaction.status == TransactionStatus::Idle && !outlives {
            let message = "DECLARE CURSOR can only be used in transaction blocks";
            return Err(
                PgError::new(code::NO_TRANSACTION, message).with_hint("begin one, or declare it WITH HOLD")
            );
        }
        if self.portals.contains_key(name) {
            let message = format!("cursor \"{name}\" already exists");
            return Err(PgError::new(code::DUPLICATE_CURSOR, message));
        }
        self.refuse_too_many(self.portals.len(), statement.bytes())?;
        let source = self.open(parameters, statement, run).await?;
        let cursor = Portal {
            source: Some(source),
            outlives,
            ..Portal::new(Some(Arc::clone(statement)), Vec::new(), Vec::new())
        };
        self.portals.insert(name.to_owned(), cursor);
        self.wire.out.complete("DECLARE CURSOR");
        Ok(())
    }

    /// Hands out rows of a cursor in the formats of the portal that fetches them.
    async fn fetch(
        &mut self,
        name: &str,
        count: Count,
        (formats, shape): (&[Format], Shape<'_>),
        run: &mut Run,
    ) -> Result<(), PgError> {
        let word = if matches!(shape, Shape::Skipped) { "MOVE" } else { "FETCH" };
        let cursor = self.portals.get_mut(name).and_then(|cursor| cursor.source.as_mut());
        let source = cursor.ok_or_else(|| unknown_cursor(name))?;
        let most = match count {
            Count::All => 0,
            Count::Rows(0) => {
                self.wire.out.complete(&format!("{word} 0"));
                return Ok(());
            }
            Count::Rows(rows) => rows,
        };
        run.admit(&self.shared, &mut self.wire).await?;
        (run.reads, run.version) = (true, source.version());
        let (rows, _) = hand_out(source, (formats, shape), most, run, &mut self.wire).await?;
        self.wire.out.complete(&format!("{word} {rows}"));
        Ok(())
    }

    /// What reads nothing; gives the word that it is done with.
    fn apply(&mut self, command: &Command) -> Result<&'static str, PgError> {
        use TransactionStatus::{Failed, Idle, Open};
        let status = self.transaction.status;
        match command {
            Command::Begin => {
                if status == Open {
                    let message = "there is already a transaction in progress";
                    self.wire.out.warning(&PgError::new(code::IN_TRANSACTION, message));
                } else {
                    (self.transaction.status, self.transaction.settings) = (Open, self.who.kept());
                }
                Ok("BEGIN")
            }
            Command::Commit | Command::Rollback => {
                if status == Idle {
                    let message = "there is no transaction in progress";
                    self.wire.out.warning(&PgError::new(code::NO_TRANSACTION, message));
                }
                let is_undone = status == Failed || *command == Command::Rollback;
                self.end_transaction(is_undone);
                Ok(if is_undone { "ROLLBACK" } else { "COMMIT" })
            }
            Command::Savepoint | Command::Release | Command::RollbackTo if status == Idle => {
                let message = "savepoints can only be used in transaction blocks";
                Err(PgError::new(code::NO_TRANSACTION, message))
            }
            Command::Savepoint => Ok("SAVEPOINT"),
            Command::Release => Ok("RELEASE"),
            Command::RollbackTo => {
                self.transaction.status = Open;
                Ok("ROLLBACK")
            }
            Command::Set { name, value, is_local } => {
                self.set(name, value.as_deref(), *is_local)?;
                Ok("SET")
            }
            Command::Reset(name) => {
                self.change(|who| who.reset(name.as_deref()));
                Ok("RESET")
            }
            Command::DiscardAll => {
                if status == Open {
                    let message = "DISCARD ALL cannot run inside a transaction block";
                    return Err(PgError::new(code::IN_TRANSACTION, message));
                }
                self.portals.clear();
                self.statements.clear();
                self.change(|who| who.reset(None));
                Ok("DISCARD ALL")
            }
            Command::Close(None) => {
                self.portals.clear();
                Ok("CLOSE CURSOR ALL")
            }
            Command::Close(Some(name)) => {
                self.portals.remove(name).ok_or_else(|| unknown_cursor(name))?;
                Ok("CLOSE CURSOR")
            }
            Command::Deallocate(None) => {
                self.statements.clear();
                Ok("DEALLOCATE ALL")
            }
            Command::Deallocate(Some(name)) => {
                self.statements.remove(name).ok_or_else(|| unknown_statement(name))?;
                Ok("DEALLOCATE")
            }
            Command::Accepted(tag) => Ok(tag),
            Command::Query { .. }
            | Command::Show(_)
            | Command::ShowAll
            | Command::Declare { .. }
            | Command::Fetch { .. }
            | Command::Copy { .. } => Err(PgError::new(code::INTERNAL, "the statement makes rows")),
        }
    }

    fn set(&mut self, name: &str, value: Option<&str>, is_local: bool) -> Result<(), PgError> {
        // What is local to a transaction is nothing outside of one.
        if is_local && self.transaction.status == TransactionStatus::Idle {
            let message = "SET LOCAL can only be used in transaction blocks";
            self.wire.out.warning(&PgError::new(code::NO_TRANSACTION, message));
            return Ok(());
        }
        let warning = self.change(|who| match value {
            Some(value) => who.set(name, value, is_local),
            None => {
                who.reset(Some(name));
                Ok(None)
            }
        })?;
        if let Some(warning) = warning {
            self.wire.out.warning(&warning);
        }
        Ok(())
    }

    /// Changes settings, and tells the client of those that it wants to know.
    fn change<T>(&mut self, change: impl FnOnce(&mut super::Who) -> T) -> T {
        let before = self.who.reported();
        let changed = change(&mut self.who);
        for (name, value) in self.who.reported() {
            if !before.iter().any(|(other, old)| *other == name && *old == value) {
                self.wire.out.parameter(name, &value);
            }
        }
        changed
    }

    /// The transaction is over, and with it what it saw and its cursors.
    pub(super) fn end_transaction(&mut self, is_undone: bool) {
        let ended = std::mem::take(&mut self.transaction);
        let undone = (is_undone && ended.status != TransactionStatus::Idle).then_some(ended.settings);
        self.change(|who| who.end_transaction(undone));
        self.portals.retain(|_, portal| portal.outlives);
    }

    /// Refuses one more beside `count` of its kind, which takes so many bytes.
    pub(super) fn refuse_too_many(&self, count: usize, bytes: usize) -> Result<(), PgError> {
        let statements = self.statements.values().flatten().map(|statement| statement.bytes());
        let held: usize = statements.chain(self.portals.values().map(Portal::bytes)).sum();
        // The largest statement is taken, and its portal beside it.
        let most = NAMED_BYTES_MAX.max(self.shared.options.message_bytes_max.saturating_mul(3));
        if count < NAMED_MAX && held.saturating_add(bytes) <= most {
            return Ok(());
        }
        let message = format!(
            "a session has at most {NAMED_MAX} cursors and as many statements, of {most} bytes together"
        );
        Err(PgError::new(code::LIMIT_EXCEEDED, message))
    }

    /// The columns of a statement's rows; `None`: it has none.
    pub(super) fn columns(&self, statement: &Statement) -> Result<Option<Vec<Column>>, PgError> {
        match &statement.command {
            Command::Query { .. } => {
                let planned = statement.planned.as_ref();
                Ok(planned.map(|planned| columns(&planned.prepared.schema())))
            }
            Command::Show(_) | Command::ShowAll => {
                Ok(self.shown(&statement.command)?.map(|batch| columns(&batch.schema())))
            }
            Command::Fetch { cursor, is_move: false, .. } => {
                let source = self.portals.get(cursor).and_then(|cursor| cursor.source.as_ref());
                Ok(Some(source.ok_or_else(|| unknown_cursor(cursor))?.columns()))
            }
            Command::Fetch { .. }
            | Command::Declare { .. }
            | Command::Copy { .. }
            | Command::Begin
            | Command::Commit
            | Command::Rollback
            | Command::Savepoint
            | Command::Release
            | Command::RollbackTo
            | Command::Set { .. }
            | Command::Accepted(_)
            | Command::Reset(_)
            | Command::DiscardAll
            | Command::Close(_)
            | Command::Deallocate(_) => Ok(None),
        }
    }

    /// Settings as rows.
    fn shown(&self, command: &Command) -> Result<Option<RecordBatch>, PgError> {
        let texts = |values: Vec<String>| Arc::new(StringArray::from(values)) as ArrayRef;
        let columns = if let Command::Show(name) = command {
            let value = self.who.setting(name).ok_or_else(|| {
                let message = format!("unrecognized configuration parameter \"{name}\"");
                PgError::new(code::UNDEFINED_OBJECT, message)
            })?;
            vec![(name.as_str(), texts(vec![value]))]
        } else if *command == Command::ShowAll {
            let (names, values): (Vec<String>, Vec<String>) = self.who.settings().into_iter().unzip();
            let about = vec![String::new(); names.len()];
            vec![("name", texts(names)), ("setting", texts(values)), ("description", texts(about))]
        } else {
            return Ok(None);
        };
        let batch = RecordBatch::try_from_iter(columns);
        batch.map(Some).map_err(|error| PgError::new(code::INTERNAL, error.to_string()))
    }
}

pub(super) fn unknown_cursor(name: &str) -> PgError {
    PgError::new(code::INVALID_CURSOR, format!("cursor \"{name}\" does not exist"))
}

pub(super) fn unknown_statement(name: &str) -> PgError {
    PgError::new(code::INVALID_STATEMENT, format!("prepared statement \"{name}\" does not exist"))
}

/// Whether rows of one are read as rows of the other.
fn are_alike(one: &Schema, other: &Schema) -> bool {
    let of = |schema: &Schema| -> Vec<_> {
        let fields = schema.fields().iter();
        fields.map(|field| (field.name().clone(), field.data_type().clone())).collect()
    };
    of(one) == of(other)
}
