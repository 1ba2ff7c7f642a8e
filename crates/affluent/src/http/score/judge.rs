//! One payment: its row, its features within the deadline, the judgement.
//!
//! The state of the stream answers in microseconds. Where this process has none that is current, the online store's last values are asked for
//! until the deadline, and after it rules alone decide; the answer says which it was.

use super::answer::{Answer, Known};
use super::payment::Payment;
use super::{Asked, Problem};
use crate::http::documents;
use affluent_feature_store::event::{Cell, Fit, Mapped};
use affluent_scoring::stream::{LastKnown, last_known};
use affluent_scoring::{Features, Row};
use std::sync::Arc;
use std::time::Instant;

/// What is known of a payment's past.
enum Past {
    Live(Row),
    LastKnown(LastKnown),
    Nothing,
}

/// Has a payment judged as one that is committed at `now` (microseconds UTC).
pub(super) async fn judge(asked: &Asked<'_>, payment: &Payment, now: i64) -> Result<Answer, Problem> {
    let payments = &asked.scoring.payments;
    let cells = payment.cells(payments.mapping().fields(), now);
    let mut mapped = Mapped::default();
    match payments.mapping().event(&cells, &mut mapped) {
        Ok(Fit::Event) => {}
        Ok(Fit::Late | Fit::Nothing) => {
            return Err(Problem::unprocessable("occurred_at: is too long ago to be judged as of then"));
        }
        Err(misfit) => return Err(Problem::unprocessable(format!("{}: {}", misfit.field, misfit.problem))),
    }
    let facts = payments.facts(&cells);
    let is_late = Instant::now() >= asked.deadline;
    let past = if is_late { Past::Nothing } else { past(asked, &cells, &mapped).await };
    let source = payments.mapping().source();
    let (judged, known) = match &past {
        Past::Live(row) => {
            let newest = asked.scoring.live.newest(source, &mapped);
            let known = Known::new("live", row.is_exact, &newest, payment.occurred_at);
            (asked.scoring.judge.judge(&facts, Features::Live(row)), known)
        }
        Past::LastKnown(LastKnown { row, newest }) => {
            let known = Known::new("last_known", false, newest, payment.occurred_at);
            (asked.scoring.judge.judge(&facts, Features::LastKnown(row)), known)
        }
        Past::Nothing => {
            let known = Known::new("none", false, &[], payment.occurred_at);
            (asked.scoring.judge.judge(&facts, Features::Missing), known)
        }
    };
    let is_late = is_late || (matches!(past, Past::Nothing) && Instant::now() >= asked.deadline);
    Ok(Answer::new(payment, judged, known, is_late, asked.received.elapsed()))
}

async fn past(asked: &Asked<'_>, cells: &[Cell<'_>], mapped: &Mapped) -> Past {
    let payments = &asked.scoring.payments;
    let names = Arc::clone(&asked.scoring.judge.vocabulary().names);
    if let Some(row) = asked.scoring.live.row(payments.mapping().source(), mapped) {
        let as_of = mapped.time;
        return Past::Live(Row { names, values: row.values, is_exact: row.is_exact, as_of });
    }
    let asking = async {
        let store = documents::store(asked.shared).await.ok()?;
        last_known(store.as_ref(), payments, cells, mapped).await.ok()
    };
    match tokio::time::timeout_at(asked.deadline.into(), asking).await {
        Ok(Some(known)) => Past::LastKnown(known),
        Ok(None) | Err(_) => Past::Nothing,
    }
}
