//! Scores of payments as they happen.
//!
//! [`facts`] is what is known of a payment, [`rules`] and a model judge it ([`judge`]), [`decide`] makes one decision of both, [`reasons`]
//! says why, [`record`] is what is kept and sent. [`serving`] brings models and rules up to date while it goes on.
//! [`stream`] is the way from the topic of payments to records, scores and alerts, and back into the payments database.
//! Judging is pure: it reads no clock, waits for nothing and asks nobody; where payments come from and where records go is the caller's.
//!
//! Invariant: of the same facts, features, model and rules the judgement is the same, in the stream, over HTTP and in training.

pub mod decide;
pub mod facts;
pub mod judge;
pub mod reasons;
pub mod record;
pub mod rules;
pub mod serving;
pub mod stream;
pub mod vocabulary;

pub use affluent_model::score::{Decision, Degraded, ModelRef, Reason, RuleHit, ScoreEvent, Shadow};
pub use decide::{DecideOptions, Thresholds};
pub use facts::{FactKind, FactValue, Facts};
pub use judge::{Features, Judge, JudgeOptions, Judged, Row};
pub use record::Record;
pub use rules::Rules;
pub use vocabulary::Vocabulary;
