//! Which states need a person: the rules of alerts, judged from what a process exports of itself.
//!
//! Pure: metrics in the Prometheus text format come in, alerts that begin or end come out; who is told, and how, is decided elsewhere. The same
//! rules stand in `deploy/prometheus/rules/` for installations with Prometheus; a test holds both together.

mod evaluate;
mod options;
mod rules;
mod slack;
mod slo;
mod standing;
mod text;
mod window;

pub use evaluate::{Evaluator, Reading};
pub use options::AlertOptions;
pub use rules::{Limit, Measure, RULES, Rule};
pub use slack::slack_message;
pub use slo::{OBJECTIVE, SLOS, Slo};
pub use standing::Standing;
pub use text::{Labels, Snapshot, samples};
