//! Statements over the catalogue: names and kinds are settled first ([`bind`]), then rows are made ([`run`]).
//!
//! Tables of the catalogue are small and in memory, so joins hash where they can and loop where not. The language is the
//! part of PostgreSQL's that clients use to look around: correlated subqueries, `ARRAY(…)`, `ANY`, `OPERATOR()`, casts to
//! `regclass`, set-returning functions, aggregates and `row_number()`. What is not understood is an error that says so.

mod bind;
mod cast;
mod expression;
mod from;
mod functions;
mod plan;
mod run;
mod select;

pub(crate) use bind::{bind, name, parts};
pub(crate) use functions::{is_bare, is_known as is_function, is_table_function};
pub(crate) use plan::Query;
pub(crate) use run::{Run, run};
