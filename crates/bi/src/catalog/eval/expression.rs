//! Settles expressions: what they name, what they are of.

use super::bind::{Binder, Scope, name, parts, unsupported};
use super::functions::{self, AGGREGATES};
use super::plan::{Aggregate, Arithmetic, Comparison, Expr, Pattern, Window};
use crate::catalog::value::{Kind, Scalar, Value};
use crate::error::{PgError, code};
use affluent_lake::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, DuplicateTreatment, Expr as Ast, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArguments, Ident, Subscript, TrimWhereField, UnaryOperator,
    Value as Literal, WindowType,
};

/// An expression and its kind.
type Typed = (Expr, Kind);

impl Binder<'_> {
    pub(super) fn expr(&mut self, expr: &Ast, scope: &Scope<'_>) -> Result<Typed, PgError> {
        self.count_expression()?;
        let one = |binder: &mut Self, expr: &Ast| binder.expr(expr, scope).map(|(expr, _)| Box::new(expr));
        let truth = |expr: Expr| Ok((expr, Kind::BOOL));
        match expr {
            Ast::Identifier(ident) => self.column(std::slice::from_ref(ident), scope),
            Ast::CompoundIdentifier(path) => self.column(path, scope),
            Ast::Nested(inner) | Ast::Collate { expr: inner, .. } => self.expr(inner, scope),
            Ast::Value(value) => self.literal(&value.value),
            Ast::TypedString(typed) => {
                let kind = Kind::named(&typed.data_type.to_string()).unwrap_or(Kind::TEXT);
                let (literal, from) = self.literal(&typed.value.value)?;
                Ok((Expr::Cast(Box::new(literal), from, kind), kind))
            }
            Ast::IsNull(inner) => truth(Expr::IsNull(one(self, inner)?)),
            Ast::IsNotNull(inner) => truth(not(Expr::IsNull(one(self, inner)?))),
            Ast::IsTrue(inner) => truth(Expr::Is(one(self, inner)?, true)),
            Ast::IsNotTrue(inner) => truth(not(Expr::Is(one(self, inner)?, true))),
            Ast::IsFalse(inner) => truth(Expr::Is(one(self, inner)?, false)),
            Ast::IsNotFalse(inner) => truth(not(Expr::Is(one(self, inner)?, false))),
            Ast::IsUnknown(inner) => truth(Expr::IsNull(one(self, inner)?)),
            Ast::IsNotUnknown(inner) => truth(not(Expr::IsNull(one(self, inner)?))),
            Ast::IsDistinctFrom(a, b) => truth(Expr::IsDistinct(one(self, a)?, one(self, b)?)),
            Ast::IsNotDistinctFrom(a, b) => truth(not(Expr::IsDistinct(one(self, a)?, one(self, b)?))),
            Ast::InList { expr, list, negated } => {
                let list =
                    list.iter().map(|item| Ok(self.expr(item, scope)?.0)).collect::<Result<_, PgError>>()?;
                truth(negate(Expr::InList(one(self, expr)?, list), *negated))
            }
            Ast::InSubquery { expr, subquery, negated } => {
                let query = self.query(subquery, Some(scope))?;
                let (left, right) = (one(self, expr)?, Box::new(Expr::ArrayOf(Box::new(query))));
                let comparison = Comparison::Equal;
                truth(negate(Expr::Quantified { comparison, left, right, all: false }, *negated))
            }
            Ast::Exists { subquery, negated } => {
                let query = self.query(subquery, Some(scope))?;
                truth(negate(Expr::Exists(Box::new(query)), *negated))
            }
            Ast::Subquery(subquery) => {
                let query = self.query(subquery, Some(scope))?;
                let kind = query.columns.first().map_or(Kind::TEXT, |(_, kind)| *kind);
                Ok((Expr::Scalar(Box::new(query)), kind))
            }
            Ast::Between { expr, negated, low, high } => {
                let low = Expr::Compare(Comparison::GreaterOrEqual, one(self, expr)?, one(self, low)?);
                let high = Expr::Compare(Comparison::LessOrEqual, one(self, expr)?, one(self, high)?);
                truth(negate(Expr::And(Box::new(low), Box::new(high)), *negated))
            }
            Ast::Like { negated, expr, pattern, any: false, .. } => {
                let pattern_kind = Pattern { is_regex: false, ignores_case: false, is_negated: *negated };
                truth(Expr::Compare(Comparison::Matches(pattern_kind), one(self, expr)?, one(self, pattern)?))
            }
            Ast::ILike { negated, expr, pattern, any: false, .. } => {
                let pattern_kind = Pattern { is_regex: false, ignores_case: true, is_negated: *negated };
                truth(Expr::Compare(Comparison::Matches(pattern_kind), one(self, expr)?, one(self, pattern)?))
            }
            Ast::AnyOp { left, compare_op, right, .. } => {
                self.quantified(left, compare_op, right, false, scope)
            }
            Ast::AllOp { left, compare_op, right } => self.quantified(left, compare_op, right, true, scope),
            Ast::UnaryOp { op, expr } => {
                let (inner, kind) = self.expr(expr, scope)?;
                match op {
                    UnaryOperator::Not => truth(not(inner)),
                    UnaryOperator::Plus => Ok((inner, kind)),
                    UnaryOperator::Minus => {
                        let zero = Box::new(Expr::Literal(Value::Int(0)));
                        Ok((Expr::Calculate(Arithmetic::Subtract, zero, Box::new(inner)), kind))
                    }
                    other => Err(unsupported(&format!("operator {other}"))),
                }
            }
            Ast::BinaryOp { left, op, right } => self.binary(left, op, right, scope),
            Ast::Cast { expr, data_type, .. } => {
                let named = data_type.to_string();
                let to = Kind::named(&named).ok_or_else(|| {
                    PgError::new(code::UNDEFINED_OBJECT, format!("type \"{named}\" does not exist"))
                })?;
                let (inner, from) = self.expr(expr, scope)?;
                Ok((Expr::Cast(Box::new(inner), from, to), to))
            }
            Ast::Case { operand, conditions, else_result, .. } => {
                let mut branches = Vec::new();
                let mut kind = Kind::UNKNOWN;
                for when in conditions {
                    let condition = match operand {
                        Some(operand) => {
                            let (operand, wanted) = (one(self, operand)?, one(self, &when.condition)?);
                            Expr::Compare(Comparison::Equal, operand, wanted)
                        }
                        None => self.expr(&when.condition, scope)?.0,
                    };
                    let (result, of) = self.expr(&when.result, scope)?;
                    kind = kind.or(of);
                    branches.push((condition, result));
                }
                let (otherwise, of) = match else_result {
                    Some(otherwise) => self.expr(otherwise, scope)?,
                    None => (Expr::Literal(Value::Null), Kind::UNKNOWN),
                };
                Ok((Expr::Case { branches, otherwise: Box::new(otherwise) }, kind.or(of)))
            }
            Ast::Array(array) => {
                let mut kind = Kind::UNKNOWN;
                let mut items = Vec::new();
                for item in &array.elem {
                    let (item, of) = self.expr(item, scope)?;
                    kind = kind.or(of);
                    items.push(item);
                }
                Ok((Expr::Array(items), kind.array()))
            }
            Ast::CompoundFieldAccess { root, access_chain } => self.access(root, access_chain, scope),
            Ast::Function(function) => self.function_call(function, scope),
            Ast::Substring { expr, substring_from, substring_for, .. } => {
                let args = [Some(expr), substring_from.as_ref(), substring_for.as_ref()];
                let args = args.into_iter().flatten().map(|arg| Ok(self.expr(arg, scope)?.0));
                let args = args.collect::<Result<Vec<_>, PgError>>()?;
                call("substring", args, &[])
            }
            Ast::Trim { trim_where, trim_what, expr, trim_characters } => {
                let called = match trim_where {
                    Some(TrimWhereField::Leading) => "ltrim",
                    Some(TrimWhereField::Trailing) => "rtrim",
                    Some(TrimWhereField::Both) | None => "btrim",
                };
                let what =
                    trim_what.as_deref().or_else(|| trim_characters.as_ref().and_then(|all| all.first()));
                let mut args = vec![self.expr(expr, scope)?.0];
                if let Some(what) = what {
                    args.push(self.expr(what, scope)?.0);
                }
                call(called, args, &[])
            }
            Ast::Position { expr, r#in } => {
                let args = vec![*one(self, r#in)?, *one(self, expr)?];
                call("strpos", args, &[])
            }
            other => Err(unsupported(&other.to_string())),
        }
    }

    fn literal(&mut self, value: &Literal) -> Result<Typed, PgError> {
        Ok(match value {
            Literal::Null => (Expr::Literal(Value::Null), Kind::UNKNOWN),
            Literal::Boolean(truth) => (Expr::Literal(Value::Bool(*truth)), Kind::BOOL),
            Literal::Number(digits, _) => {
                let digits = digits.to_string();
                match (digits.parse::<i64>(), digits.parse::<f64>()) {
                    (Ok(number), _) if i32::try_from(number).is_ok() => {
                        (Expr::Literal(Value::Int(number)), Kind::INT4)
                    }
                    (Ok(number), _) => (Expr::Literal(Value::Int(number)), Kind::INT8),
                    (Err(_), Ok(number)) => (Expr::Literal(Value::Float(number)), Kind::FLOAT8),
                    (Err(_), Err(_)) => {
                        return Err(PgError::new(code::SYNTAX, format!("{digits} is no number")));
                    }
                }
            }
            Literal::Placeholder(text) => {
                let place = text.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok());
                let place = place.and_then(|place| place.checked_sub(1)).filter(|place| *place < 65_535);
                let place = place.ok_or_else(|| PgError::new(code::SYNTAX, "parameters are $1, $2, …"))?;
                self.parameters = self.parameters.max(place + 1);
                (Expr::Parameter(place), Kind::UNKNOWN)
            }
            other => {
                let text = other.clone().into_string();
                let text = text.ok_or_else(|| unsupported(&other.to_string()))?;
                (Expr::Literal(Value::text(text)), Kind::UNKNOWN)
            }
        })
    }

    /// A column by its name, its table's and its schema's: the last two count.
    fn column(&mut self, path: &[Ident], scope: &Scope<'_>) -> Result<Typed, PgError> {
        let path: Vec<String> = path.iter().map(name).collect();
        let (wanted, table) = match path.as_slice() {
            [column] => (column, None),
            [.., table, column] => (column, Some(table)),
            [] => return Err(unsupported("an empty name")),
        };
        let (mut at, mut depth) = (Some(scope), 0);
        while let Some(visible) = at {
            let is_meant = |column: &super::bind::Visible| {
                column.name == *wanted && table.map_or(!column.is_hidden, |table| *table == column.table)
            };
            if let Some(place) = visible.columns.iter().position(is_meant) {
                self.uses.push((visible.level(), place));
                return Ok((Expr::Column { depth, place }, visible.columns[place].kind));
            }
            (at, depth) = (visible.parent, depth + 1);
        }
        // What PostgreSQL writes without parentheses.
        if table.is_none() && functions::BARE.contains(&wanted.as_str()) {
            return call(wanted, Vec::new(), &[]);
        }
        Err(PgError::new(code::UNDEFINED_COLUMN, format!("column \"{}\" does not exist", path.join("."))))
    }

    fn binary(
        &mut self,
        left: &Ast,
        op: &BinaryOperator,
        right: &Ast,
        scope: &Scope<'_>,
    ) -> Result<Typed, PgError> {
        let ((a, a_kind), (b, b_kind)) = (self.expr(left, scope)?, self.expr(right, scope)?);
        match op {
            BinaryOperator::And => return Ok((Expr::And(Box::new(a), Box::new(b)), Kind::BOOL)),
            BinaryOperator::Or => return Ok((Expr::Or(Box::new(a), Box::new(b)), Kind::BOOL)),
            BinaryOperator::StringConcat => {
                if a_kind.is_array || b_kind.is_array {
                    let kind = if a_kind.is_array { a_kind } else { b_kind };
                    return Ok((Expr::Concat(Box::new(a), Box::new(b)), kind));
                }
                return Ok((
                    Expr::Concat(Box::new(shown(a, a_kind)), Box::new(shown(b, b_kind))),
                    Kind::TEXT,
                ));
            }
            _ => {}
        }
        if let Some(comparison) = comparison(op) {
            let is_text = matches!(comparison, Comparison::Matches(_));
            let (a, b) = if is_text { (shown(a, a_kind), shown(b, b_kind)) } else { (a, b) };
            return Ok((Expr::Compare(comparison, Box::new(a), Box::new(b)), Kind::BOOL));
        }
        let arithmetic = match op {
            BinaryOperator::Plus => Arithmetic::Add,
            BinaryOperator::Minus => Arithmetic::Subtract,
            BinaryOperator::Multiply => Arithmetic::Multiply,
            BinaryOperator::Divide => Arithmetic::Divide,
            BinaryOperator::Modulo => Arithmetic::Modulo,
            BinaryOperator::BitwiseAnd => Arithmetic::And,
            BinaryOperator::BitwiseOr => Arithmetic::Or,
            other => return Err(unsupported(&format!("operator {other}"))),
        };
        let either = |wanted: &[Scalar]| wanted.contains(&a_kind.scalar) || wanted.contains(&b_kind.scalar);
        let kind = if either(&[Scalar::Float8]) {
            Kind::FLOAT8
        } else if either(&[Scalar::Int8, Scalar::Oid]) {
            Kind::INT8
        } else {
            Kind::INT4
        };
        Ok((Expr::Calculate(arithmetic, Box::new(a), Box::new(b)), kind))
    }

    fn quantified(
        &mut self,
        left: &Ast,
        op: &BinaryOperator,
        right: &Ast,
        all: bool,
        scope: &Scope<'_>,
    ) -> Result<Typed, PgError> {
        let comparison =
            comparison(op).ok_or_else(|| unsupported(&format!("operator {op} with ANY or ALL")))?;
        let (left, _) = self.expr(left, scope)?;
        let right = match right {
            Ast::Subquery(subquery) => Expr::ArrayOf(Box::new(self.query(subquery, Some(scope))?)),
            other => self.expr(other, scope)?.0,
        };
        let (left, right) = (Box::new(left), Box::new(right));
        Ok((Expr::Quantified { comparison, left, right, all }, Kind::BOOL))
    }

    /// Fields of records and items of arrays.
    fn access(&mut self, root: &Ast, chain: &[AccessExpr], scope: &Scope<'_>) -> Result<Typed, PgError> {
        let ((mut bound, mut kind), chain) = match (root, chain) {
            // `con.conkey[1]`: a column of a table. A field of a column has brackets around the column.
            (Ast::Identifier(table), [AccessExpr::Dot(Ast::Identifier(column)), rest @ ..]) => {
                (self.column(&[table.clone(), column.clone()], scope)?, rest)
            }
            _ => (self.expr(root, scope)?, chain),
        };
        for access in chain {
            (bound, kind) = match access {
                AccessExpr::Dot(Ast::Identifier(field)) => {
                    let field = name(field);
                    let mut fields: &[(&str, Kind)] = &[];
                    if let Expr::Set(inner) = &bound
                        && let Expr::Call(function, _) = inner.as_ref()
                    {
                        fields = function.fields;
                    }
                    let of = fields
                        .iter()
                        .find(|(name, _)| *name == field)
                        .map_or(Kind::UNKNOWN, |(_, kind)| *kind);
                    if let Expr::Set(inner) = bound {
                        (Expr::Set(Box::new(Expr::EachField(inner, field))), of)
                    } else {
                        (Expr::Field(Box::new(bound), field), of)
                    }
                }
                AccessExpr::Subscript(Subscript::Index { index }) => {
                    let (index, _) = self.expr(index, scope)?;
                    (Expr::Item(Box::new(bound), Box::new(index)), kind.element())
                }
                AccessExpr::Dot(other) => return Err(unsupported(&other.to_string())),
                AccessExpr::Subscript(other @ Subscript::Slice { .. }) => {
                    return Err(unsupported(&other.to_string()));
                }
            };
        }
        Ok((bound, kind))
    }

    fn function_call(&mut self, function: &Function, scope: &Scope<'_>) -> Result<Typed, PgError> {
        let called = parts(&function.name).pop().unwrap_or_default();
        let list = match &function.args {
            FunctionArguments::None => None,
            FunctionArguments::Subquery(subquery) => {
                // `ARRAY(SELECT …)`.
                let query = self.query(subquery, Some(scope))?;
                let kind = query.columns.first().map_or(Kind::TEXT, |(_, kind)| kind.array());
                return Ok((Expr::ArrayOf(Box::new(query)), kind));
            }
            FunctionArguments::List(list) => Some(list),
        };
        let (mut arguments, mut kinds) = (Vec::new(), Vec::new());
        for argument in list.iter().flat_map(|list| &list.args) {
            match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => {
                    let (bound, kind) = self.expr(expr, scope)?;
                    arguments.push(bound);
                    kinds.push(kind);
                }
                FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => {}
                other => return Err(unsupported(&other.to_string())),
            }
        }
        if called == "coalesce" {
            let kind = kinds.iter().fold(Kind::UNKNOWN, |kind, of| kind.or(*of));
            return Ok((Expr::Coalesce(arguments), kind));
        }
        if let Some(over) = &function.over {
            let WindowType::WindowSpec(spec) = over else { return Err(unsupported("a named window")) };
            if called != "row_number" {
                return Err(unsupported(&format!("{called}() OVER")));
            }
            let partition = spec.partition_by.iter().map(|by| Ok(self.expr(by, scope)?.0));
            let partition = partition.collect::<Result<Vec<_>, PgError>>()?;
            let order = self.keys(&spec.order_by, scope)?;
            let (aggregates, windows) =
                self.selects.last_mut().ok_or_else(|| unsupported("a window here"))?;
            windows.push(Window { partition, order });
            return Ok((Expr::Slot(aggregates.len() + windows.len() - 1), Kind::INT8));
        }
        if let Some(&name) = AGGREGATES.iter().find(|name| **name == called) {
            let clauses = list.map(|list| list.clauses.as_slice()).unwrap_or_default();
            let mut order = Vec::new();
            for clause in clauses {
                let FunctionArgumentClause::OrderBy(keys) = clause else {
                    return Err(unsupported(&clause.to_string()));
                };
                order = self.keys(keys, scope)?;
            }
            let filter = function.filter.as_ref().map(|filter| self.expr(filter, scope)).transpose()?;
            let is_distinct =
                list.is_some_and(|list| list.duplicate_treatment == Some(DuplicateTreatment::Distinct));
            let first = kinds.first().copied().unwrap_or(Kind::UNKNOWN);
            if name == "string_agg"
                && first.is_reg()
                && let Some(argument) = arguments.first_mut()
            {
                *argument = shown(argument.clone(), first);
            }
            let aggregate =
                Aggregate { name, arguments, is_distinct, order, filter: filter.map(|(expr, _)| expr) };
            let (aggregates, _) = self.selects.last_mut().ok_or_else(|| unsupported("an aggregate here"))?;
            aggregates.push(aggregate);
            return Ok((Expr::Slot(aggregates.len() - 1), functions::aggregate_kind(name, first)));
        }
        call(&called, arguments, &kinds)
    }
}

/// A call of a function of the catalogue.
fn call(called: &str, mut arguments: Vec<Expr>, kinds: &[Kind]) -> Result<Typed, PgError> {
    let function = functions::find(called).ok_or_else(|| functions::unknown(called))?;
    let kind = function.gives(kinds);
    if function.wants_text {
        for (argument, kind) in arguments.iter_mut().zip(kinds) {
            if kind.is_reg() {
                *argument = shown(argument.clone(), *kind);
            }
        }
    }
    let bound = Expr::Call(function, arguments);
    Ok(if function.is_set { (Expr::Set(Box::new(bound)), kind) } else { (bound, kind) })
}

/// The text of what shows as a name; anything else as it is.
fn shown(expr: Expr, kind: Kind) -> Expr {
    if kind.is_reg() { Expr::Cast(Box::new(expr), kind, Kind::TEXT) } else { expr }
}

fn not(expr: Expr) -> Expr {
    Expr::Not(Box::new(expr))
}

fn negate(expr: Expr, negated: bool) -> Expr {
    if negated { not(expr) } else { expr }
}

/// The comparison that an operator is, also one in `OPERATOR(pg_catalog.…)`.
fn comparison(op: &BinaryOperator) -> Option<Comparison> {
    let pattern = |is_regex, ignores_case, is_negated| {
        Some(Comparison::Matches(Pattern { is_regex, ignores_case, is_negated }))
    };
    match op {
        BinaryOperator::Eq => Some(Comparison::Equal),
        BinaryOperator::NotEq => Some(Comparison::NotEqual),
        BinaryOperator::Lt => Some(Comparison::Less),
        BinaryOperator::LtEq => Some(Comparison::LessOrEqual),
        BinaryOperator::Gt => Some(Comparison::Greater),
        BinaryOperator::GtEq => Some(Comparison::GreaterOrEqual),
        BinaryOperator::PGRegexMatch => pattern(true, false, false),
        BinaryOperator::PGRegexIMatch => pattern(true, true, false),
        BinaryOperator::PGRegexNotMatch => pattern(true, false, true),
        BinaryOperator::PGRegexNotIMatch => pattern(true, true, true),
        BinaryOperator::PGLikeMatch => pattern(false, false, false),
        BinaryOperator::PGILikeMatch => pattern(false, true, false),
        BinaryOperator::PGNotLikeMatch => pattern(false, false, true),
        BinaryOperator::PGNotILikeMatch => pattern(false, true, true),
        BinaryOperator::PGCustomBinaryOperator(path) => match path.last()?.as_str() {
            "=" => Some(Comparison::Equal),
            "<>" | "!=" => Some(Comparison::NotEqual),
            "~" => pattern(true, false, false),
            "~*" => pattern(true, true, false),
            "!~" => pattern(true, false, true),
            "!~*" => pattern(true, true, true),
            "~~" => pattern(false, false, false),
            "~~*" => pattern(false, true, false),
            "!~~" => pattern(false, false, true),
            "!~~*" => pattern(false, true, true),
            _ => None,
        },
        _ => None,
    }
}
