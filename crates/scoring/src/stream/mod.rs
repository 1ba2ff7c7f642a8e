//! Scoring of the stream: every payment that is inserted into its table is judged once it has been applied to the state of features, and what was
//! judged is recorded, sent and written back.
//!
//! Every process that scores reads all payments and judges them; one of them, the leader ([`leader`]), records and sends, the others keep what they
//! have judged until the leader has ([`scores`]). The record of a payment is its document in `fraud_events`: the first one that is stored
//! stays, and what is sent and written back is what it says.
//!
//! Invariant: a payment has one record, whatever is killed, repeated or moved. Its score and its alert are in their topics once; twice only where a
//! process was stopped between its last check that it leads and its sending, for longer than its session in the group lasts.

mod aside;
mod leader;
mod options;
mod outputs;
mod payments;
mod progress;
mod recorded;
mod scores;
mod statement;
mod unfound;
mod waiting;
mod write_back;

pub use options::{ScoreOptions, WriteBackOptions};
pub use payments::{LastKnown, Payments, SOURCE, last_known};
pub use scores::{Scores, ScoresError};
