//! From bytes to meaning: pgoutput messages, COPY lines, and values in PostgreSQL's text form.

pub(crate) mod array;
pub(crate) mod copy;
pub mod pgoutput;
pub(crate) mod time;
pub(crate) mod value;
