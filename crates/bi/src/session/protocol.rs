//! The messages of a client, one after the other.

use super::Session;
use super::execute::{unknown_cursor, unknown_statement};
use super::portal::Portal;
use super::run::Run;
use super::text::statements;
use crate::error::{PgError, code};
use crate::wire::{Format, Parameter, Request, Target, TransactionStatus};
use postgres_types::Type;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A client takes what it is told between statements within this time.
const SEND: Duration = Duration::from_secs(30);
/// Answers that wait for the client's word to be sent, bytes.
const WAITING_MAX: usize = 64 << 10;

impl Session {
    /// Answers until the client leaves, does nothing for too long, or `stop`.
    pub(super) async fn serve(mut self, stop: &CancellationToken) {
        let error = loop {
            let idle = self.transaction.status != TransactionStatus::Idle;
            let request = tokio::select! {
                biased;
                () = stop.cancelled() => {
                    break Some(PgError::fatal(code::SHUTDOWN, "terminating connection: the server stops"));
                }
                request = self.wire.request() => request,
                () = tokio::time::sleep(self.shared.options.idle_timeout(idle)) => break Some(idle_too_long(idle)),
            };
            match request {
                Ok(None) => break None,
                Ok(Some(request)) => match Box::pin(self.answer(request)).await {
                    Ok(ControlFlow::Continue(())) => {}
                    Ok(ControlFlow::Break(())) => break None,
                    Err(error) => break Some(error),
                },
                // What follows a message that is none cannot be trusted.
                Err(error) => break Some(PgError { is_fatal: true, ..error }),
            }
        };
        if let Some(error) = error {
            tracing::debug!(peer = %self.peer, user = self.user.name, %error, "connection ended");
            self.wire.out.error(&error);
            // Whether the client still listens is its own affair.
            let _ = self.send().await;
        }
        self.wire.close().await;
    }

    /// # Errors
    /// What ends the connection; any other error was told to the client.
    async fn answer(&mut self, request: Request) -> Result<ControlFlow<()>, PgError> {
        if self.is_skipping && !matches!(request, Request::Sync | Request::Terminate) {
            return Ok(ControlFlow::Continue(()));
        }
        let is_extended = request.is_extended();
        let done = match request {
            Request::Terminate => return Ok(ControlFlow::Break(())),
            Request::Query(text) => {
                self.query(&text).await?;
                Ok(())
            }
            Request::Sync => {
                self.is_skipping = false;
                self.ready().await?;
                Ok(())
            }
            Request::Flush => {
                self.send().await?;
                Ok(())
            }
            Request::Parse { name, text, types } => self.parse(name, &text, &types).await,
            Request::Bind { portal, statement, parameters, formats } => {
                self.bind(portal, &statement, parameters, formats)
            }
            Request::Describe(target) => self.describe(&target),
            Request::Execute { portal, max_rows } => self.execute_portal(&portal, max_rows).await,
            Request::Close(target) => {
                match target {
                    Target::Statement(name) => drop(self.statements.remove(&name)),
                    Target::Portal(name) => drop(self.portals.remove(&name)),
                }
                self.wire.out.closed();
                Ok(())
            }
            Request::Password(_) => {
                Err(PgError::fatal(code::PROTOCOL_VIOLATION, "no password was asked for"))
            }
            // What is left of a copy that was refused.
            Request::Copy => Ok(()),
        };
        match done {
            Ok(()) if self.wire.out.len() > WAITING_MAX => self.send().await?,
            Ok(()) => {}
            Err(error) if error.is_fatal => return Err(error),
            Err(error) => {
                self.fail(&error);
                self.is_skipping = is_extended;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The client is told of an error, and its transaction has failed.
    fn fail(&mut self, error: &PgError) {
        self.wire.out.error(error);
        if self.transaction.status == TransactionStatus::Open {
            self.transaction.status = TransactionStatus::Failed;
            self.portals.retain(|_, portal| portal.outlives);
        }
    }

    /// Everything that was asked for is answered.
    async fn ready(&mut self) -> Result<(), PgError> {
        if self.transaction.status == TransactionStatus::Idle {
            self.portals.retain(|_, portal| portal.outlives);
        }
        self.wire.out.ready(self.transaction.status);
        self.send().await?;
        self.wire.rest();
        Ok(())
    }

    async fn send(&mut self) -> Result<(), PgError> {
        let left = || PgError::fatal(code::PROTOCOL_VIOLATION, "the client does not read");
        match tokio::time::timeout(SEND, self.wire.send()).await {
            Ok(sent) => sent.map_err(|_| left()),
            Err(_) => Err(left()),
        }
    }

    /// Statements of one text, up to the first that fails.
    async fn query(&mut self, text: &str) -> Result<(), PgError> {
        let statements = statements(text);
        if statements.is_empty() {
            self.wire.out.empty();
        }
        for statement in statements {
            let mut run = self.begin();
            let done = self.query_one(statement, &mut run).await;
            self.end(&run, statement, &done);
            match done {
                Ok(()) => {}
                Err(error) if error.is_fatal => return Err(error),
                Err(error) => {
                    self.fail(&error);
                    break;
                }
            }
        }
        self.ready().await
    }

    async fn query_one(&mut self, text: &str, run: &mut Run) -> Result<(), PgError> {
        let statement = self.prepare(text, Vec::new(), run).await?;
        if !statement.parameters().is_empty() {
            return Err(PgError::new(code::UNDEFINED_PARAMETER, "there is no parameter $1"));
        }
        let mut portal = Portal::new(Some(Arc::new(statement)), Vec::new(), Vec::new());
        self.execute(&mut portal, 0, false, run).await
    }

    /// The statement is over: it cannot be cancelled any more, and is told of.
    fn end(&self, run: &Run, text: &str, result: &Result<(), PgError>) {
        self.ticket.end();
        self.tell(run, text, result);
    }

    async fn parse(&mut self, name: String, text: &str, types: &[u32]) -> Result<(), PgError> {
        if !name.is_empty() && self.statements.contains_key(&name) {
            let message = format!("prepared statement \"{name}\" already exists");
            return Err(PgError::new(code::DUPLICATE_STATEMENT, message));
        }
        if name.is_empty() {
            self.statements.remove(&name);
        }
        self.refuse_too_many(self.statements.len(), text.len())?;
        let found = statements(text);
        let statement = match found.as_slice() {
            [] => None,
            [statement] => {
                // 0 is left open, and so is `unknown`.
                let declared = |&oid: &u32| Type::from_oid(oid).filter(|known| *known != Type::UNKNOWN);
                let declared = types.iter().map(declared).collect();
                let mut run = self.begin();
                let prepared = self.prepare(statement, declared, &mut run).await;
                self.ticket.end();
                match prepared {
                    Ok(prepared) => Some(Arc::new(prepared)),
                    Err(error) => {
                        let failed = Err(error);
                        self.tell(&run, statement, &failed);
                        return failed;
                    }
                }
            }
            _ => {
                let message = "cannot insert multiple commands into a prepared statement";
                return Err(PgError::new(code::SYNTAX, message));
            }
        };
        self.statements.insert(name, statement);
        self.wire.out.parsed();
        Ok(())
    }

    fn bind(
        &mut self,
        portal: String,
        statement: &str,
        parameters: Vec<Parameter>,
        formats: Vec<Format>,
    ) -> Result<(), PgError> {
        let found = self.statements.get(statement).ok_or_else(|| unknown_statement(statement))?.clone();
        let expected = found.as_ref().map_or(0, |statement| statement.parameters().len());
        if parameters.len() != expected {
            let given = parameters.len();
            let message = format!(
                "bind message supplies {given} parameters, but prepared statement \"{statement}\" requires {expected}"
            );
            return Err(PgError::new(code::PROTOCOL_VIOLATION, message));
        }
        if let Some(statement) = &found {
            self.refuse_in_failure(&statement.command)?;
        }
        if !portal.is_empty() && self.portals.contains_key(&portal) {
            let message = format!("cursor \"{portal}\" already exists");
            return Err(PgError::new(code::DUPLICATE_CURSOR, message));
        }
        if portal.is_empty() {
            self.portals.remove(&portal);
        }
        let bound = Portal::new(found, parameters, formats);
        self.refuse_too_many(self.portals.len(), bound.bytes())?;
        self.portals.insert(portal, bound);
        self.wire.out.bound();
        Ok(())
    }

    fn describe(&mut self, target: &Target) -> Result<(), PgError> {
        let (columns, formats) = match target {
            Target::Statement(name) => {
                let statement = self.statements.get(name).ok_or_else(|| unknown_statement(name))?;
                let oids: Vec<u32> =
                    statement.iter().flat_map(|statement| statement.parameters()).map(Type::oid).collect();
                let columns = match statement {
                    Some(statement) => self.columns(statement)?,
                    None => None,
                };
                self.wire.out.parameter_types(oids.into_iter());
                (columns, Vec::new())
            }
            Target::Portal(name) => {
                let portal = self.portals.get(name).ok_or_else(|| unknown_cursor(name))?;
                // A cursor has the columns of its query.
                let columns = match (&portal.source, &portal.statement) {
                    (Some(source), _) => Some(source.columns()),
                    (None, Some(statement)) => self.columns(statement)?,
                    (None, None) => None,
                };
                (columns, portal.formats.clone())
            }
        };
        match columns {
            None => self.wire.out.no_rows(),
            Some(columns) => {
                let formats = Format::spread(&formats, columns.len())?;
                self.wire.out.columns(&columns, &formats);
            }
        }
        Ok(())
    }

    async fn execute_portal(&mut self, name: &str, most: u64) -> Result<(), PgError> {
        let mut portal = self.portals.remove(name).ok_or_else(|| unknown_cursor(name))?;
        let text = portal.statement.as_ref().map(|statement| statement.text.clone()).unwrap_or_default();
        let mut run = self.begin();
        let done = self.execute(&mut portal, most, true, &mut run).await;
        self.end(&run, &text, &done);
        if done.is_ok() {
            self.portals.insert(name.to_owned(), portal);
        }
        done
    }
}

fn idle_too_long(in_transaction: bool) -> PgError {
    if in_transaction {
        let message = "terminating connection due to idle-in-transaction timeout";
        PgError::fatal(code::IDLE_IN_TRANSACTION, message)
    } else {
        PgError::fatal(code::IDLE_SESSION, "terminating connection due to idle-session timeout")
    }
}
