//! A statement whose names are settled.

use super::functions::Function;
use crate::catalog::relations::Relation;
use crate::catalog::value::{Kind, Value};
use std::sync::Arc;

/// Rows and their order.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub(super) body: Body,
    /// Place of the column, direction.
    pub(super) order: Vec<(usize, Direction)>,
    pub(super) limit: Option<Expr>,
    pub(super) offset: Option<Expr>,
    /// What is shown; rows may have more columns, for their order.
    pub(crate) columns: Vec<(String, Kind)>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Direction {
    pub(super) is_descending: bool,
    pub(super) nulls_first: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Body {
    Select(Box<Select>),
    Set { operator: SetOperation, all: bool, left: Box<Body>, right: Box<Body> },
    Values(Vec<Vec<Expr>>),
    Query(Box<Query>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SetOperation {
    Union,
    Except,
    Intersect,
}

#[derive(Debug, Clone)]
pub(super) struct Select {
    pub(super) from: Vec<Step>,
    pub(super) filters: Vec<Conjunct>,
    pub(super) groups: Vec<Expr>,
    pub(super) is_grouped: bool,
    pub(super) aggregates: Vec<Aggregate>,
    pub(super) windows: Vec<Window>,
    pub(super) having: Option<Expr>,
    pub(super) outputs: Vec<Expr>,
    /// Rows are told apart by so many of their columns; `None`: not at all.
    pub(super) distinct: Option<usize>,
    /// `DISTINCT ON`: by these.
    pub(super) distinct_on: Vec<Expr>,
}

/// A table that is joined to those before it.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) source: Source,
    pub(super) width: usize,
    pub(super) join: Join,
    pub(super) on: Vec<Conjunct>,
    /// It sees the columns of those before it.
    pub(super) is_lateral: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Source {
    Relation(Arc<Relation>),
    Query(Box<Query>),
    /// Rows of a function, each with its number where that is asked for.
    Function {
        call: Expr,
        fields: usize,
        with_ordinality: bool,
    },
    Joined(Vec<Step>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Join {
    Inner,
    Left,
    Right,
    Full,
}

/// One of several conditions that all have to be true.
#[derive(Debug, Clone)]
pub(super) struct Conjunct {
    pub(super) expr: Expr,
    /// Columns that must be there before it can be judged.
    pub(super) needs: usize,
    /// Of an equality, both sides.
    pub(super) sides: Option<Box<(Side, Side)>>,
}

#[derive(Debug, Clone)]
pub(super) struct Side {
    pub(super) expr: Expr,
    /// The columns it uses: from, up to (0: none).
    pub(super) from: usize,
    pub(super) to: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Aggregate {
    pub(super) name: &'static str,
    pub(super) arguments: Vec<Expr>,
    pub(super) is_distinct: bool,
    pub(super) order: Vec<(Expr, Direction)>,
    pub(super) filter: Option<Expr>,
}

/// `row_number()`.
#[derive(Debug, Clone)]
pub(super) struct Window {
    pub(super) partition: Vec<Expr>,
    pub(super) order: Vec<(Expr, Direction)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// A pattern on the right side.
    Matches(Pattern),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pattern {
    pub(super) is_regex: bool,
    pub(super) ignores_case: bool,
    pub(super) is_negated: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    And,
    Or,
}

#[derive(Debug, Clone)]
pub(super) enum Expr {
    Literal(Value),
    /// Counted from 0.
    Parameter(usize),
    /// Queries between here and the one whose column it is; its place.
    Column {
        depth: usize,
        place: usize,
    },
    /// An aggregate or window of this query.
    Slot(usize),
    Not(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    IsNull(Box<Expr>),
    /// `IS TRUE`, `IS FALSE`; null is neither.
    Is(Box<Expr>, bool),
    IsDistinct(Box<Expr>, Box<Expr>),
    Compare(Comparison, Box<Expr>, Box<Expr>),
    /// `ANY`, or `ALL`, over an array.
    Quantified {
        comparison: Comparison,
        left: Box<Expr>,
        right: Box<Expr>,
        all: bool,
    },
    InList(Box<Expr>, Vec<Expr>),
    Calculate(Arithmetic, Box<Expr>, Box<Expr>),
    Concat(Box<Expr>, Box<Expr>),
    Case {
        branches: Vec<(Expr, Expr)>,
        otherwise: Box<Expr>,
    },
    Coalesce(Vec<Expr>),
    Call(&'static Function, Vec<Expr>),
    /// One row for each item.
    Set(Box<Expr>),
    /// A field of each record of a set.
    EachField(Box<Expr>, String),
    Field(Box<Expr>, String),
    Cast(Box<Expr>, Kind, Kind),
    Array(Vec<Expr>),
    /// Items are counted from 1.
    Item(Box<Expr>, Box<Expr>),
    Scalar(Box<Query>),
    ArrayOf(Box<Query>),
    Exists(Box<Query>),
}
