//! Makes the rows of a statement over the catalogue.

use super::plan::{
    Aggregate, Arithmetic, Body, Comparison, Direction, Expr, Pattern, Query, Select, SetOperation,
};
use crate::catalog::relations::Relations;
use crate::catalog::value::Value;
use crate::error::{PgError, code};
use crate::session::Who;
use regex::{Regex, RegexBuilder};
use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Values of rows that a statement may look at: as many are in memory at most. A long text is many.
const STEPS_MAX: u64 = 8_000_000;
/// Expressions after which it is asked whether anybody still waits.
const UNASKED: u64 = 10_000;
/// What reading a regular expression counts as.
const REGEX_STEPS: usize = 2_000;
/// Regular expressions that are kept.
const REGEXES_MAX: usize = 100;
/// Bytes of a compiled regular expression.
const REGEX_BYTES_MAX: usize = 1 << 20;

pub(super) type Row = Vec<Value>;

/// What a statement sees while it runs.
pub(crate) struct Run<'a> {
    pub(crate) relations: &'a Relations,
    pub(crate) who: &'a Who,
    pub(crate) parameters: &'a [Value],
    steps: Cell<u64>,
    /// Expressions whose value was made.
    done: Cell<u64>,
    regexes: RefCell<HashMap<(String, bool), Regex>>,
    stop: CancellationToken,
}

/// The row of a query, and of those around it.
#[derive(Clone, Copy)]
pub(super) struct Frame<'f> {
    pub(super) row: &'f [Value],
    pub(super) slots: &'f [Value],
    pub(super) parent: Option<&'f Frame<'f>>,
}

/// The rows of a statement; only the columns that are shown.
pub(crate) fn run(query: &Query, run: &Run<'_>) -> Result<Vec<Row>, PgError> {
    let mut rows = run.query(query, None)?;
    rows.iter_mut().for_each(|row| row.truncate(query.columns.len()));
    Ok(rows)
}

impl<'a> Run<'a> {
    pub(crate) fn new(relations: &'a Relations, who: &'a Who, parameters: &'a [Value]) -> Self {
        let (steps, done, regexes) = (Cell::new(0), Cell::new(0), RefCell::default());
        Run { relations, who, parameters, steps, done, regexes, stop: CancellationToken::new() }
    }

    /// Nobody waits for the rows once `stop` is cancelled.
    pub(crate) fn until(self, stop: CancellationToken) -> Self {
        Run { stop, ..self }
    }

    /// Schemas in which names without one are looked up.
    pub(super) fn search_path(&self) -> Vec<String> {
        crate::catalog::search_path(self.who)
    }

    /// Counts the values of a row that was looked at.
    pub(super) fn step(&self, values: usize) -> Result<(), PgError> {
        let steps = self.steps.get().saturating_add(values.max(1) as u64);
        self.steps.set(steps);
        if steps > STEPS_MAX {
            return Err(PgError::new(
                code::LIMIT_EXCEEDED,
                "the statement over the catalogue looks at too many rows",
            ));
        }
        Ok(())
    }

    /// Ends what nobody waits for any more.
    fn ask(&self) -> Result<(), PgError> {
        let done = self.done.get().wrapping_add(1);
        self.done.set(done);
        if done.is_multiple_of(UNASKED) && self.stop.is_cancelled() {
            return Err(PgError::new(code::CANCELLED, "nobody waits for the rows any more"));
        }
        Ok(())
    }

    /// Counts what a value holds.
    fn weigh(&self, value: &Value) -> Result<(), PgError> {
        self.step(usize::try_from(value.weight(STEPS_MAX)).unwrap_or(usize::MAX))
    }

    /// Counts a text before it is made, whose pieces are so long.
    pub(super) fn will_make(&self, pieces: usize, bytes: usize) -> Result<(), PgError> {
        self.step(pieces.saturating_mul(bytes) / 16)
    }

    pub(super) fn query(&self, query: &Query, outer: Option<&Frame<'_>>) -> Result<Vec<Row>, PgError> {
        let mut rows = self.body(&query.body, outer)?;
        if !query.order.is_empty() {
            rows.sort_by(|a, b| {
                let mut orders = query.order.iter().map(|(place, direction)| {
                    let null = &Value::Null;
                    ordered(a.get(*place).unwrap_or(null), b.get(*place).unwrap_or(null), *direction)
                });
                orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
            });
        }
        let empty = Frame { row: &[], slots: &[], parent: outer };
        let count = |expr: &Option<Expr>| match expr {
            Some(expr) => Ok::<_, PgError>(self.value(expr, &empty)?.integer()),
            None => Ok(None),
        };
        if let Some(offset) = count(&query.offset)?.and_then(|count| usize::try_from(count).ok()) {
            rows.drain(..offset.min(rows.len()));
        }
        if let Some(limit) = count(&query.limit)?.and_then(|count| usize::try_from(count).ok()) {
            rows.truncate(limit);
        }
        rows.iter_mut().for_each(|row| row.truncate(query.columns.len()));
        Ok(rows)
    }

    fn body(&self, body: &Body, outer: Option<&Frame<'_>>) -> Result<Vec<Row>, PgError> {
        match body {
            Body::Select(select) => self.select(select, outer),
            Body::Query(query) => self.query(query, outer),
            Body::Values(rows) => {
                let frame = Frame { row: &[], slots: &[], parent: outer };
                rows.iter().map(|row| row.iter().map(|expr| self.value(expr, &frame)).collect()).collect()
            }
            Body::Set { operator, all, left, right } => {
                let (mut rows, others) = (self.body(left, outer)?, self.body(right, outer)?);
                match operator {
                    SetOperation::Union => rows.extend(others),
                    SetOperation::Except | SetOperation::Intersect => {
                        let others: HashSet<String> = others.iter().map(|row| key(row)).collect();
                        let wanted = *operator == SetOperation::Intersect;
                        rows.retain(|row| others.contains(&key(row)) == wanted);
                    }
                }
                if !all {
                    distinct(&mut rows, usize::MAX);
                }
                Ok(rows)
            }
        }
    }

    fn select(&self, select: &Select, outer: Option<&Frame<'_>>) -> Result<Vec<Row>, PgError> {
        let rows = self.from(&select.from, outer, &select.filters)?;
        let rows: Vec<(Row, Row)> = if select.is_grouped {
            self.grouped(select, rows, outer)?
        } else {
            let slots = self.windows(select, &rows, outer)?;
            rows.into_iter().zip(slots).collect()
        };
        let mut made = Vec::with_capacity(rows.len());
        let mut seen = HashSet::new();
        for (row, slots) in &rows {
            let frame = Frame { row, slots, parent: outer };
            if let Some(having) = &select.having
                && self.value(having, &frame)?.truth() != Some(true)
            {
                continue;
            }
            if !select.distinct_on.is_empty() {
                let on = select
                    .distinct_on
                    .iter()
                    .map(|expr| self.value(expr, &frame))
                    .collect::<Result<Row, _>>()?;
                if !seen.insert(key(&on)) {
                    continue;
                }
            }
            self.output(&select.outputs, &frame, &mut made)?;
        }
        if let Some(shown) = select.distinct {
            distinct(&mut made, shown);
        }
        Ok(made)
    }

    /// The columns of one row; sets make several rows, as many as the longest has items.
    fn output(&self, outputs: &[Expr], frame: &Frame<'_>, made: &mut Vec<Row>) -> Result<(), PgError> {
        let mut row = Vec::with_capacity(outputs.len());
        let mut sets = Vec::new();
        for (place, expr) in outputs.iter().enumerate() {
            if let Expr::Set(inner) = expr {
                sets.push((place, self.value(inner, frame)?.items()));
                row.push(Value::Null);
            } else {
                row.push(self.value(expr, frame)?);
            }
        }
        if sets.is_empty() {
            made.push(row);
            return Ok(());
        }
        let longest = sets.iter().map(|(_, items)| items.len()).max().unwrap_or(0);
        for item in 0..longest {
            self.step(outputs.len())?;
            let mut row = row.clone();
            for (place, items) in &sets {
                row[*place] = items.get(item).cloned().unwrap_or(Value::Null);
            }
            made.push(row);
        }
        Ok(())
    }

    /// One row of each group, and the values of its aggregates.
    fn grouped(
        &self,
        select: &Select,
        rows: Vec<Row>,
        outer: Option<&Frame<'_>>,
    ) -> Result<Vec<(Row, Row)>, PgError> {
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut groups: Vec<Vec<Row>> = Vec::new();
        for row in rows {
            let frame = Frame { row: &row, slots: &[], parent: outer };
            let by = select.groups.iter().map(|expr| self.value(expr, &frame)).collect::<Result<Row, _>>()?;
            let place = *places.entry(key(&by)).or_insert(groups.len());
            match groups.get_mut(place) {
                Some(group) => group.push(row),
                None => groups.push(vec![row]),
            }
        }
        if groups.is_empty() && select.groups.is_empty() {
            groups.push(Vec::new());
        }
        let width = select.from.iter().map(|step| step.width).sum();
        let mut made = Vec::with_capacity(groups.len());
        for group in groups {
            let slots = select.aggregates.iter().map(|aggregate| self.aggregate(aggregate, &group, outer));
            let slots = slots.collect::<Result<Row, _>>()?;
            made.push((group.into_iter().next().unwrap_or_else(|| vec![Value::Null; width]), slots));
        }
        Ok(made)
    }

    fn aggregate(
        &self,
        aggregate: &Aggregate,
        rows: &[Row],
        outer: Option<&Frame<'_>>,
    ) -> Result<Value, PgError> {
        let mut taken: Vec<(Row, Row)> = Vec::new();
        for row in rows {
            let frame = Frame { row, slots: &[], parent: outer };
            if let Some(filter) = &aggregate.filter
                && self.value(filter, &frame)?.truth() != Some(true)
            {
                continue;
            }
            let values = aggregate
                .arguments
                .iter()
                .map(|expr| self.value(expr, &frame))
                .collect::<Result<Row, _>>()?;
            let order = aggregate.order.iter().map(|(expr, _)| self.value(expr, &frame));
            taken.push((order.collect::<Result<Row, _>>()?, values));
        }
        taken.sort_by(|(a, _), (b, _)| {
            let pairs = a.iter().zip(b).zip(&aggregate.order);
            let mut orders = pairs.map(|((a, b), (_, direction))| ordered(a, b, *direction));
            orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        });
        let mut values: Vec<Row> = taken.into_iter().map(|(_, values)| values).collect();
        if aggregate.is_distinct {
            distinct(&mut values, usize::MAX);
        }
        if aggregate.arguments.is_empty() {
            return Ok(Value::Int(values.len() as i64));
        }
        let between = values.first().and_then(|row| row.get(1)).and_then(Value::to_text).unwrap_or_default();
        let all: Vec<Value> = values.into_iter().filter_map(|row| row.into_iter().next()).collect();
        let known: Vec<Value> = all.iter().filter(|value| !value.is_null()).cloned().collect();
        if known.is_empty() && !matches!(aggregate.name, "count" | "array_agg") {
            return Ok(Value::Null);
        }
        let extreme = |wanted: Ordering| {
            let better = |a: Value, b: &Value| if b.compare(&a) == Some(wanted) { b.clone() } else { a };
            known.iter().skip(1).fold(known.first().cloned().unwrap_or(Value::Null), better)
        };
        Ok(match aggregate.name {
            "count" => Value::Int(known.len() as i64),
            "min" => extreme(Ordering::Less),
            "max" => extreme(Ordering::Greater),
            "sum" => {
                let whole: Option<i64> =
                    known.iter().map(Value::integer).try_fold(0_i64, |sum, n| sum.checked_add(n?));
                whole.map_or(Value::Null, Value::Int)
            }
            "array_agg" if all.is_empty() => Value::Null,
            "array_agg" => {
                let array = Value::array(all);
                self.weigh(&array)?;
                array
            }
            "string_agg" => {
                known.iter().try_for_each(|value| self.weigh(value))?;
                self.will_make(known.len(), between.len())?;
                Value::text(known.iter().filter_map(Value::to_text).collect::<Vec<_>>().join(&between))
            }
            "bool_or" => Value::Bool(known.iter().any(|value| value.truth() == Some(true))),
            "bool_and" | "every" => Value::Bool(known.iter().all(|value| value.truth() == Some(true))),
            other => return Err(super::bind::unsupported(&format!("{other}()"))),
        })
    }

    /// The number of each row in its part, for each window.
    fn windows(&self, select: &Select, rows: &[Row], outer: Option<&Frame<'_>>) -> Result<Vec<Row>, PgError> {
        let mut slots = vec![Vec::new(); rows.len()];
        for window in &select.windows {
            let mut keyed = Vec::with_capacity(rows.len());
            for (place, row) in rows.iter().enumerate() {
                let frame = Frame { row, slots: &[], parent: outer };
                let part = window
                    .partition
                    .iter()
                    .map(|expr| self.value(expr, &frame))
                    .collect::<Result<Row, _>>()?;
                let order = window
                    .order
                    .iter()
                    .map(|(expr, _)| self.value(expr, &frame))
                    .collect::<Result<Row, _>>()?;
                keyed.push((key(&part), order, place));
            }
            keyed.sort_by(|(part_a, a, _), (part_b, b, _)| {
                let pairs = a.iter().zip(b).zip(&window.order);
                let mut orders = pairs.map(|((a, b), (_, direction))| ordered(a, b, *direction));
                part_a.cmp(part_b).then_with(|| orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal))
            });
            let (mut number, mut before) = (0, None);
            for (part, _, place) in &keyed {
                number = if before == Some(part) { number + 1 } else { 1 };
                before = Some(part);
                slots[*place].push(Value::Int(number));
            }
        }
        Ok(slots)
    }

    /// The value of an expression for a row.
    pub(super) fn value(&self, expr: &Expr, frame: &Frame<'_>) -> Result<Value, PgError> {
        self.ask()?;
        let truth = |truth: Option<bool>| truth.map_or(Value::Null, Value::Bool);
        Ok(match expr {
            Expr::Literal(value) => value.clone(),
            Expr::Parameter(place) => self.parameters.get(*place).cloned().unwrap_or(Value::Null),
            Expr::Column { depth, place } => column(frame, *depth, *place),
            Expr::Slot(place) => frame.slots.get(*place).cloned().unwrap_or(Value::Null),
            Expr::Not(inner) => truth(self.value(inner, frame)?.truth().map(|truth| !truth)),
            Expr::And(a, b) => truth(match self.value(a, frame)?.truth() {
                Some(false) => Some(false),
                a => match self.value(b, frame)?.truth() {
                    Some(false) => Some(false),
                    b => a.and(b),
                },
            }),
            Expr::Or(a, b) => truth(match self.value(a, frame)?.truth() {
                Some(true) => Some(true),
                a => match self.value(b, frame)?.truth() {
                    Some(true) => Some(true),
                    b => a.and(b),
                },
            }),
            Expr::IsNull(inner) => Value::Bool(self.value(inner, frame)?.is_null()),
            Expr::Is(inner, wanted) => Value::Bool(self.value(inner, frame)?.truth() == Some(*wanted)),
            Expr::IsDistinct(a, b) => {
                let (a, b) = (self.value(a, frame)?, self.value(b, frame)?);
                let is_same = (a.is_null() && b.is_null()) || a.compare(&b) == Some(Ordering::Equal);
                Value::Bool(!is_same)
            }
            Expr::Compare(comparison, a, b) => {
                truth(self.compare(*comparison, &self.value(a, frame)?, &self.value(b, frame)?)?)
            }
            Expr::Quantified { comparison, left, right, all } => {
                let (left, right) = (self.value(left, frame)?, self.value(right, frame)?);
                if right.is_null() {
                    Value::Null
                } else {
                    self.weigh(&right)?;
                    truth(self.any(*comparison, &left, &right.items(), *all)?)
                }
            }
            Expr::InList(left, list) => {
                let left = self.value(left, frame)?;
                self.step(list.len())?;
                let list = list.iter().map(|item| self.value(item, frame)).collect::<Result<Vec<_>, _>>()?;
                truth(self.any(Comparison::Equal, &left, &list, false)?)
            }
            Expr::Calculate(operator, a, b) => {
                calculate(*operator, &self.value(a, frame)?, &self.value(b, frame)?)?
            }
            Expr::Concat(a, b) => {
                let (a, b) = (self.value(a, frame)?, self.value(b, frame)?);
                self.weigh(&a)?;
                self.weigh(&b)?;
                concat(&a, &b)
            }
            Expr::Case { branches, otherwise } => {
                for (condition, result) in branches {
                    if self.value(condition, frame)?.truth() == Some(true) {
                        return self.value(result, frame);
                    }
                }
                self.value(otherwise, frame)?
            }
            Expr::Coalesce(list) => {
                for item in list {
                    let value = self.value(item, frame)?;
                    if !value.is_null() {
                        return Ok(value);
                    }
                }
                Value::Null
            }
            Expr::Call(function, arguments) => {
                let values =
                    arguments.iter().map(|expr| self.value(expr, frame)).collect::<Result<Vec<_>, _>>()?;
                values.iter().try_for_each(|value| self.weigh(value))?;
                let made = (function.call)(self, &values)?;
                self.weigh(&made)?;
                made
            }
            Expr::Set(_) => return Err(super::bind::unsupported("a set inside of an expression")),
            Expr::EachField(set, field) => {
                let items = self.value(set, frame)?.items();
                Value::array(items.iter().map(|item| picked(item, field)).collect())
            }
            Expr::Field(record, field) => picked(&self.value(record, frame)?, field),
            Expr::Cast(inner, from, to) => {
                let value = self.value(inner, frame)?;
                self.weigh(&value)?;
                self.cast(value, *from, *to)?
            }
            Expr::Array(items) => {
                let items = items.iter().map(|item| self.value(item, frame)).collect::<Result<_, _>>()?;
                let array = Value::array(items);
                self.weigh(&array)?;
                array
            }
            Expr::Item(array, index) => {
                let index = self.value(index, frame)?.integer().and_then(|index| index.checked_sub(1));
                let index = index.and_then(|index| usize::try_from(index).ok());
                let array = self.value(array, frame)?;
                self.weigh(&array)?;
                let items = array.items();
                index.and_then(|index| items.get(index).cloned()).unwrap_or(Value::Null)
            }
            Expr::Scalar(query) => {
                let rows = self.query(query, Some(frame))?;
                if rows.len() > 1 {
                    let message = "more than one row returned by a subquery used as an expression";
                    return Err(PgError::new("21000", message));
                }
                rows.into_iter().next().and_then(|row| row.into_iter().next()).unwrap_or(Value::Null)
            }
            Expr::ArrayOf(query) => {
                let rows = self.query(query, Some(frame))?;
                Value::array(rows.into_iter().filter_map(|row| row.into_iter().next()).collect())
            }
            Expr::Exists(query) => Value::Bool(!self.query(query, Some(frame))?.is_empty()),
        })
    }

    fn any(
        &self,
        comparison: Comparison,
        left: &Value,
        list: &[Value],
        all: bool,
    ) -> Result<Option<bool>, PgError> {
        let mut is_unknown = false;
        for item in list {
            match self.compare(comparison, left, item)? {
                Some(found) if found != all => return Ok(Some(found)),
                Some(_) => {}
                None => is_unknown = true,
            }
        }
        Ok(if is_unknown { None } else { Some(all) })
    }

    fn compare(&self, comparison: Comparison, a: &Value, b: &Value) -> Result<Option<bool>, PgError> {
        let test: fn(Ordering) -> bool = match comparison {
            Comparison::Equal => Ordering::is_eq,
            Comparison::NotEqual => Ordering::is_ne,
            Comparison::Less => Ordering::is_lt,
            Comparison::LessOrEqual => Ordering::is_le,
            Comparison::Greater => Ordering::is_gt,
            Comparison::GreaterOrEqual => Ordering::is_ge,
            Comparison::Matches(pattern) => {
                self.weigh(a)?;
                self.weigh(b)?;
                let (Some(text), Some(wanted)) = (a.to_text(), b.to_text()) else { return Ok(None) };
                return Ok(Some(self.matches(pattern, &text, &wanted)? != pattern.is_negated));
            }
        };
        Ok(a.compare(b).map(test))
    }

    fn matches(&self, pattern: Pattern, text: &str, wanted: &str) -> Result<bool, PgError> {
        let source = if pattern.is_regex { wanted.to_owned() } else { like(wanted) };
        let mut regexes = self.regexes.borrow_mut();
        let known = (source, pattern.ignores_case);
        if let Some(regex) = regexes.get(&known) {
            return Ok(regex.is_match(text));
        }
        self.step(REGEX_STEPS)?;
        let regex = regex(&known.0, known.1)?;
        if regexes.len() >= REGEXES_MAX {
            regexes.clear();
        }
        let found = regex.is_match(text);
        regexes.insert(known, regex);
        Ok(found)
    }
}

/// A regular expression of POSIX, as far as the library's are the same.
pub(super) fn regex(pattern: &str, ignores_case: bool) -> Result<Regex, PgError> {
    let built = RegexBuilder::new(pattern).case_insensitive(ignores_case).size_limit(REGEX_BYTES_MAX).build();
    built.map_err(|_| PgError::new("2201B", "invalid regular expression"))
}

/// The regular expression that a pattern of `LIKE` is.
fn like(pattern: &str) -> String {
    let mut source = String::from("(?s)^");
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '%' => source += ".*",
            '_' => source.push('.'),
            '\\' => source += &regex::escape(&letters.next().unwrap_or('\\').to_string()),
            other => source += &regex::escape(&other.to_string()),
        }
    }
    source.push('$');
    source
}

fn column(frame: &Frame<'_>, depth: usize, place: usize) -> Value {
    let mut at = frame;
    for _ in 0..depth {
        let Some(parent) = at.parent else { return Value::Null };
        at = parent;
    }
    at.row.get(place).cloned().unwrap_or(Value::Null)
}

fn picked(record: &Value, field: &str) -> Value {
    let Value::Record(fields) = record else { return Value::Null };
    fields.iter().find(|(name, _)| *name == field).map_or(Value::Null, |(_, value)| value.clone())
}

fn concat(a: &Value, b: &Value) -> Value {
    if matches!(a, Value::Array(_)) || matches!(b, Value::Array(_)) {
        let items = |value: &Value| {
            if matches!(value, Value::Array(_) | Value::Null) { value.items() } else { vec![value.clone()] }
        };
        return Value::array([items(a), items(b)].concat());
    }
    match (a.to_text(), b.to_text()) {
        (Some(a), Some(b)) => Value::Text(Arc::from(a + &b)),
        (None, _) | (_, None) => Value::Null,
    }
}

fn calculate(operator: Arithmetic, a: &Value, b: &Value) -> Result<Value, PgError> {
    if a.is_null() || b.is_null() {
        return Ok(Value::Null);
    }
    let range = || PgError::new(code::OUT_OF_RANGE, "a number is out of range");
    if let (false, false, Some(a), Some(b)) =
        (matches!(a, Value::Float(_)), matches!(b, Value::Float(_)), a.integer(), b.integer())
    {
        let whole = match operator {
            Arithmetic::Add => a.checked_add(b),
            Arithmetic::Subtract => a.checked_sub(b),
            Arithmetic::Multiply => a.checked_mul(b),
            Arithmetic::Divide | Arithmetic::Modulo if b == 0 => {
                return Err(PgError::new("22012", "division by zero"));
            }
            Arithmetic::Divide => a.checked_div(b),
            Arithmetic::Modulo => a.checked_rem(b),
            Arithmetic::And => Some(a & b),
            Arithmetic::Or => Some(a | b),
        };
        return whole.map(Value::Int).ok_or_else(range);
    }
    let (Some(a), Some(b)) = (a.float(), b.float()) else {
        return Err(PgError::new(code::INVALID_TEXT, "a number is meant"));
    };
    Ok(Value::Float(match operator {
        Arithmetic::Add => a + b,
        Arithmetic::Subtract => a - b,
        Arithmetic::Multiply => a * b,
        Arithmetic::Divide => a / b,
        Arithmetic::Modulo => a % b,
        Arithmetic::And | Arithmetic::Or => return Err(range()),
    }))
}

fn ordered(a: &Value, b: &Value, direction: Direction) -> Ordering {
    match (a.is_null(), b.is_null()) {
        (true, true) => Ordering::Equal,
        (true, false) => {
            if direction.nulls_first {
                Ordering::Less
            } else {
                Ordering::Greater
            }
        }
        (false, true) => {
            if direction.nulls_first {
                Ordering::Greater
            } else {
                Ordering::Less
            }
        }
        (false, false) => {
            let order = a.compare(b).unwrap_or(Ordering::Equal);
            if direction.is_descending { order.reverse() } else { order }
        }
    }
}

/// What equal rows have in common.
pub(super) fn key(row: &[Value]) -> String {
    row.iter().map(Value::key).collect::<Vec<_>>().join("\u{1}")
}

/// Leaves the first of the rows that have the same first columns.
fn distinct(rows: &mut Vec<Row>, columns: usize) {
    let mut seen = HashSet::new();
    rows.retain(|row| seen.insert(key(&row[..columns.min(row.len())])));
}
