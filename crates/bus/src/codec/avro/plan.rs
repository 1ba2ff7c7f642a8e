//! How to read records of one writer's schema. `compile.rs` makes it from the schema, once an id;
//! `read.rs` follows it.

use affluent_model::Column;
use std::sync::Arc;

/// An envelope's fields in the order in which they were written.
#[derive(Debug)]
pub(crate) struct EnvelopePlan {
    pub(crate) fields: Vec<EnvelopeField>,
    pub(crate) row: Arc<RowPlan>,
}

#[derive(Debug)]
pub(crate) enum EnvelopeField {
    Before(Option<i64>),
    After(Option<i64>),
    Source(Vec<(SourceField, Scalar)>),
    Transaction(Option<i64>, Vec<(TransactionField, Scalar)>),
    Op(Scalar),
    TsMs(Scalar),
    TsUs(Scalar),
    Unchanged(Option<i64>),
    Skip(Skip),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum SourceField {
    Name,
    Database,
    Snapshot,
    TsMs,
    TsUs,
    Schema,
    Table,
    TxId,
    Lsn,
    Position,
    Other,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum TransactionField {
    Id,
    TotalOrder,
    DataCollectionOrder,
    Other,
}

/// A text or a number, perhaps optional, or something to pass over.
#[derive(Debug)]
pub(crate) struct Scalar {
    pub(crate) null: Option<i64>,
    pub(crate) kind: ScalarKind,
}

#[derive(Debug)]
pub(crate) enum ScalarKind {
    Text,
    Long,
    Skip(Skip),
}

/// What to pass over.
#[derive(Debug)]
pub(crate) enum Skip {
    Nothing,
    Varint,
    Fixed(usize),
    Bytes,
    Array(Box<Skip>),
    Map(Box<Skip>),
    Union(Vec<Skip>),
    Record(Vec<Skip>),
}

/// A row's columns as written, and how to read each.
#[derive(Debug)]
pub(crate) struct RowPlan {
    pub(crate) columns: Vec<Column>,
    pub(crate) fields: Vec<Field>,
}

/// One value; `null` is the null branch of its two-branch union.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) null: Option<i64>,
    pub(crate) reader: Reader,
}

#[derive(Debug)]
pub(crate) enum Reader {
    Bool,
    Int,
    Long,
    Float,
    Double,
    Decimal {
        scale: i64,
    },
    DecimalFixed {
        scale: i64,
        size: usize,
    },
    VariableScale,
    Text,
    Bytes,
    Fixed(usize),
    Symbol(Vec<String>),
    Date,
    /// Microseconds are the number times this.
    Time(i64),
    Timestamp(i64),
    TimestampTz(i64),
    ZonedText,
    Uuid,
    Json,
    Array(Box<Field>),
}

impl Skip {
    /// Whether a value of it may take no byte.
    pub(crate) fn may_be_empty(&self) -> bool {
        match self {
            Skip::Nothing | Skip::Fixed(0) => true,
            Skip::Record(fields) => fields.iter().all(Skip::may_be_empty),
            Skip::Varint | Skip::Fixed(_) | Skip::Bytes | Skip::Array(_) | Skip::Map(_) | Skip::Union(_) => {
                false
            }
        }
    }
}
