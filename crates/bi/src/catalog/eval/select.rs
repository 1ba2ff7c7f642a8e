//! Settles one `SELECT`: its tables, conditions, groups and columns.

use super::bind::{Binder, Bound, Scope, Visible, direction, name, parts, shown_key, unsupported};
use super::functions;
use super::plan::{Body, Conjunct, Direction, Expr, Join, Select, Side, Source, Step};
use crate::catalog::value::{Kind, Value};
use crate::error::{PgError, code};
use affluent_lake::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, Distinct, Expr as Ast, FunctionArg, FunctionArgExpr, GroupByExpr,
    JoinConstraint, JoinOperator, ObjectName, OrderByExpr, Select as AstSelect, SelectItem,
    SelectItemQualifiedWildcardKind, TableAlias, TableFactor, TableWithJoins, Value as Literal,
};

/// Tables that were joined so far.
#[derive(Default)]
struct Joined {
    steps: Vec<Step>,
    columns: Vec<Visible>,
}

impl Binder<'_> {
    pub(super) fn select(
        &mut self,
        select: &AstSelect,
        keys: &[(&Ast, Direction)],
        parent: Option<&Scope<'_>>,
    ) -> Result<Bound, PgError> {
        let mut joined = Joined::default();
        for table in &select.from {
            self.tables(table, &mut joined, parent)?;
        }
        let columns = joined.columns;
        let scope = Scope { columns: &columns, parent };
        let mut filters = Vec::new();
        if let Some(condition) = &select.selection {
            self.conjuncts(condition, &scope, &mut filters)?;
        }
        self.selects.push((Vec::new(), Vec::new()));
        let rest = self.outputs(select, keys, &scope);
        let (aggregates, windows) = self.selects.pop().unwrap_or_default();
        let mut rest = rest?;
        let count = aggregates.len();
        if !windows.is_empty() && (count > 0 || rest.has_groups) {
            return Err(unsupported("a window beside GROUP BY"));
        }
        let distinct = match &select.distinct {
            Some(Distinct::Distinct) => Some(rest.shown.len()),
            Some(Distinct::On(_) | Distinct::All) | None => None,
        };
        let mut distinct_on = Vec::new();
        if let Some(Distinct::On(exprs)) = &select.distinct {
            for expr in exprs {
                distinct_on.push(self.expr(expr, &scope)?.0);
            }
        }
        let bound = Select {
            from: joined.steps,
            filters,
            groups: std::mem::take(&mut rest.groups),
            is_grouped: count > 0 || rest.has_groups,
            aggregates,
            windows,
            having: rest.having,
            outputs: rest.outputs,
            distinct,
            distinct_on,
        };
        Ok((Body::Select(Box::new(bound)), rest.shown, rest.order))
    }

    fn outputs(
        &mut self,
        select: &AstSelect,
        keys: &[(&Ast, Direction)],
        scope: &Scope<'_>,
    ) -> Result<Outputs, PgError> {
        let (mut outputs, mut shown, mut written) = (Vec::new(), Vec::new(), Vec::new());
        for item in &select.projection {
            let (expr, alias) = match item {
                SelectItem::UnnamedExpr(expr) => (expr, title(expr)),
                SelectItem::ExprWithAlias { expr, alias } => (expr, name(alias)),
                SelectItem::Wildcard(_) => {
                    self.all(None, scope, &mut outputs, &mut shown, &mut written)?;
                    continue;
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(table), _) => {
                    let table = parts(table).pop();
                    self.all(table.as_deref(), scope, &mut outputs, &mut shown, &mut written)?;
                    continue;
                }
                other @ (SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::Expr(_), _)
                | SelectItem::ExprWithAliases { .. }) => return Err(unsupported(&other.to_string())),
            };
            let (bound, kind) = self.expr(expr, scope)?;
            outputs.push(bound);
            shown.push((alias, kind));
            written.push(Some(expr));
        }
        let GroupByExpr::Expressions(by, _) = &select.group_by else {
            return Err(unsupported("GROUP BY ALL"));
        };
        let mut groups = Vec::new();
        for expr in by {
            let bound = match shown_key(expr, &shown) {
                // A column of a table goes before one that is shown.
                Some(place) => match self.expr(expr, scope) {
                    Ok((bound, _)) if matches!(expr, Ast::Identifier(_)) => bound,
                    Ok(_) | Err(_) => outputs.get(place).cloned().unwrap_or(Expr::Literal(Value::Null)),
                },
                None => self.expr(expr, scope)?.0,
            };
            groups.push(bound);
        }
        let having = select.having.as_ref().map(|having| self.expr(having, scope)).transpose()?;
        let mut order = Vec::new();
        for (key, direction) in keys {
            let same = written.iter().position(|written: &Option<&Ast>| *written == Some(*key));
            let place = match shown_key(key, &shown).or(same) {
                Some(place) => place,
                None => {
                    outputs.push(self.expr(key, scope)?.0);
                    outputs.len() - 1
                }
            };
            order.push((place, *direction));
        }
        let has_groups = !groups.is_empty() || having.is_some();
        Ok(Outputs { outputs, shown, groups, has_groups, having: having.map(|(expr, _)| expr), order })
    }

    /// `*`, or `table.*`.
    fn all(
        &mut self,
        table: Option<&str>,
        scope: &Scope<'_>,
        outputs: &mut Vec<Expr>,
        shown: &mut Vec<(String, Kind)>,
        written: &mut Vec<Option<&Ast>>,
    ) -> Result<(), PgError> {
        let before = shown.len();
        for (place, column) in scope.columns.iter().enumerate() {
            if table.map_or(!column.is_hidden, |table| table == column.table) {
                outputs.push(Expr::Column { depth: 0, place });
                shown.push((column.name.clone(), column.kind));
                written.push(None);
            }
        }
        if shown.len() == before && table.is_some() {
            return Err(missing_table(table.unwrap_or_default()));
        }
        Ok(())
    }

    fn tables(
        &mut self,
        table: &TableWithJoins,
        joined: &mut Joined,
        parent: Option<&Scope<'_>>,
    ) -> Result<(), PgError> {
        let keeps_right = table
            .joins
            .iter()
            .any(|join| matches!(kind(&join.join_operator), Some((Join::Right | Join::Full, _))));
        if keeps_right && !joined.steps.is_empty() {
            // Rows that are added belong to this part alone.
            let mut part = Joined::default();
            self.tables(table, &mut part, parent)?;
            joined.push(Source::Joined(part.steps), part.columns, Join::Inner, false);
            return Ok(());
        }
        self.table(&table.relation, joined, Join::Inner, parent)?;
        for join in &table.joins {
            let (kind, constraint) =
                kind(&join.join_operator).ok_or_else(|| unsupported(&join.to_string()))?;
            let before = joined.columns.len();
            self.table(&join.relation, joined, kind, parent)?;
            let mut on = Vec::new();
            match constraint {
                Some(JoinConstraint::On(condition)) => {
                    let scope = Scope { columns: &joined.columns, parent };
                    self.conjuncts(condition, &scope, &mut on)?;
                }
                Some(JoinConstraint::Using(names)) => {
                    for wanted in names.iter().filter_map(|object| parts(object).pop()) {
                        on.push(joined.using(&wanted, before)?);
                    }
                }
                Some(JoinConstraint::Natural) => return Err(unsupported("NATURAL JOIN")),
                Some(JoinConstraint::None) | None => {}
            }
            if let Some(step) = joined.steps.last_mut() {
                step.on = on;
            }
        }
        Ok(())
    }

    fn table(
        &mut self,
        factor: &TableFactor,
        joined: &mut Joined,
        join: Join,
        parent: Option<&Scope<'_>>,
    ) -> Result<(), PgError> {
        match factor {
            TableFactor::Table { name: object, alias, args: None, .. } => {
                self.named(object, alias.as_ref(), joined, join)
            }
            TableFactor::Table { name: object, alias, args: Some(args), with_ordinality, .. } => {
                self.function(object, &args.args, *with_ordinality, alias.as_ref(), joined, join, parent)
            }
            TableFactor::Function { name: object, args, with_ordinality, alias, .. } => {
                self.function(object, args, *with_ordinality, alias.as_ref(), joined, join, parent)
            }
            TableFactor::UNNEST { alias, array_exprs, with_ordinality, .. } => {
                let unnamed = |expr: &Ast| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr.clone()));
                let args: Vec<FunctionArg> = array_exprs.iter().map(unnamed).collect();
                let unnest = ObjectName::from(vec!["unnest".into()]);
                self.function(&unnest, &args, *with_ordinality, alias.as_ref(), joined, join, parent)
            }
            TableFactor::Derived { lateral, subquery, alias, .. } => {
                let query = if *lateral {
                    let scope = Scope { columns: &joined.columns, parent };
                    self.query(subquery, Some(&scope))?
                } else {
                    self.query(subquery, parent)?
                };
                let columns = renamed(&query.columns, alias.as_ref(), "");
                joined.push(Source::Query(Box::new(query)), columns, join, *lateral);
                Ok(())
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                let mut part = Joined::default();
                self.tables(table_with_joins, &mut part, parent)?;
                let mut columns = part.columns;
                if let Some(alias) = alias {
                    columns.iter_mut().for_each(|column| column.table = name(&alias.name));
                }
                joined.push(Source::Joined(part.steps), columns, join, false);
                Ok(())
            }
            other => Err(unsupported(&other.to_string())),
        }
    }

    /// A table of the catalogue, or a common table expression.
    fn named(
        &mut self,
        object: &ObjectName,
        alias: Option<&TableAlias>,
        joined: &mut Joined,
        join: Join,
    ) -> Result<(), PgError> {
        let mut path = parts(object);
        let table = path.pop().unwrap_or_default();
        let schema = path.pop();
        let cte = self.ctes.iter().rposition(|(name, ..)| schema.is_none() && *name == table);
        if let Some(place) = cte {
            // It sees the ones before it.
            let later = self.ctes.split_off(place);
            let uses = std::mem::take(&mut self.uses);
            let bound = match later.first() {
                Some((_, query, names)) => self.query(query, None).map(|query| (query, names.clone())),
                None => Err(missing_table(&table)),
            };
            self.ctes.extend(later);
            self.uses = uses;
            let (query, names) = bound?;
            let mut columns = renamed(&query.columns, alias, &table);
            if alias.is_none_or(|alias| alias.columns.is_empty()) {
                columns.iter_mut().zip(names).for_each(|(column, name)| column.name = name);
            }
            joined.push(Source::Query(Box::new(query)), columns, join, false);
            return Ok(());
        }
        let relation = self.relations.find(schema.as_deref(), &table).ok_or_else(|| missing_table(&table))?;
        let columns = renamed(&relation.columns, alias, &table);
        joined.push(Source::Relation(relation), columns, join, false);
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a table's place in the statement")]
    fn function(
        &mut self,
        object: &ObjectName,
        args: &[FunctionArg],
        with_ordinality: bool,
        alias: Option<&TableAlias>,
        joined: &mut Joined,
        join: Join,
        parent: Option<&Scope<'_>>,
    ) -> Result<(), PgError> {
        let called = parts(object).pop().unwrap_or_default();
        let function = functions::find(&called).ok_or_else(|| functions::unknown(&called))?;
        let scope = Scope { columns: &joined.columns, parent };
        let (mut arguments, mut kinds) = (Vec::new(), Vec::new());
        for arg in args {
            let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = arg else {
                return Err(unsupported(&arg.to_string()));
            };
            let (bound, kind) = self.expr(expr, &scope)?;
            arguments.push(bound);
            kinds.push(kind);
        }
        let shown = alias.map_or_else(|| called.clone(), |alias| name(&alias.name));
        let mut columns: Vec<(String, Kind)> = match function.fields {
            [] => vec![(shown, function.gives(&kinds))],
            fields => fields.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect(),
        };
        if with_ordinality {
            columns.push(("ordinality".to_owned(), Kind::INT8));
        }
        let columns = renamed(&columns, alias, &called);
        let call = Expr::Call(function, arguments);
        let source = Source::Function { call, fields: function.fields.len(), with_ordinality };
        joined.push(source, columns, join, true);
        Ok(())
    }

    /// The conditions that are joined by `AND`.
    fn conjuncts(
        &mut self,
        condition: &Ast,
        scope: &Scope<'_>,
        found: &mut Vec<Conjunct>,
    ) -> Result<(), PgError> {
        match condition {
            Ast::Nested(inner) => return self.conjuncts(inner, scope, found),
            Ast::BinaryOp { left, op: BinaryOperator::And, right } => {
                self.conjuncts(left, scope, found)?;
                return self.conjuncts(right, scope, found);
            }
            _ => {}
        }
        let (expr, from, to) = self.used(condition, scope)?;
        debug_assert!(from <= to, "a span of columns");
        let sides = match condition {
            Ast::BinaryOp { left, op: BinaryOperator::Eq, right } => {
                let (left, right) = (self.used(left, scope)?, self.used(right, scope)?);
                let side = |(expr, from, to): (Expr, usize, usize)| Side { expr, from, to };
                Some(Box::new((side(left), side(right))))
            }
            _ => None,
        };
        found.push(Conjunct { expr, needs: to, sides });
        Ok(())
    }

    /// An expression, and the span of the columns of this query that it uses.
    fn used(&mut self, expr: &Ast, scope: &Scope<'_>) -> Result<(Expr, usize, usize), PgError> {
        let (before, level) = (self.uses.len(), scope.level());
        let (bound, _) = self.expr(expr, scope)?;
        let places = self.uses.get(before..).unwrap_or_default().iter();
        let places: Vec<usize> = places.filter(|(at, _)| *at == level).map(|(_, place)| *place).collect();
        let from = places.iter().min().copied().unwrap_or(0);
        Ok((bound, from, places.iter().max().map_or(0, |place| place + 1)))
    }

    /// Keys by which an aggregate or a window is ordered.
    pub(super) fn keys(
        &mut self,
        keys: &[OrderByExpr],
        scope: &Scope<'_>,
    ) -> Result<Vec<(Expr, Direction)>, PgError> {
        keys.iter().map(|key| Ok((self.expr(&key.expr, scope)?.0, direction(&key.options)))).collect()
    }
}

struct Outputs {
    outputs: Vec<Expr>,
    shown: Vec<(String, Kind)>,
    groups: Vec<Expr>,
    has_groups: bool,
    having: Option<Expr>,
    order: Vec<(usize, Direction)>,
}

impl Joined {
    fn push(&mut self, source: Source, columns: Vec<Visible>, join: Join, is_lateral: bool) {
        self.steps.push(Step { source, width: columns.len(), join, on: Vec::new(), is_lateral });
        self.columns.extend(columns);
    }

    /// Both columns of a name are equal; the second is not shown.
    fn using(&mut self, wanted: &str, before: usize) -> Result<Conjunct, PgError> {
        let at = |columns: &[Visible]| columns.iter().position(|column| column.name == wanted);
        let (left, right) = self.columns.split_at(before);
        let (Some(a), Some(b)) = (at(left), at(right)) else {
            return Err(PgError::new(
                code::INVALID_QUERY,
                format!("column \"{wanted}\" of USING is not in both tables"),
            ));
        };
        let b = before + b;
        self.columns[b].is_hidden = true;
        let side = |place: usize| Side { expr: Expr::Column { depth: 0, place }, from: place, to: place + 1 };
        let (a, b) = (side(a), side(b));
        let equal = super::plan::Comparison::Equal;
        let expr = Expr::Compare(equal, Box::new(a.expr.clone()), Box::new(b.expr.clone()));
        Ok(Conjunct { expr, needs: b.to, sides: Some(Box::new((a, b))) })
    }
}

/// The columns of a table under its alias.
fn renamed(columns: &[(String, Kind)], alias: Option<&TableAlias>, table: &str) -> Vec<Visible> {
    let table = alias.map_or_else(|| table.to_owned(), |alias| name(&alias.name));
    let names = alias.map(|alias| alias.columns.as_slice()).unwrap_or_default();
    let column = |(place, (own, kind)): (usize, &(String, Kind))| {
        let name = names.get(place).map_or_else(|| own.clone(), |column| name(&column.name));
        Visible { table: table.clone(), name, kind: *kind, is_hidden: false }
    };
    columns.iter().enumerate().map(column).collect()
}

/// How a join keeps rows, and on what.
fn kind(operator: &JoinOperator) -> Option<(Join, Option<&JoinConstraint>)> {
    Some(match operator {
        JoinOperator::Join(on) | JoinOperator::Inner(on) | JoinOperator::CrossJoin(on) => {
            (Join::Inner, Some(on))
        }
        JoinOperator::Left(on) | JoinOperator::LeftOuter(on) => (Join::Left, Some(on)),
        JoinOperator::Right(on) | JoinOperator::RightOuter(on) => (Join::Right, Some(on)),
        JoinOperator::FullOuter(on) => (Join::Full, Some(on)),
        _ => return None,
    })
}

/// The name that PostgreSQL gives a column without an alias.
fn title(expr: &Ast) -> String {
    match expr {
        Ast::Identifier(ident) => name(ident),
        Ast::CompoundIdentifier(parts) => parts.last().map(name).unwrap_or_default(),
        Ast::Function(function) => parts(&function.name).pop().unwrap_or_default(),
        Ast::Cast { expr, data_type, .. } => match title(expr) {
            unnamed if unnamed == "?column?" => data_type.to_string().to_lowercase(),
            named => named,
        },
        Ast::Nested(inner) | Ast::Collate { expr: inner, .. } => title(inner),
        Ast::CompoundFieldAccess { access_chain, root } => match access_chain.last() {
            Some(AccessExpr::Dot(field)) => title(field),
            Some(AccessExpr::Subscript(_)) | None => title(root),
        },
        Ast::Case { .. } => "case".to_owned(),
        Ast::Exists { .. } => "exists".to_owned(),
        Ast::Array(_) => "array".to_owned(),
        Ast::Value(value) if matches!(value.value, Literal::Boolean(_)) => "bool".to_owned(),
        _ => "?column?".to_owned(),
    }
}

fn missing_table(table: &str) -> PgError {
    PgError::new(code::UNDEFINED_TABLE, format!("relation \"{table}\" does not exist in the catalogue"))
}
