//! What clients look into: one state of the lake as one set of grants sees it, `pg_catalog` and `information_schema` of it.
//!
//! A statement is given to the engine, or, where it is over the catalogue alone, to a small evaluator of its own ([`eval`])
//! over tables in memory ([`relations`]). `dialect` turns what PostgreSQL writes otherwise than the engine.
//!
//! Invariant: a table that is not granted is in no list, and no statement reads it.

mod columns_of;
mod dialect;
mod eval;
mod output;
mod relations;
mod rows;
mod settings;
mod value;

pub(crate) use settings::{SETTINGS, search_path};

use crate::auth::{Grants, Users};
use crate::error::{PgError, code};
use crate::session::Who;
use crate::types;
use crate::wire::Parameter;
use affluent_lake::sql::sqlparser::ast::{Query, Statement};
use affluent_lake::sql::sqlparser::dialect::PostgreSqlDialect;
use affluent_lake::sql::sqlparser::parser::Parser;
use affluent_lake::sql::{Limits, Rows, Session, SqlError, tables_of};
use arrow_array::ArrayRef;
use arrow_schema::{DataType, Field, SchemaRef};
use postgres_types::Type;
use relations::Relations;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use value::Value;

/// Name of the one database.
pub(crate) const DATABASE: &str = "affluent";
/// Nesting of a statement that is still read.
const NESTING_MAX: usize = 100;
/// Columns of a statement at most, as in PostgreSQL.
const COLUMNS_MAX: usize = 1_664;

/// One state of the lake as one set of grants sees it.
#[derive(Debug)]
pub(crate) struct Catalog {
    session: Session,
    grants: Grants,
    relations: Arc<Relations>,
}

/// A statement that was understood.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    parameters: Vec<Type>,
    schema: SchemaRef,
    plan: Plan,
}

#[derive(Debug, Clone)]
enum Plan {
    /// Over the catalogue, for who asked.
    Catalogue(Arc<eval::Query>, Arc<Who>),
    /// The engine's, as it was read: written as text again, a quote in a value could end it.
    Engine(Arc<Statement>),
}

impl Prepared {
    /// The types of `$1`, `$2`, ….
    pub(crate) fn parameters(&self) -> &[Type] {
        &self.parameters
    }

    /// The columns of the rows.
    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

impl Catalog {
    /// The catalogue of what `session` sees and `grants` allow.
    ///
    /// # Errors
    /// Metadata of the lake that is not whole.
    #[expect(clippy::unused_async, reason = "tables of the session's own may be registered here")]
    pub(crate) async fn new(session: Session, grants: &Grants, users: &Users) -> Result<Catalog, PgError> {
        let mut tables = session.describe_tables()?;
        tables.retain(|table| grants.sees(&table.namespace, &table.name));
        let relations = Arc::new(Relations::new(tables, DATABASE, &users.names()));
        Ok(Catalog { session, grants: grants.clone(), relations })
    }

    /// Understands one statement that is a query, without running it. `types` are what the client says of the parameters.
    ///
    /// # Errors
    /// Syntax, unknown names, tables that are not granted, what the engine or the catalogue cannot do.
    pub(crate) async fn prepare(
        &self,
        text: &str,
        types: &[Option<Type>],
        who: &Who,
    ) -> Result<Prepared, PgError> {
        let mut statement = parsed(text)?;
        if let Statement::Query(query) = &statement
            && dialect::is_catalogue(query, &self.relations)?
        {
            return self.prepare_catalogue(query, types, who);
        }
        dialect::to_engine(&mut statement, &self.relations, who)?;
        self.check_common(&statement)?;
        for table in tables_of(&statement)? {
            let (schema, name) = table.rsplit_once('.').unwrap_or(("public", &table));
            if ["pg_catalog", "information_schema"].contains(&schema) {
                let message = "tables of the catalogue cannot be joined with others, or explained";
                return Err(PgError::new(code::NOT_SUPPORTED, message));
            }
            self.grants.check(schema, name)?;
        }
        // Of a numeric the value will tell precision and scale.
        let is_whole = |given: &&Type| tells(given) && **given != Type::NUMERIC;
        let given = types.iter().map(|given| given.as_ref().filter(is_whole).map(types::arrow_type));
        let given: Vec<Option<DataType>> = given.collect();
        let prepared = self.session.prepare(&statement, &given).await;
        let prepared = prepared.map_err(|error| self.told(error))?;
        let parameters = prepared.parameters.iter().enumerate().map(|(place, data_type)| {
            let given = types.get(place).cloned().flatten().filter(tells);
            given.unwrap_or_else(|| types::type_of(&Field::new("parameter", data_type.clone(), true)))
        });
        let parameters = parameters.collect();
        let schema = not_too_wide(prepared.schema)?;
        Ok(Prepared { parameters, schema, plan: Plan::Engine(Arc::new(statement)) })
    }

    /// A common table expression may have the name of a table of no schema, and a recursive one mean that table.
    fn check_common(&self, statement: &Statement) -> Result<(), PgError> {
        for name in dialect::ctes(statement) {
            let table = format!("public.{name}");
            if self.session.tables().iter().any(|known| known.name == table) {
                self.grants.check("public", &name)?;
            }
        }
        Ok(())
    }

    /// What went wrong, without the names of tables that are not granted.
    fn told(&self, error: SqlError) -> PgError {
        match error {
            SqlError::UnknownTable { name, mut nearest } => {
                nearest.retain(|near| {
                    let (schema, table) = near.rsplit_once('.').unwrap_or(("public", near));
                    self.grants.sees(schema, table)
                });
                SqlError::UnknownTable { name, nearest }.into()
            }
            other => other.into(),
        }
    }

    fn prepare_catalogue(
        &self,
        query: &Query,
        types: &[Option<Type>],
        who: &Who,
    ) -> Result<Prepared, PgError> {
        let (query, count) = eval::bind(&self.relations, query)?;
        let given =
            |place: usize| types.get(place).cloned().flatten().filter(|given| *given != Type::UNKNOWN);
        let parameters = (0..count).map(|place| given(place).unwrap_or(Type::TEXT)).collect();
        let schema = not_too_wide(output::schema(&query.columns))?;
        Ok(Prepared { parameters, schema, plan: Plan::Catalogue(Arc::new(query), Arc::new(who.clone())) })
    }

    /// Runs a statement with values for its parameters.
    ///
    /// # Errors
    /// Values that are none of their types or missing; as the engine.
    pub(crate) async fn run(
        &self,
        prepared: &Prepared,
        parameters: &[Parameter],
        limits: Limits,
    ) -> Result<Rows, PgError> {
        if parameters.len() != prepared.parameters.len() {
            let (given, wanted) = (parameters.len(), prepared.parameters.len());
            let message = format!("{given} parameters are given, the statement has {wanted}");
            return Err(PgError::new(code::PROTOCOL_VIOLATION, message));
        }
        let pairs = prepared.parameters.iter().zip(parameters);
        let values =
            pairs.map(|(data_type, given)| types::decode(data_type, given.format, given.value.as_deref()));
        let values = values.collect::<Result<Vec<ArrayRef>, _>>()?;
        match &prepared.plan {
            Plan::Engine(statement) => Ok(self.session.query_with(statement, &values, limits).await?),
            Plan::Catalogue(query, who) => {
                let values = values.iter().map(value_of).collect::<Result<Vec<_>, _>>()?;
                let (query, who, relations) =
                    (Arc::clone(query), Arc::clone(who), Arc::clone(&self.relations));
                let schema = Arc::clone(&prepared.schema);
                // Where nobody waits for the rows any more, making them ends.
                let stop = CancellationToken::new();
                let _waiting = stop.clone().drop_guard();
                let making = tokio::task::spawn_blocking(move || {
                    let run = eval::Run::new(&relations, &who, &values).until(stop);
                    let rows = eval::run(&query, &run)?;
                    output::batch(&schema, &query.columns, rows, &run)
                });
                let made = making.await.map_err(|error| {
                    tracing::error!(%error, "a statement over the catalogue ended unexpectedly");
                    PgError::new(code::INTERNAL, "the statement over the catalogue could not be run")
                })?;
                Ok(Rows::of_batch(made?))
            }
        }
    }
}

/// The value of a parameter, as text where it is none of the catalogue's own forms: what it is compared with reads it.
fn value_of(array: &ArrayRef) -> Result<Value, PgError> {
    if array.is_null(0) {
        return Ok(Value::Null);
    }
    let mut text = Vec::new();
    types::write_text(array.as_ref(), 0, &mut text)?;
    Ok(Value::text(String::from_utf8_lossy(&text)))
}

/// Whether a client that says this of a parameter tells more than that it writes it as text: what it is compared with
/// tells then.
fn tells(given: &Type) -> bool {
    ![Type::UNKNOWN, Type::TEXT, Type::VARCHAR, Type::BPCHAR].contains(given)
}

fn not_too_wide(schema: SchemaRef) -> Result<SchemaRef, PgError> {
    if schema.fields().len() <= COLUMNS_MAX {
        return Ok(schema);
    }
    let message = format!("target lists can have at most {COLUMNS_MAX} entries");
    Err(PgError::new(code::LIMIT_EXCEEDED, message))
}

/// The one statement of the text.
fn parsed(text: &str) -> Result<Statement, PgError> {
    let syntax = |error: affluent_lake::sql::sqlparser::parser::ParserError| {
        let message = error.to_string();
        PgError::new(code::SYNTAX, message.strip_prefix("sql parser error: ").unwrap_or(&message))
    };
    let dialect = PostgreSqlDialect {};
    let parser = Parser::new(&dialect).with_recursion_limit(NESTING_MAX).try_with_sql(text);
    let mut statements = parser.and_then(|mut parser| parser.parse_statements()).map_err(syntax)?;
    match (statements.pop(), statements.len()) {
        (Some(statement), 0) => Ok(statement),
        (Some(_), _) => {
            Err(PgError::new(code::SYNTAX, "cannot insert multiple commands into a prepared statement"))
        }
        (None, _) => Err(PgError::new(code::SYNTAX, "there is no statement")),
    }
}

#[cfg(test)]
mod tests;
