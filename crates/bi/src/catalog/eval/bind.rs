//! Settles the names and kinds of a statement: queries, what is visible in them, their order.

use super::plan::{Aggregate, Body, Direction, Expr, Query, SetOperation, Window};
use crate::catalog::relations::Relations;
use crate::catalog::value::Kind;
use crate::error::{PgError, code};
use affluent_lake::sql::sqlparser::ast::{
    Expr as Ast, Ident, LimitClause, ObjectName, OrderByKind, OrderByOptions, Query as AstQuery, SetExpr,
    SetOperator, SetQuantifier, Value as Literal,
};

/// Queries inside of each other at most.
const DEPTH_MAX: usize = 40;
/// Queries of a statement at most; a common table expression is one wherever it is named.
const QUERIES_MAX: usize = 1_000;
/// Expressions of a statement at most; some are read more than once.
const EXPRESSIONS_MAX: usize = 500_000;

/// A statement that was understood, and how many parameters it has.
pub(crate) fn bind(relations: &Relations, query: &AstQuery) -> Result<(Query, usize), PgError> {
    let mut binder = Binder {
        relations,
        ctes: Vec::new(),
        selects: Vec::new(),
        uses: Vec::new(),
        parameters: 0,
        depth: 0,
        queries: 0,
        expressions: 0,
    };
    let bound = binder.query(query, None)?;
    Ok((bound, binder.parameters))
}

pub(super) struct Binder<'a> {
    pub(super) relations: &'a Relations,
    /// Common table expressions by name, the innermost last.
    pub(super) ctes: Vec<(String, AstQuery, Vec<String>)>,
    /// Aggregates and windows of the queries that are being read.
    pub(super) selects: Vec<(Vec<Aggregate>, Vec<Window>)>,
    /// Columns that were named: level of their query, place.
    pub(super) uses: Vec<(usize, usize)>,
    pub(super) parameters: usize,
    depth: usize,
    /// Queries that were read so far.
    queries: usize,
    expressions: usize,
}

/// A column that can be named.
#[derive(Debug, Clone)]
pub(super) struct Visible {
    pub(super) table: String,
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Of `USING`: the other one is meant.
    pub(super) is_hidden: bool,
}

#[derive(Clone, Copy)]
pub(super) struct Scope<'s> {
    pub(super) columns: &'s [Visible],
    pub(super) parent: Option<&'s Scope<'s>>,
}

impl Scope<'_> {
    pub(super) fn level(&self) -> usize {
        self.parent.map_or(0, |parent| parent.level() + 1)
    }
}

/// Rows of a part of a query: what makes them, their columns, and the keys of the order.
pub(super) type Bound = (Body, Vec<(String, Kind)>, Vec<(usize, Direction)>);

impl Binder<'_> {
    /// Counts one more expression.
    pub(super) fn count_expression(&mut self) -> Result<(), PgError> {
        self.expressions += 1;
        if self.expressions > EXPRESSIONS_MAX {
            return Err(PgError::new(code::LIMIT_EXCEEDED, "the statement has too many expressions"));
        }
        Ok(())
    }

    pub(super) fn query(&mut self, query: &AstQuery, parent: Option<&Scope<'_>>) -> Result<Query, PgError> {
        if self.depth >= DEPTH_MAX {
            return Err(PgError::new(code::LIMIT_EXCEEDED, "the statement is nested too deeply"));
        }
        if self.queries >= QUERIES_MAX {
            return Err(PgError::new(
                code::LIMIT_EXCEEDED,
                "the statement has too many queries inside of each other",
            ));
        }
        self.depth += 1;
        self.queries += 1;
        let visible = self.ctes.len();
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            let columns = cte.alias.columns.iter().map(|column| name(&column.name)).collect();
            self.ctes.push((name(&cte.alias.name), (*cte.query).clone(), columns));
        }
        let bound = self.ordered(query, parent);
        self.ctes.truncate(visible);
        self.depth -= 1;
        bound
    }

    fn ordered(&mut self, query: &AstQuery, parent: Option<&Scope<'_>>) -> Result<Query, PgError> {
        let keys: Vec<(&Ast, Direction)> = match query.order_by.as_ref().map(|order| &order.kind) {
            Some(OrderByKind::Expressions(keys)) => {
                keys.iter().map(|key| (&key.expr, direction(&key.options))).collect()
            }
            Some(OrderByKind::All(_)) => return Err(unsupported("ORDER BY ALL")),
            None => Vec::new(),
        };
        let (body, columns, order) = self.body(&query.body, &keys, parent)?;
        let empty = Scope { columns: &[], parent };
        let (limit, offset) = match &query.limit_clause {
            None => (None, None),
            Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                (limit.as_ref(), offset.as_ref().map(|offset| &offset.value))
            }
            Some(LimitClause::OffsetCommaLimit { offset, limit }) => (Some(limit), Some(offset)),
        };
        let limit = limit.or_else(|| query.fetch.as_ref().and_then(|fetch| fetch.quantity.as_ref()));
        let mut count = |expr: Option<&Ast>| expr.map(|expr| self.expr(expr, &empty)).transpose();
        let (limit, offset) = (count(limit)?.map(|(expr, _)| expr), count(offset)?.map(|(expr, _)| expr));
        Ok(Query { body, order, limit, offset, columns })
    }

    fn body(
        &mut self,
        body: &SetExpr,
        keys: &[(&Ast, Direction)],
        parent: Option<&Scope<'_>>,
    ) -> Result<Bound, PgError> {
        match body {
            SetExpr::Select(select) => self.select(select, keys, parent),
            SetExpr::Query(query) => {
                let query = self.query(query, parent)?;
                let columns = query.columns.clone();
                let order = shown_keys(keys, &columns)?;
                Ok((Body::Query(Box::new(query)), columns, order))
            }
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                let (left, columns, _) = self.body(left, &[], parent)?;
                let (right, others, _) = self.body(right, &[], parent)?;
                if columns.len() != others.len() {
                    return Err(PgError::new(
                        code::SYNTAX,
                        "each UNION query must have the same number of columns",
                    ));
                }
                let operator = match op {
                    SetOperator::Union => SetOperation::Union,
                    SetOperator::Except | SetOperator::Minus => SetOperation::Except,
                    SetOperator::Intersect => SetOperation::Intersect,
                };
                let all = matches!(set_quantifier, SetQuantifier::All);
                let kinds =
                    columns.into_iter().zip(others).map(|((name, kind), (_, other))| (name, kind.or(other)));
                let columns: Vec<_> = kinds.collect();
                let order = shown_keys(keys, &columns)?;
                Ok((
                    Body::Set { operator, all, left: Box::new(left), right: Box::new(right) },
                    columns,
                    order,
                ))
            }
            SetExpr::Values(values) => {
                let scope = Scope { columns: &[], parent };
                let mut rows: Vec<Vec<Expr>> = Vec::new();
                let mut columns: Vec<(String, Kind)> = Vec::new();
                for row in &values.rows {
                    let row: &Vec<Ast> = row;
                    let bound =
                        row.iter().map(|expr| self.expr(expr, &scope)).collect::<Result<Vec<_>, _>>()?;
                    for (place, (_, kind)) in bound.iter().enumerate() {
                        match columns.get_mut(place) {
                            Some(column) => column.1 = column.1.or(*kind),
                            None => columns.push((format!("column{}", place + 1), *kind)),
                        }
                    }
                    rows.push(bound.into_iter().map(|(expr, _)| expr).collect());
                }
                if rows.iter().any(|row| row.len() != columns.len()) {
                    return Err(PgError::new(code::SYNTAX, "VALUES lists must all be the same length"));
                }
                let order = shown_keys(keys, &columns)?;
                Ok((Body::Values(rows), columns, order))
            }
            other => Err(unsupported(&other.to_string())),
        }
    }
}

/// Keys of an order that name columns which are shown.
fn shown_keys(
    keys: &[(&Ast, Direction)],
    columns: &[(String, Kind)],
) -> Result<Vec<(usize, Direction)>, PgError> {
    let place =
        |key: &Ast| shown_key(key, columns).ok_or_else(|| unsupported(&format!("ORDER BY {key} here")));
    keys.iter().map(|(key, direction)| Ok((place(key)?, *direction))).collect()
}

/// The place of the shown column that a key is: its number, or its name.
pub(super) fn shown_key(key: &Ast, columns: &[(String, Kind)]) -> Option<usize> {
    match key {
        Ast::Value(value) => {
            let Literal::Number(number, _) = &value.value else { return None };
            let place = number.to_string().parse::<usize>().ok()?.checked_sub(1)?;
            (place < columns.len()).then_some(place)
        }
        Ast::Identifier(ident) => {
            let wanted = name(ident);
            columns.iter().position(|(column, _)| *column == wanted)
        }
        _ => None,
    }
}

pub(super) fn direction(options: &OrderByOptions) -> Direction {
    let is_descending = options.asc == Some(false);
    Direction { is_descending, nulls_first: options.nulls_first.unwrap_or(is_descending) }
}

/// A name as PostgreSQL folds it.
pub(crate) fn name(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// The parts of a name.
pub(crate) fn parts(object: &ObjectName) -> Vec<String> {
    object.0.iter().filter_map(|part| part.as_ident()).map(name).collect()
}

pub(super) fn unsupported(what: &str) -> PgError {
    let what: String = what.chars().take(200).collect();
    PgError::new(code::NOT_SUPPORTED, format!("not supported over the catalogue: {what}"))
}
